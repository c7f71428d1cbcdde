//! Checks a database on the mount, while others use it.
//!
//! Called by `hoodydb check`. It looks at the files first: what SQLite recovers is gone once a connection has read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::DatabaseError;
use super::connection::{number, open, patiently, value};
use super::header::look_at;
use super::integrity::{Depth, findings};
use super::watch::{Hold, Watch, watched};

/// A log of more than so many times the database is worth a word.
const LONG_WAL: u64 = 2;

/// But none of less than this, in bytes.
const LONG_WAL_MIN_BYTES: u64 = 64 * 1024 * 1024;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The database can be used, and something is not as it should be.
    Warning,
    /// It could not be checked.
    Unknown,
    /// Content is lost, or will be.
    Damaged,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were found.
    pub findings: Vec<(Severity, String)>,
    /// Size of the file.
    pub size_bytes: u64,
    /// Size of its write-ahead log.
    pub wal_bytes: u64,
    /// Size of its rollback journal.
    pub journal_bytes: u64,
    /// SQLite's name of the journal mode; empty if it cannot be read.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages.
    pub pages: u64,
    /// Pages that hold nothing.
    pub free_pages: u64,
}

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// How much is looked at.
    pub depth: Depth,
    /// Whether other processes have the database open: then a journal is one that is at work.
    pub in_use: bool,
    /// How long to wait for a lock.
    pub patience: Duration,
}

/// Checks a database. What is wrong with it is no error but a finding.
///
/// # Errors
/// [`DatabaseError::Missing`], [`DatabaseError::Interrupted`], [`DatabaseError::GaveWay`].
pub fn check(path: &Path, options: CheckOptions, watch: &dyn Watch) -> Result<Report, DatabaseError> {
    let size = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
    let mut report = Report {
        size_bytes: size(path),
        wal_bytes: size(&beside(path, "-wal")),
        journal_bytes: size(&beside(path, "-journal")),
        ..Report::default()
    };
    if !options.in_use {
        look_at_files(path, &mut report);
    }
    let looked = look_inside(path, options, watch, &mut report);
    let severity = match &looked {
        Ok(()) => return Ok(report),
        Err(DatabaseError::Missing(_) | DatabaseError::Interrupted | DatabaseError::GaveWay(_)) => {
            looked?;
            return Ok(report);
        }
        Err(DatabaseError::NotADatabase(_) | DatabaseError::Damaged { .. }) => Severity::Damaged,
        Err(_) => Severity::Unknown,
    };
    // The header's own reason says more than "file is not a database".
    let reason = look_at(path).err().or(looked.err());
    report.findings.extend(reason.map(|reason| (severity, reason.to_string())));
    Ok(report)
}

/// A side file of a database.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What no connection is needed for, while nobody has the database open.
fn look_at_files(path: &Path, report: &mut Report) {
    if is_hot(&beside(path, "-journal")) {
        let what =
            "a writer died within a transaction: its journal was there, and SQLite rolls it back at the next read";
        report.findings.push((Severity::Warning, what.to_owned()));
    }
    if report.wal_bytes > 0 {
        let what = "the last user died: its write-ahead log was there, and SQLite takes it in at the next read";
        report.findings.push((Severity::Warning, what.to_owned()));
    }
}

/// # Source
/// pager.c, `hasHotJournal`: a journal whose first byte is zero is one that is not in use (journal_mode=PERSIST).
fn is_hot(journal: &Path) -> bool {
    let mut first = [0];
    File::open(journal).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first != [0]
}

fn look_inside(
    path: &Path,
    options: CheckOptions,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(), DatabaseError> {
    let connection = patiently(path, "the check", options.patience, watch, || {
        let connection = open(path)?;
        report.journal_mode = value(&connection, path, "PRAGMA journal_mode")?;
        // Everything is said of one state.
        let begin = connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema");
        begin.map_err(|error| DatabaseError::of("read", path, error))?;
        Ok(connection)
    })?;
    report.page_size = number(&connection, path, "PRAGMA page_size")?;
    report.pages = number(&connection, path, "PRAGMA page_count")?;
    report.free_pages = number(&connection, path, "PRAGMA freelist_count")?;
    let is_wal = report.journal_mode == "wal";
    if is_wal && report.wal_bytes > LONG_WAL_MIN_BYTES.max(LONG_WAL * report.size_bytes) {
        let what =
            "the write-ahead log is far longer than the database: a reader that never ends keeps it from being moved";
        report.findings.push((Severity::Warning, what.to_owned()));
    }
    if !is_wal && report.size_bytes > 0 {
        // No writer can be at work in the file: this connection has SHARED.
        look_at(path).map_err(|error| DatabaseError::Damaged { path: path.to_owned(), what: error.to_string() })?;
    }
    let hold = if is_wal { Hold::Nobody } else { Hold::Others };
    let found = watched(&connection, watch, hold, || findings(&connection, path, options.depth))?;
    report.findings.extend(found.into_iter().map(|what| (Severity::Damaged, what)));
    let violated = watched(&connection, watch, hold, || violated_keys(&connection, path))?;
    report.findings.extend(violated.into_iter().map(|what| (Severity::Warning, what)));
    Ok(())
}

/// One line for each foreign key that rows violate.
fn violated_keys(connection: &Connection, path: &Path) -> Result<Vec<String>, DatabaseError> {
    let query = "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 1, 2";
    let run = || -> Result<Vec<String>, rusqlite::Error> {
        let mut statement = connection.prepare(query)?;
        let rows = statement.query_map([], |row| {
            let (table, parent, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(format!("{count} rows of {table} refer to rows of {parent} that are not there (foreign key)"))
        })?;
        rows.collect()
    };
    match run() {
        // "foreign key mismatch": the parent table has no such key. A fault of the schema, not of the content.
        Err(rusqlite::Error::SqliteFailure(error, Some(what))) if error.code == rusqlite::ErrorCode::Unknown => {
            Ok(vec![what])
        }
        run => run.map_err(|error| DatabaseError::of("check", path, error)),
    }
}
