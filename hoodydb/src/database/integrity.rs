//! SQLite's own checks of a database.
//!
//! Called by [`super::check`] on the mount, and for copies that nobody else knows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::DatabaseError;
use super::connection::open_with;
use super::watch::{Hold, Watch, watched};

/// Findings that are told; SQLite stops there.
const FINDINGS_MAX: usize = 20;

/// Page cache of a check, in KiB: it jumps between tables and their indexes.
const CACHE_KIB: i64 = 32 * 1024;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every page, every row, and whether tables and indexes fit each other (integrity_check).
    Full,
    /// Every page and row (quick_check).
    Quick,
}

impl Depth {
    /// As manifests tell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
        }
    }
}

/// Checks a file that nobody writes to. It is opened as one that cannot change: nothing is made beside it, nothing recovered.
///
/// # Errors
/// [`DatabaseError::Damaged`] with the first finding; what else SQLite says.
pub fn verify(path: &Path, depth: Depth, watch: &dyn Watch) -> Result<(), DatabaseError> {
    let connection = open_immutable(path)?;
    let findings = watched(&connection, watch, Hold::Nobody, || findings(&connection, path, depth))?;
    match findings.first() {
        None => Ok(()),
        Some(first) => Err(DatabaseError::Damaged { path: path.to_owned(), what: first.clone() }),
    }
}

/// Opens a file that nobody writes to, as one that cannot change.
pub(super) fn open_immutable(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    open_with(Path::new(&format!("file:{}?immutable=1", uri_path(path.as_os_str()))), flags)
        // The error names the file, not the URI.
        .map_err(|error| match error {
            DatabaseError::Sqlite { action, source, .. } => DatabaseError::of(action, path, source),
            other => other,
        })
}

/// # Source
/// https://www.sqlite.org/uri.html: `%HH` is any byte.
fn uri_path(path: &OsStr) -> String {
    let mut text = String::new();
    for byte in path.as_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(*byte)),
            other => text.push_str(&format!("%{other:02x}")),
        }
    }
    text
}

/// What is wrong, in SQLite's words; empty if nothing is. Where the check needs a collation or function that only the
/// program has which made the database, it looks at less.
pub(super) fn findings(connection: &Connection, path: &Path, depth: Depth) -> Result<Vec<String>, DatabaseError> {
    let fault = |source| DatabaseError::of("check", path, source);
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fault)?;
    let run = |pragma: &str| -> Result<Vec<String>, rusqlite::Error> {
        let mut check = connection.prepare(&format!("PRAGMA {pragma}({FINDINGS_MAX})"))?;
        check.query_map([], |row| row.get(0))?.collect()
    };
    let mut found = match depth {
        Depth::Quick => run("quick_check"),
        Depth::Full => match run("integrity_check") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => run("quick_check"),
            found => found,
        },
    }
    .map_err(fault)?;
    found.retain(|line| line != "ok");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Unwatched;

    #[test]
    fn odd_names_are_opened_as_they_are() {
        let dir = std::env::temp_dir().join(format!("hoodydb-integrity-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("odd ?&#%41 name.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x); PRAGMA journal_mode = WAL").unwrap();
        verify(&path, Depth::Full, &Unwatched).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is made beside it");
        let missing = verify(&dir.join("none"), Depth::Full, &Unwatched).unwrap_err();
        assert!(missing.to_string().contains("/none: "), "{missing}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
