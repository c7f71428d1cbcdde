//! What can go wrong with a database, in words that name the file and the way out.
//!
//! Made by the other files of this room. A path is on the mount, or the copy that is made of it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::watch::Stop;
use crate::model::printable;

/// Why something could not be done with a database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// There is no such file.
    #[error("{} does not exist", printable(.0))]
    Missing(PathBuf),
    /// The file does not begin as SQLite's files do.
    #[error("{} is not a database that SQLite can read: it is another kind of file, damaged at its beginning, or encrypted", printable(.0))]
    NotADatabase(PathBuf),
    /// SQLite found a page that cannot be.
    #[error("{} is damaged ({what}): hoodydb check tells more", printable(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        what: String,
    },
    /// Others held the database for longer than the caller waits.
    #[error("{} is busy: {action} waited {:.1} s for its turn", printable(path), waited.as_secs_f64())]
    Busy {
        /// The file.
        path: PathBuf,
        /// What waited.
        action: &'static str,
        /// How long.
        waited: std::time::Duration,
    },
    /// The work held others up and gave way to them.
    #[error("gave way: {0}")]
    GaveWay(String),
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
    /// The disk is full.
    #[error("no space is left on the disk of {}", printable(.0))]
    Full(PathBuf),
    /// What stands in the way, in words of its own.
    #[error("{0}")]
    Refused(String),
    /// Everything else that SQLite says.
    #[error("cannot {action} {}: {source}", printable(path))]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The kernel says no.
    #[error("cannot {action} {}: {source}", printable(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl From<Stop> for DatabaseError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted => Self::Interrupted,
            Stop::Starving(who) => Self::GaveWay(who),
        }
    }
}

impl DatabaseError {
    /// SQLite's answer to what was tried on a file.
    pub(super) fn of(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, what: source.to_string() },
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            _ => Self::Sqlite { action, path, source },
        }
    }

    /// The kernel's answer to what was tried on a file.
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            std::io::ErrorKind::StorageFull => Self::Full(path),
            _ => Self::Io { action, path, source },
        }
    }

    /// Somebody else is in the way, where SQLite says so without an error of its own.
    pub(super) fn busy(path: &Path) -> Self {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        Self::of("lock", path, rusqlite::Error::SqliteFailure(code, None))
    }

    /// Whether SQLite said that somebody else is in the way.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }
}
