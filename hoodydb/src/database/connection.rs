//! Opens databases as this room needs them.
//!
//! Called by its other files. Caches stay small, whatever the size of the database; waiting is the mount's part, and where it
//! refuses the same is tried again until the caller's patience ends.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::DatabaseError;
use super::watch::{Hold, Watch};

/// Page cache of a connection, in KiB: a copy passes each page once, and is the faster the less it remembers.
const CACHE_KIB: i64 = 1024;

/// How long to wait after a refusal before the next try.
const RETRY: Duration = Duration::from_millis(20);

/// Opens a database that exists, to read and write: readers too may have to recover it or to make its WAL index.
pub(super) fn open(path: &Path) -> Result<Connection, DatabaseError> {
    if !path.try_exists().map_err(|source| DatabaseError::Io { action: "look at", path: path.to_owned(), source })? {
        return Err(DatabaseError::Missing(path.to_owned()));
    }
    open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Opens with flags of one's own.
pub(super) fn open_with(path: &Path, flags: OpenFlags) -> Result<Connection, DatabaseError> {
    let fault = |source| DatabaseError::of("open", path, source);
    // Every path is absolute: none is taken for a URI.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(fault)?;
    connection.busy_timeout(Duration::ZERO).map_err(fault)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fault)?;
    Ok(connection)
}

/// One value of a PRAGMA or query.
pub(super) fn value<T: rusqlite::types::FromSql>(
    connection: &Connection,
    path: &Path,
    query: &str,
) -> Result<T, DatabaseError> {
    connection.query_row(query, [], |row| row.get(0)).map_err(|source| DatabaseError::of("read", path, source))
}

/// A number that is never negative.
pub(super) fn number(connection: &Connection, path: &Path, query: &str) -> Result<u64, DatabaseError> {
    value::<i64>(connection, path, query).map(i64::unsigned_abs)
}

/// Tries again while others are in the way, until `patience` ends, and no longer: what is attempted takes only moments besides.
pub(super) fn patiently<T>(
    path: &Path,
    action: &'static str,
    patience: Duration,
    watch: &dyn Watch,
    mut attempt: impl FnMut() -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    let deadline = Instant::now().checked_add(patience);
    again_and_again(path, action, patience, watch, || {
        watch.wake_at(deadline);
        let outcome = attempt();
        watch.wake_at(None);
        outcome
    })
}

/// The same for work that takes long by itself: a wait in the middle of it is as long as the mount lets it be.
pub(super) fn again_and_again<T>(
    path: &Path,
    action: &'static str,
    patience: Duration,
    watch: &dyn Watch,
    mut attempt: impl FnMut() -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.is_busy() => {
                if let Some(stop) = watch.stop(Hold::Nobody) {
                    return Err(stop.into());
                }
                if begun.elapsed() >= patience {
                    return Err(DatabaseError::Busy { path: path.to_owned(), action, waited: begun.elapsed() });
                }
                std::thread::sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}
