//! Which files an installation wrote, so that taking it back removes these and no others.
//!
//! Called by the steps. A file that was changed since is not ours any more, and stays.
//!
//! # Layout
//! `/var/lib/hoodydb/installed.json`: `files`, by path, each with the length and a checksum of what was written, and the
//! `directories` that were made for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HostError;

const PATH: &str = "/var/lib/hoodydb/installed.json";

/// The files.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    files: BTreeMap<PathBuf, Print>,
    /// Directories that were made for them; those that others use by now stay.
    directories: BTreeSet<PathBuf>,
}

/// What tells a file that was changed; it keeps no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Print {
    bytes: u64,
    checksum: u64,
}

impl Print {
    /// # Source
    /// FNV-1a, 64 bits: the same in every version of this program.
    fn of(bytes: &[u8]) -> Self {
        let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self { bytes: bytes.len() as u64, checksum: bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold) }
    }
}

impl Record {
    /// What was written so far.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn load() -> Result<Self, HostError> {
        let failed = |error| HostError::path("cannot read", PATH)(error);
        match std::fs::read(PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error)),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into())),
        }
    }

    /// Whether a file was written.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Notes a file before it is written.
    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let missing = path.ancestors().skip(1).take_while(|directory| !directory.exists());
        self.directories.extend(missing.map(Path::to_owned));
        self.files.insert(path.to_owned(), Print::of(bytes));
        self.store()
    }

    /// Removes a file that is as it was written. False if it is not there, or not ours.
    pub(super) fn remove(&mut self, path: &Path) -> Result<bool, HostError> {
        let Some(print) = self.files.remove(path) else { return Ok(false) };
        let is_ours = std::fs::read(path).is_ok_and(|bytes| Print::of(&bytes) == print);
        if is_ours {
            std::fs::remove_file(path).map_err(HostError::path("cannot remove", path))?;
        }
        // Inner ones come after those that they are in.
        for directory in self.directories.iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
        self.store()?;
        Ok(is_ours)
    }

    fn store(&self) -> Result<(), HostError> {
        if self.files.is_empty() {
            return match std::fs::remove_file(PATH) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(HostError::path("cannot remove", PATH)(error))
                }
                _ => Ok(()),
            };
        }
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| HostError::path("cannot write", PATH)(error.into()))?;
        let directory = Path::new(PATH).parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(PATH, text))
            .map_err(HostError::path("cannot write", PATH))
    }
}
