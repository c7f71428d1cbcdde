//! One file of an engine's configuration, changed so that it can be put back byte for byte.
//!
//! Called by the engines. What was there before is written to a record first, then the file is replaced in one step; whoever is
//! killed in between leaves a file that is whole, and a record that says what it was.
//!
//! # Layout
//! `/var/lib/hoodydb/engines/ENGINE.json`, mode 0600: one [`Record`] as JSON.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Engine, EngineError};

/// Where the records are.
const RECORDS: &str = "/var/lib/hoodydb/engines";

/// Longest configuration that is read.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A file as it was, and as we made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The file; no symbolic link.
    pub(super) path: PathBuf,
    /// What was there; none if nothing was.
    pub(super) before: Option<Before>,
    /// What we wrote.
    pub(super) after: String,
    /// Directories that we made for it, the outermost first.
    made: Vec<PathBuf>,
}

/// The file of before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) text: String,
    mode: u32,
    uid: u32,
    gid: u32,
    modified: SystemTime,
}

/// What a file becomes when our change is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It is as before already, or gone.
    Nothing,
    /// Exactly as before.
    Before,
    /// Others changed it too: this text has their changes without ours.
    Merged(String),
}

impl Record {
    /// The record of an engine, if one was set up.
    pub(super) fn load(engine: Engine) -> Result<Option<Self>, EngineError> {
        let path = record_path(engine);
        let Some(text) = read(&path)? else { return Ok(None) };
        let broken = |error: serde_json::Error| EngineError::LeftAlone {
            path,
            reason: format!("this record of the configuration cannot be read ({error}): move it away"),
        };
        serde_json::from_str(&text).map(Some).map_err(broken)
    }

    /// What [`Self::restore`] should do; `merge` takes our change out of a text that others changed as well.
    pub(super) fn target(&self, merge: impl FnOnce(&str) -> Result<String, String>) -> Result<Target, EngineError> {
        let now = read(&self.path)?;
        if now.as_deref() == self.before.as_ref().map(|before| before.text.as_str()) {
            return Ok(Target::Nothing);
        }
        match now {
            None => Ok(Target::Nothing),
            Some(text) if text == self.after => Ok(Target::Before),
            Some(text) => match merge(&text) {
                Ok(merged) => Ok(Target::Merged(merged)),
                Err(reason) => Err(EngineError::ChangedSince { path: self.path.clone(), reason }),
            },
        }
    }

    /// Puts the file back and forgets it.
    pub(super) fn restore(&self, engine: Engine, target: Target) -> Result<(), EngineError> {
        match (target, &self.before) {
            (Target::Nothing, _) => (),
            (Target::Before, Some(before)) => {
                replace(&self.path, &before.text, before.mode, (before.uid, before.gid))?;
                let failed = EngineError::file("cannot set the time of", &self.path);
                File::open(&self.path).and_then(|file| file.set_modified(before.modified)).map_err(failed)?;
            }
            (Target::Before, None) => {
                let failed = EngineError::file("cannot remove", &self.path);
                std::fs::remove_file(&self.path).map_err(failed)?;
            }
            (Target::Merged(text), _) => write(&self.path, &text)?,
        }
        // The innermost first; one that others use by now stays.
        for directory in self.made.iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
        let record = record_path(engine);
        std::fs::remove_file(&record).map_err(EngineError::file("cannot remove", &record))
    }
}

/// Writes `after` to a file and records what it was. False if the file says so already.
pub(super) fn change(engine: Engine, path: &Path, after: &str) -> Result<bool, EngineError> {
    // A link leads to the file that is meant.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let now = read(path)?;
    if now.as_deref() == Some(after) {
        return Ok(false);
    }
    let known = Record::load(engine)?.filter(|record| record.path == *path && Some(&record.after) == now.as_ref());
    let record = match known {
        // Ours, written by another version: what was before that counts.
        Some(record) => Record { after: after.to_owned(), ..record },
        None => Record {
            path: path.clone(),
            before: now.map(|text| before(path, text)).transpose()?,
            after: after.to_owned(),
            made: missing_parents(path),
        },
    };
    let text = serde_json::to_string_pretty(&record).unwrap_or_default();
    std::fs::create_dir_all(RECORDS).map_err(EngineError::file("cannot make", RECORDS))?;
    replace(&record_path(engine), &text, 0o600, (0, 0))?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(EngineError::file("cannot make", parent))?;
    }
    write(path, after)?;
    Ok(true)
}

/// The text of a configuration; none if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, EngineError> {
    let failed = |error| EngineError::file("cannot read", path)(error);
    let meta = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(failed)?,
    };
    if !meta.is_file() || meta.len() > FILE_MAX_BYTES {
        let reason = "it is no plain file of a usual size".to_owned();
        return Err(EngineError::LeftAlone { path: path.to_owned(), reason });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| EngineError::LeftAlone { path: path.to_owned(), reason: "it is not UTF-8 text".to_owned() })
}

/// Writes a text with the rights that the file has, or 0644.
pub(super) fn write(path: &Path, text: &str) -> Result<(), EngineError> {
    match path.metadata() {
        Ok(meta) => replace(path, text, meta.mode() & 0o7777, (meta.uid(), meta.gid())),
        Err(_) => replace(path, text, 0o644, (0, 0)),
    }
}

/// The package that a file belongs to, on a host with dpkg: it will ask about changes at its next upgrade.
pub(super) fn package_of(path: &Path) -> Option<String> {
    let output = std::process::Command::new("dpkg-query").arg("-S").arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.split(": ").next().map(|name| crate::model::printable(name.trim()))
}

fn record_path(engine: Engine) -> PathBuf {
    Path::new(RECORDS).join(format!("{}.json", engine.name()))
}

fn before(path: &Path, text: String) -> Result<Before, EngineError> {
    let failed = |error| EngineError::file("cannot look at", path)(error);
    let meta = path.metadata().map_err(failed)?;
    let modified = meta.modified().map_err(failed)?;
    Ok(Before { text, mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), modified })
}

fn missing_parents(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|parent| !parent.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// In one step, and on the disk: a power failure leaves the one or the other.
fn replace(path: &Path, text: &str, mode: u32, owner: (u32, u32)) -> Result<(), EngineError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".hoodydb-new");
    let new = path.with_file_name(name);
    let attempt = || -> io::Result<()> {
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    attempt().map_err(|source| {
        let _ = std::fs::remove_file(&new);
        EngineError::file("cannot write", path)(source)
    })
}
