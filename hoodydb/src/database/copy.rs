//! Copies a database while others write to it.
//!
//! Called by `hoodydb backup`. What comes out is one state that the database had.
//!
//! ```text
//!  WAL       SQLite's online backup in one snapshot: writers go on, nothing is copied twice; with rests while they write
//!  rollback  SQLite's online backup in steps, writers go on between them --+-- nobody wrote: done
//!                 ^                                                        |
//!                 +------ somebody wrote: from the first page -------------+
//!                                                                          | too often
//!            a copy without any lock, with rests, then RESERVED and what is not the same any more (`chase`)
//! ```
//!
//! RESERVED and not SHARED alone, because a writer that waits behind SHARED has PENDING, which keeps readers out.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::DatabaseError;
use super::chase::Chase;
use super::connection::{number, open, open_with, patiently, value};
use super::integrity::open_immutable;
use super::pace::{PIECE_BYTES, Pace, Writers};
use super::watch::{Hold, Watch};

/// What one step copies, in bytes: a few milliseconds, in which writers of a rollback journal wait.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// A database of up to so many bytes is held at once: that takes less time than a writer's turn or two.
const SMALL_BYTES: u64 = 8 * 1024 * 1024;

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Pages per step; chosen by their size if none.
    pub pages_per_step: Option<u32>,
    /// How often the copy may begin anew because somebody wrote, before it keeps writers out.
    pub restarts_max: u32,
    /// Whether the disk is left to others, for most of the time, while they write.
    pub rests: bool,
    /// How long to wait for a lock.
    pub patience: Duration,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Pages of the copy.
    pub pages: u64,
    /// Bytes of a page.
    pub page_size: u32,
    /// SQLite's name of the journal mode.
    pub journal_mode: String,
    /// How often it began anew.
    pub restarts: u32,
    /// How long writers were kept out.
    pub held: Duration,
    /// How long the disk was left to others.
    pub rested: Duration,
}

/// Copies a database into an existing empty file. The copy is not on the disk yet (fsync) when this returns.
///
/// # Errors
/// Where the source cannot be read, the target not be written, or the watch wants an end.
pub fn copy(source: &Path, target: &Path, options: CopyOptions, watch: &dyn Watch) -> Result<Copied, DatabaseError> {
    let reader = open(source)?;
    let facts = || -> Result<(String, u32, u64), DatabaseError> {
        let mode = value(&reader, source, "PRAGMA journal_mode")?;
        Ok((mode, value(&reader, source, "PRAGMA page_size")?, number(&reader, source, "PRAGMA page_count")?))
    };
    let (journal_mode, page_size, pages) = patiently(source, "the backup", options.patience, watch, facts)?;
    let bytes = pages.saturating_mul(page_size.into());
    let pace = Pace::new(target, options.rests, watch)?;
    let copy = Copy { source, target, options, watch, reader: &reader, page_size, pace: &pace };
    let (restarts, held) = if journal_mode == "wal" {
        copy.beside_writers(bytes)?;
        (0, Duration::ZERO)
    } else {
        copy.with_rollback_journal(bytes)?
    };
    let copied = open_immutable(target)?;
    let pages = number(&copied, target, "PRAGMA page_count")?;
    Ok(Copied { pages, page_size, journal_mode, restarts, held, rested: pace.rested() })
}

/// The connection to a file that nobody else knows, emptied: it needs no journal, and is synced once, by the caller.
fn blank(target: &Path) -> Result<Connection, DatabaseError> {
    let emptied = File::options().write(true).truncate(true).open(target);
    emptied.map_err(|source| DatabaseError::io("write", target, source))?;
    let writer = open_with(target, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let pragmas = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;";
    writer.execute_batch(pragmas).map_err(|error| DatabaseError::of("write", target, error))?;
    Ok(writer)
}

/// Whether a run of steps reached the last page.
enum Run {
    Done,
    /// Somebody wrote so often that it has to be held.
    Outrun,
}

struct Copy<'a> {
    source: &'a Path,
    target: &'a Path,
    options: CopyOptions,
    watch: &'a dyn Watch,
    reader: &'a Connection,
    page_size: u32,
    pace: &'a Pace<'a>,
}

