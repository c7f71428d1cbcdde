//! What a database says of itself, and small changes: create, delete, journal mode.
//!
//! Called by `hoodydb db`.

use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;

use super::DatabaseError;
use super::connection::{number, open, open_with, patiently, value};
use super::watch::Watch;

/// What a database says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// SQLite's name of the journal mode.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages.
    pub pages: u64,
    /// Pages that hold nothing.
    pub free_pages: u64,
    /// Tables, without SQLite's own.
    pub tables: u64,
}

/// Asks a database.
///
/// # Errors
/// Where it cannot be read.
pub fn facts(path: &Path, patience: Duration, watch: &dyn Watch) -> Result<Facts, DatabaseError> {
    patiently(path, "the look at the database", patience, watch, || {
        let connection = open(path)?;
        let fault = |error| DatabaseError::of("read", path, error);
        connection.execute_batch("BEGIN").map_err(fault)?;
        let tables =
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        Ok(Facts {
            tables: number(&connection, path, tables)?,
            journal_mode: value(&connection, path, "PRAGMA journal_mode")?,
            page_size: number(&connection, path, "PRAGMA page_size")?,
            pages: number(&connection, path, "PRAGMA page_count")?,
            free_pages: number(&connection, path, "PRAGMA freelist_count")?,
        })
    })
}

/// Writes an empty database into an empty file.
///
/// # Errors
/// Those of writing.
pub fn create(path: &Path, wal: bool, page_size: Option<u32>) -> Result<(), DatabaseError> {
    let connection = open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let fault = |error| DatabaseError::of("write", path, error);
    if let Some(size) = page_size {
        connection.pragma_update(None, "page_size", size).map_err(fault)?;
    }
    // Without a table nothing but this writes the header.
    connection.execute_batch("VACUUM").map_err(fault)?;
    if wal {
        set_mode(&connection, path, "WAL")?;
    }
    connection.close().map_err(|(_, error)| fault(error))
}

/// Switches between a write-ahead log and a rollback journal. Nobody else may have the database open.
///
/// # Errors
/// [`DatabaseError::Busy`] where somebody has it open after all.
pub fn set_wal(path: &Path, wal: bool, patience: Duration, watch: &dyn Watch) -> Result<(), DatabaseError> {
    let connection = open(path)?;
    patiently(path, "the switch of the journal mode", patience, watch, || {
        set_mode(&connection, path, if wal { "WAL" } else { "DELETE" })
    })?;
    connection.close().map_err(|(_, error)| DatabaseError::of("write", path, error))
}

fn set_mode(connection: &rusqlite::Connection, path: &Path, mode: &str) -> Result<(), DatabaseError> {
    let now: String = value(connection, path, &format!("PRAGMA journal_mode = {mode}"))?;
    // SQLite answers with the old mode where others are in the way.
    if now.eq_ignore_ascii_case(mode) { Ok(()) } else { Err(DatabaseError::busy(path)) }
}

/// Does something while nobody else reads or writes: a rollback journal's EXCLUSIVE, or the WAL's WRITE.
///
/// # Errors
/// [`DatabaseError::Busy`] after `patience`; else what `work` says.
pub fn while_locked<E: From<DatabaseError>>(
    path: &Path,
    patience: Duration,
    watch: &dyn Watch,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let connection = open(path)?;
    patiently(path, "the lock", patience, watch, || {
        let begin = connection.execute_batch("BEGIN EXCLUSIVE");
        begin.map_err(|error| DatabaseError::of("lock", path, error))
    })?;
    work()
}
