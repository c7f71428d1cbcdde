//! Gives a backup and its manifest their names, finds them again, and removes old ones.
//!
//! Called by `hoodydb backup`. Whoever sees a backup's name sees all of it: a new name is given to the manifest first and then
//! to the backup; a name that exists loses its manifest first, so that none ever belongs to another file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::partial::hold;
use super::{ArchiveError, COMPRESSED, ENDING, Partial, Stamp};
use crate::model::Manifest;

/// The version of the manifest's format.
const VERSION: u32 = 1;

/// The largest manifest that is read, in bytes.
const MANIFEST_MAX_BYTES: u64 = 1024 * 1024;

/// Where the manifest of a backup is.
pub fn manifest_path(backup: &Path) -> PathBuf {
    let mut path = backup.as_os_str().to_owned();
    path.push(".json");
    path.into()
}

/// The manifest of a backup; none if it has none.
///
/// # Errors
/// If it cannot be read, or is of a later version.
pub fn manifest_of(backup: &Path) -> Result<Option<Manifest>, ArchiveError> {
    use std::io::Read;
    let path = manifest_path(backup);
    let mut text = Vec::new();
    match std::fs::File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.and_then(|file| file.take(MANIFEST_MAX_BYTES).read_to_end(&mut text)),
    }
    .map_err(ArchiveError::io("read", &path))?;
    let wrong = |reason: String| ArchiveError::Manifest { path: path.clone(), reason };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if manifest.version != VERSION {
        return Err(wrong(format!("it has version {}, this hoodydb knows version {VERSION}", manifest.version)));
    }
    Ok(Some(manifest))
}

/// Gives a backup its name. What had the name so far is replaced if it was a backup, too.
///
/// # Errors
/// If another kind of file has the name, or the disk says no; then the name is what it was.
pub fn publish(backup: Partial, name: &Path, manifest: &Manifest) -> Result<(), ArchiveError> {
    let directory = name.parent().unwrap_or(Path::new("/"));
    let mut text = serde_json::to_vec_pretty(&Manifest { version: VERSION, ..manifest.clone() })
        .map_err(|error| ArchiveError::Manifest { path: name.to_owned(), reason: error.to_string() })?;
    text.push(b'\n');
    let described = Partial::new(directory)?;
    std::fs::File::options()
        .write(true)
        .open(described.path())
        .and_then(|mut file| file.write_all(&text))
        .map_err(ArchiveError::io("write", described.path()))?;
    described.sync()?;
    backup.sync()?;
    let guard = hold(directory)?;
    let manifest_path = manifest_path(name);
    if name.symlink_metadata().is_ok() {
        may_replace(name)?;
        std::fs::remove_file(&manifest_path).map_err(ArchiveError::io("remove", &manifest_path))?;
        backup.rename(name, true)?;
        described.rename(&manifest_path, true)?;
    } else {
        described.rename(&manifest_path, true)?;
        backup.rename(name, false)?;
    }
    // The directory's own descriptor: the names are on the disk when this returns.
    guard.sync_all().map_err(ArchiveError::io("sync", directory))
}

/// Only what was made by a backup is replaced by one.
fn may_replace(name: &Path) -> Result<(), ArchiveError> {
    match manifest_of(name)? {
        Some(_) => Ok(()),
        None => Err(ArchiveError::Exists(name.to_owned())),
    }
}

/// The backups of a database in its directory, by their names and manifests, the oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn backups_in(directory: &Path, mountpoint: &str, database: &str) -> Result<Vec<(Stamp, PathBuf)>, ArchiveError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(ArchiveError::io("list", directory))?.flatten() {
        let path = entry.path();
        let Some(stamp) = entry.file_name().to_str().and_then(stamp_of) else { continue };
        // One without a manifest, or with another's, is not ours to remove.
        let is_ours = |manifest: &Manifest| manifest.mountpoint == mountpoint && manifest.database == database;
        if manifest_of(&path).ok().flatten().as_ref().is_some_and(is_ours) {
            found.push((stamp, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes a backup and its manifest.
///
/// # Errors
/// Those of unlink(2).
pub fn remove(backup: &Path) -> Result<(), ArchiveError> {
    let manifest = manifest_path(backup);
    // In this order: a manifest that is left alone is cleaned away, a backup alone would stay for good.
    std::fs::remove_file(backup).map_err(ArchiveError::io("remove", backup))?;
    std::fs::remove_file(&manifest).map_err(ArchiveError::io("remove", &manifest))
}

fn stamp_of(name: &str) -> Option<Stamp> {
    let name = name.strip_suffix(&format!(".{COMPRESSED}")).unwrap_or(name);
    Stamp::parse(name.strip_suffix(&format!(".{ENDING}"))?)
}

/// Removes manifests whose backup never got its name; the caller holds the directory.
pub(super) fn remove_lone_manifests(directory: &Path) -> Result<usize, ArchiveError> {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory).map_err(ArchiveError::io("list", directory))?.flatten() {
        let name = entry.file_name();
        let Some(backup) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let backup = directory.join(backup);
        if backup.symlink_metadata().is_err() && manifest_of(&backup).is_ok_and(|found| found.is_some()) {
            std::fs::remove_file(entry.path()).map_err(ArchiveError::io("remove", &entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hoodydb-publish-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn manifest(database: &str) -> Manifest {
        Manifest { mountpoint: "/m".to_owned(), database: database.to_owned(), ..Manifest::default() }
    }

    fn add(dir: &Path, stamp: u64, of: &str) -> PathBuf {
        let name = dir.join(format!("{}.{ENDING}", Stamp(stamp).name()));
        publish(Partial::new(dir).unwrap(), &name, &manifest(of)).unwrap();
        name
    }

    #[test]
    fn only_ones_own_backups_are_found() {
        let dir = place("own");
        let (first, second) = (add(&dir, 1_000, "a.db"), add(&dir, 2_000, "a.db"));
        add(&dir, 3_000, "b.db");
        std::fs::write(dir.join(format!("{}.{ENDING}", Stamp(4_000).name())), b"whose").unwrap();
        let found = backups_in(&dir, "/m", "a.db").unwrap();
        assert_eq!(found, [(Stamp(1_000), first.clone()), (Stamp(2_000), second)]);
        remove(&first).unwrap();
        assert_eq!(backups_in(&dir, "/m", "a.db").unwrap().len(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_backup_replaces_a_backup_and_nothing_else() {
        let dir = place("replace");
        let name = dir.join("a.db");
        publish(Partial::new(&dir).unwrap(), &name, &manifest("a.db")).unwrap();
        publish(Partial::new(&dir).unwrap(), &name, &manifest("b.db")).unwrap();
        assert_eq!(manifest_of(&name).unwrap().unwrap().database, "b.db");
        let precious = dir.join("precious.db");
        std::fs::write(&precious, b"x").unwrap();
        let refused = publish(Partial::new(&dir).unwrap(), &precious, &manifest("a.db")).unwrap_err();
        assert!(refused.to_string().contains("is no backup of hoodydb"), "{refused}");
        assert_eq!(std::fs::read(&precious).unwrap(), b"x");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_manifest_that_a_kill_left_alone_is_cleaned_away() {
        let dir = place("lone");
        let name = add(&dir, 1_000, "a.db");
        std::fs::remove_file(&name).unwrap();
        std::fs::write(dir.join("settings.json"), b"{}").unwrap();
        assert_eq!(super::super::clean(&dir).unwrap(), 1);
        assert!(!manifest_path(&name).exists() && dir.join("settings.json").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