impl Copy<'_> {
    /// Begins the transaction that everything is read in.
    fn begin_to_read(&self) -> Result<(), DatabaseError> {
        patiently(self.source, "the backup", self.options.patience, self.watch, || {
            let begin = "BEGIN; SELECT 1 FROM sqlite_schema;";
            self.reader.execute_batch(begin).map_err(|error| {
                let _ = self.reader.execute_batch("ROLLBACK");
                DatabaseError::of("read", self.source, error)
            })
        })
    }

    fn with_rollback_journal(&self, bytes: u64) -> Result<(u32, Duration), DatabaseError> {
        if bytes <= SMALL_BYTES {
            return Ok((0, self.while_held(|| self.to_the_end())?));
        }
        let mut restarts = 0;
        if self.options.restarts_max > 0
            && let Run::Done = self.between_writers(&mut restarts)?
        {
            return Ok((restarts, Duration::ZERO));
        }
        let piece = self.options.pages_per_step.map(|pages| u64::from(pages) * u64::from(self.page_size));
        let chase = Chase::new(self.source, self.target, piece, self.watch)?;
        chase.copy(self.pace)?;
        let held = self.while_held(|| {
            let mode: String = value(self.reader, self.source, "PRAGMA journal_mode")?;
            if mode == "wal" || !chase.is_the_same_file() {
                // Not the file that it was: SQLite knows what the database is.
                return self.to_the_end();
            }
            let pages = number(self.reader, self.source, "PRAGMA page_count")?;
            chase.settle(pages * u64::from(self.page_size))
        })?;
        Ok((restarts, held))
    }

    /// Does something while nobody can write; gives for how long that was.
    fn while_held(&self, work: impl FnOnce() -> Result<(), DatabaseError>) -> Result<Duration, DatabaseError> {
        // A connection of its own: SQLite copies nothing from one that could write.
        let guard = open(self.source)?;
        patiently(self.source, "the backup", self.options.patience, self.watch, || {
            let begin = guard.execute_batch("BEGIN IMMEDIATE");
            begin.map_err(|error| DatabaseError::of("hold", self.source, error))
        })?;
        let begun = Instant::now();
        self.begin_to_read()?;
        work()?;
        Ok(begun.elapsed())
    }

    /// Copies a database in WAL mode: nobody waits for the transaction of a reader.
    fn beside_writers(&self, bytes: u64) -> Result<(), DatabaseError> {
        let mut writers = Writers::of(self.source)?;
        if bytes > SMALL_BYTES {
            writers.look();
        }
        self.begin_to_read()?;
        let mut writer = blank(self.target)?;
        let backup = self.backup(&mut writer)?;
        loop {
            let begun = Instant::now();
            let others_write = writers.are_at_work();
            let pages = self.step_pages(if others_write { PIECE_BYTES } else { STEP_BYTES });
            if self.step(&backup, pages, Hold::Nobody)? {
                break;
            }
            if others_write {
                self.pace.copied(u64::from(pages.unsigned_abs()) * u64::from(self.page_size), begun)?;
            }
        }
        drop(backup);
        writer.close().map_err(|(_, error)| DatabaseError::of("write", self.target, error))
    }

    /// Copies in one transaction of the reader, while writers are kept out.
    fn to_the_end(&self) -> Result<(), DatabaseError> {
        let mut writer = blank(self.target)?;
        let backup = self.backup(&mut writer)?;
        let pages = self.step_pages(STEP_BYTES);
        while !self.step(&backup, pages, Hold::Others)? {}
        drop(backup);
        writer.close().map_err(|(_, error)| DatabaseError::of("write", self.target, error))
    }

    /// Copies in transactions of a step each, from the first page again when somebody wrote.
    fn between_writers(&self, restarts: &mut u32) -> Result<Run, DatabaseError> {
        let mut writer = blank(self.target)?;
        let backup = self.backup(&mut writer)?;
        let pages = self.step_pages(STEP_BYTES);
        let mut done_before = 0;
        loop {
            if self.step(&backup, pages, Hold::Nobody)? {
                return Ok(Run::Done);
            }
            let progress = backup.progress();
            let done = progress.pagecount - progress.remaining;
            if done <= done_before {
                *restarts += 1;
                if *restarts >= self.options.restarts_max {
                    return Ok(Run::Outrun);
                }
            }
            done_before = done;
        }
    }

    fn backup<'b>(&'b self, writer: &'b mut Connection) -> Result<Backup<'b, 'b>, DatabaseError> {
        Backup::new(self.reader, writer).map_err(|error| DatabaseError::of("write", self.target, error))
    }

    fn step_pages(&self, bytes: u64) -> i32 {
        let chosen = bytes / u64::from(self.page_size.max(512));
        let pages = self.options.pages_per_step.map_or(chosen, u64::from).max(1);
        i32::try_from(pages).unwrap_or(i32::MAX)
    }

    /// Copies some pages; true after the last one.
    fn step(&self, backup: &Backup<'_, '_>, pages: i32, hold: Hold) -> Result<bool, DatabaseError> {
        if let Some(stop) = self.watch.stop(hold) {
            return Err(stop.into());
        }
        let stepped = patiently(self.source, "the backup", self.options.patience, self.watch, || {
            match backup.step(pages) {
                Ok(StepResult::Done) => Ok(true),
                Ok(StepResult::More) => Ok(false),
                Ok(_) => Err(DatabaseError::busy(self.source)),
                // What is full or broken is the target: the source is only read.
                Err(error) => Err(DatabaseError::of("copy", self.fault_of(&error), error)),
            }
        })?;
        let progress = backup.progress();
        let done = i64::from(progress.pagecount) - i64::from(progress.remaining);
        self.watch.progress(done.unsigned_abs(), i64::from(progress.pagecount).unsigned_abs());
        Ok(stepped)
    }

    /// The file that an error of a step is about.
    fn fault_of(&self, error: &rusqlite::Error) -> &Path {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::CannotOpen) => self.target,
            _ => self.source,
        }
    }
}
