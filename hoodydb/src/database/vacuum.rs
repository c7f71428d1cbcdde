//! VACUUM, in place and into another file.
//!
//! Called by `hoodydb vacuum`.

use std::path::Path;
use std::time::Duration;

use super::DatabaseError;
use super::connection::{again_and_again, number, open, patiently, value};
use super::watch::{Hold, Watch, watched};

/// Page cache of a vacuum, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// How a database is filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages.
    pub pages: u64,
    /// Pages that hold nothing.
    pub free_pages: u64,
    /// SQLite's name of the journal mode.
    pub journal_mode: String,
}

/// What becomes of pages that are freed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AutoVacuum {
    /// They stay, for later rows
    None,
    /// Each commit gives them back to the disk
    Full,
    /// PRAGMA incremental_vacuum gives them back
    Incremental,
}

impl AutoVacuum {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

/// How to vacuum.
#[derive(Clone, Copy, Debug)]
pub struct VacuumOptions {
    /// Whether the statistics of the query planner are made anew too.
    pub analyze: bool,
    /// A new setting for later.
    pub auto_vacuum: Option<AutoVacuum>,
    /// How long to wait for the turn.
    pub patience: Duration,
}

/// How a database is filled now.
///
/// # Errors
/// Where it cannot be read.
pub fn filling(path: &Path, patience: Duration, watch: &dyn Watch) -> Result<Filling, DatabaseError> {
    patiently(path, "the vacuum", patience, watch, || {
        let connection = open(path)?;
        Ok(Filling {
            page_size: number(&connection, path, "PRAGMA page_size")?,
            pages: number(&connection, path, "PRAGMA page_count")?,
            free_pages: number(&connection, path, "PRAGMA freelist_count")?,
            journal_mode: value(&connection, path, "PRAGMA journal_mode")?,
        })
    })
}

/// Rewrites a database without what is free in it. Others wait meanwhile: readers too with a rollback journal.
///
/// # Errors
/// [`DatabaseError::Busy`] after the patience, [`DatabaseError::Full`]; the database is then what it was.
pub fn vacuum(path: &Path, options: VacuumOptions, watch: &dyn Watch) -> Result<(), DatabaseError> {
    let connection = open(path)?;
    let fault = |error| DatabaseError::of("vacuum", path, error);
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(fault)?;
    if let Some(setting) = options.auto_vacuum {
        connection.pragma_update(None, "auto_vacuum", setting.name()).map_err(fault)?;
    }
    // The turn is waited for by itself, for the work takes as long as it takes.
    patiently(path, "the vacuum", options.patience, watch, || {
        connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(fault)
    })?;
    let run = |sql: &str| {
        again_and_again(path, "the vacuum", options.patience, watch, || {
            watched(&connection, watch, Hold::Others, || connection.execute_batch(sql).map_err(fault))
        })
    };
    run("VACUUM")?;
    // In WAL mode the file is as long as before until the log is moved into it; who reads may be in the way.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if options.analyze {
        run("ANALYZE")?;
    }
    connection.close().map_err(|(_, error)| fault(error))
}

/// Writes a database without what is free in it into an empty file; it is not on the disk yet (fsync).
///
/// # Errors
/// As of [`vacuum`]; the file is then not whole.
pub fn vacuum_into(path: &Path, into: &Path, options: VacuumOptions, watch: &dyn Watch) -> Result<(), DatabaseError> {
    let connection = open(path)?;
    let name = into.to_str().ok_or_else(|| {
        DatabaseError::Refused(format!("{} is no UTF-8: name another file", crate::model::printable(into)))
    })?;
    if let Some(setting) = options.auto_vacuum {
        let fault = |error| DatabaseError::of("vacuum", path, error);
        connection.pragma_update(None, "auto_vacuum", setting.name()).map_err(fault)?;
    }
    let mode: String = value(&connection, path, "PRAGMA journal_mode")?;
    let hold = if mode == "wal" { Hold::Nobody } else { Hold::Others };
    again_and_again(path, "the vacuum", options.patience, watch, || {
        watched(&connection, watch, hold, || {
            let done = connection.execute("VACUUM INTO ?", [name]);
            done.map(|_| ()).map_err(|error| match DatabaseError::of("vacuum", path, error) {
                // The database is only read.
                DatabaseError::Full(_) => DatabaseError::Full(into.to_owned()),
                other => other,
            })
        })
    })?;
    if options.analyze {
        let copy = open(into)?;
        let fault = |error| DatabaseError::of("analyze", into, error);
        watched(&copy, watch, Hold::Nobody, || copy.execute_batch("ANALYZE").map_err(fault))?;
        copy.close().map_err(|(_, error)| fault(error))?;
    }
    Ok(())
}
