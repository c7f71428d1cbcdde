//! Which database an open file belongs to, by the names beside it.
//!
//! Called by [`super`] with what it found open; the grouping itself is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::backing::OWN_DIR;
use crate::lock::FileId;

/// Endings of the files that belong to a database.
const SIDE_FILES: [&[u8]; 3] = [b"-journal", b"-wal", b"-shm"];

/// A database with its side files, held open through dead mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// The database's path below the backing directory.
    pub(super) path: PathBuf,
    /// The files of the family as they are on the disk.
    pub(super) files: BTreeSet<FileId>,
    /// Processes that have one of them open.
    pub(super) pids: BTreeSet<u32>,
}

/// Groups held inodes into the databases to which they belong, by the names of the files that are there now.
pub(super) fn families(files: &BTreeMap<PathBuf, FileId>, held: &[(u32, u64)]) -> Vec<Family> {
    let mut found: BTreeMap<PathBuf, Family> = BTreeMap::new();
    for (path, file) in files {
        let pids: BTreeSet<u32> = held.iter().filter(|(_, ino)| *ino == file.ino).map(|(pid, _)| *pid).collect();
        if pids.is_empty() {
            continue;
        }
        let database = database_of(path, files);
        let family = found.entry(database.clone()).or_insert_with(|| Family {
            files: family_files(&database, files),
            pids: BTreeSet::new(),
            path: database,
        });
        family.pids.extend(pids);
    }
    found.into_values().collect()
}

/// The database to whose family a path belongs: itself, or the file whose side file it is.
fn database_of(path: &Path, files: &BTreeMap<PathBuf, FileId>) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let main = SIDE_FILES.iter().filter_map(|ending| bytes.strip_suffix(*ending)).map(path_from);
    main.into_iter().find(|main| files.contains_key(main)).unwrap_or_else(|| path.to_owned())
}

fn family_files(database: &Path, files: &BTreeMap<PathBuf, FileId>) -> BTreeSet<FileId> {
    let side = SIDE_FILES.iter().map(|ending| path_from(&[database.as_os_str().as_bytes(), ending].concat()));
    side.chain([database.to_owned()]).filter_map(|path| files.get(&path).copied()).collect()
}

fn path_from(bytes: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(bytes.to_vec()).into()
}

/// Every regular file below a directory by its path relative to it; symbolic links are not followed.
pub(super) fn files_below(data: &Path) -> BTreeMap<PathBuf, FileId> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = data.join(&directory).read_dir() else { continue };
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && path.as_os_str() != OWN_DIR {
                directories.push(path);
            } else if meta.is_file() {
                found.insert(path, FileId { dev: meta.dev(), ino: meta.ino() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[(&str, u64)]) -> BTreeMap<PathBuf, FileId> {
        names.iter().map(|(name, ino)| (PathBuf::from(name), FileId { dev: 1, ino: *ino })).collect()
    }

    #[test]
    fn a_side_file_refuses_its_whole_family() {
        let files = listing(&[("d/a.db", 1), ("d/a.db-wal", 2), ("d/a.db-shm", 3), ("d/b.db", 4), ("x-wal", 5)]);
        let found = families(&files, &[(10, 2), (11, 1), (10, 99)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, Path::new("d/a.db"));
        assert_eq!(found[0].files.iter().map(|file| file.ino).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(found[0].pids, BTreeSet::from([10, 11]));
    }

    #[test]
    fn a_file_that_only_looks_like_a_side_file_stands_alone() {
        let files = listing(&[("x-wal", 5), ("a-journal-wal", 6), ("a-journal", 7)]);
        let found = families(&files, &[(1, 5), (1, 6)]);
        let paths: Vec<_> = found.iter().map(|family| family.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["a-journal", "x-wal"]);
    }

    #[test]
    fn hard_links_are_in_every_family() {
        let files = listing(&[("a.db", 1), ("link.db", 1), ("link.db-journal", 2)]);
        let found = families(&files, &[(1, 1)]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].files.len(), 2);
    }
}
