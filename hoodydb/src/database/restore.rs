//! Puts the content of another database into one, in one transaction.
//!
//! Called by `hoodydb restore`. Open connections go on: they see the old content until the commit and the new one after it, and a
//! kill before the commit leaves the old one.

use std::path::Path;
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};

use super::DatabaseError;
use super::connection::{number, open, open_with, patiently, value};
use super::integrity::open_immutable;
use super::watch::{Hold, Watch};

/// Pages of one step; how far the work is shows after each.
const STEP_PAGES: i32 = 1024;

/// Page cache of the target, in KiB: when it is full, SQLite syncs its journal before it writes on.
const CACHE_KIB: i64 = 32 * 1024;

/// What an existing target is, as far as that matters for a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// SQLite's name of its journal mode.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_size: u64,
}

/// Opens the target for a look.
///
/// # Errors
/// [`DatabaseError::NotADatabase`] and [`DatabaseError::Damaged`] where its content cannot be replaced in place.
pub fn look_at_target(path: &Path, patience: Duration, watch: &dyn Watch) -> Result<Target, DatabaseError> {
    patiently(path, "the restore", patience, watch, || {
        let connection = open(path)?;
        Ok(Target {
            journal_mode: value(&connection, path, "PRAGMA journal_mode")?,
            page_size: number(&connection, path, "PRAGMA page_size")?,
        })
    })
}

/// Replaces the content of `target` by that of `source`, a file that nobody writes to; gives the pages.
///
/// # Errors
/// [`DatabaseError::Busy`] after `patience`; whatever keeps the transaction from its commit. Then the content is the old one.
pub fn replace(source: &Path, target: &Path, patience: Duration, watch: &dyn Watch) -> Result<u64, DatabaseError> {
    let reader = open_immutable(source)?;
    let mut writer = open(target)?;
    let fault = |error| DatabaseError::of("write", target, error);
    writer.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fault)?;
    // What the page cache has of the old content would be written to the journal page by page.
    let backup = Backup::new(&reader, &mut writer).map_err(fault)?;
    while !patiently(target, "the restore", patience, watch, || step(&backup, target))? {
        if let Some(stop) = watch.stop(Hold::Others) {
            return Err(stop.into());
        }
        let progress = backup.progress();
        let done = i64::from(progress.pagecount) - i64::from(progress.remaining);
        watch.progress(done.unsigned_abs(), i64::from(progress.pagecount).unsigned_abs());
    }
    drop(backup);
    // What is in the log is committed; it only takes room until somebody moves it.
    let _ = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let pages = number(&writer, target, "PRAGMA page_count")?;
    writer.close().map_err(|(_, error)| fault(error))?;
    Ok(pages)
}

/// Copies all of a database into an empty file that nobody else knows; it is not on the disk yet (fsync).
///
/// # Errors
/// Those of reading and writing.
pub fn fill(source: &Path, target: &Path, watch: &dyn Watch) -> Result<u64, DatabaseError> {
    let mut writer = open_with(target, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let fault = |error| DatabaseError::of("write", target, error);
    writer.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(fault)?;
    let reader = open_immutable(source)?;
    let backup = Backup::new(&reader, &mut writer).map_err(fault)?;
    while !step(&backup, target)? {
        if let Some(stop) = watch.stop(Hold::Nobody) {
            return Err(stop.into());
        }
        let progress = backup.progress();
        let done = i64::from(progress.pagecount) - i64::from(progress.remaining);
        watch.progress(done.unsigned_abs(), i64::from(progress.pagecount).unsigned_abs());
    }
    drop(backup);
    let pages = number(&writer, target, "PRAGMA page_count")?;
    writer.close().map_err(|(_, error)| fault(error))?;
    Ok(pages)
}

fn step(backup: &Backup<'_, '_>, target: &Path) -> Result<bool, DatabaseError> {
    match backup.step(STEP_PAGES) {
        Ok(StepResult::Done) => Ok(true),
        Ok(StepResult::More) => Ok(false),
        Ok(_) => Err(DatabaseError::busy(target)),
        Err(error) => Err(DatabaseError::of("write", target, error)),
    }
}
