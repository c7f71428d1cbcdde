//! One connection of the server to a database: how it is opened, how its SQL ends at a deadline, how locks are waited for.
//!
//! Called by [`super::database`], on threads that may block. Waiting for other processes is the mount's part; what it refuses is
//! tried again here until the deadline. The journal mode is never changed.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::database::Database;
use super::guard::Guard;
use super::held::Held;
use super::path::{self, Identity};
use super::{Failure, Session};

/// Steps of SQLite's virtual machine between two looks at the clock: some tens of microseconds.
const STEPS: i32 = 2000;

/// Page cache, in KiB.
const CACHE_KIB: i64 = 2048;

/// Prepared statements kept.
const STATEMENTS: usize = 64;

/// Pauses between two tries to get a lock: the mount has queued each try already.
pub(super) const PAUSES: [Duration; 4] =
    [Duration::from_micros(200), Duration::from_millis(1), Duration::from_millis(3), Duration::from_millis(10)];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading; an attempt to write fails.
    Read,
    /// Writing.
    Write,
}

/// A connection that is kept.
pub(super) struct Handle {
    sqlite: Connection,
    guard: Guard,
    clock: Arc<Clock>,
    /// The schema whose names were looked at last.
    schema: Cell<Option<i64>>,
    /// Which file it has open.
    pub(super) identity: Identity,
    /// Whether the database was in WAL mode when it was last looked at.
    pub(super) is_wal: bool,
    /// Dropped last, behind the connection.
    _held: Held,
}

/// The deadline that the progress handler looks at.
struct Clock {
    zero: Instant,
    /// Nanoseconds after `zero`.
    deadline_ns: AtomicU64,
}

impl Clock {
    fn set(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.zero).as_nanos();
        self.deadline_ns.store(u64::try_from(after).unwrap_or(u64::MAX), Relaxed);
    }

    fn is_over(&self) -> bool {
        self.zero.elapsed().as_nanos() >= u128::from(self.deadline_ns.load(Relaxed))
    }
}

impl Handle {
    /// Opens a file that exists. Its path has no symlink in it, and SQLite refuses one that appears.
    pub(super) fn open(path: &Path, identity: Identity, purpose: Purpose) -> Result<Self, Failure> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let held = Held::new(identity);
        let mut sqlite = Connection::open_with_flags(path, flags)?;
        sqlite.busy_timeout(Duration::ZERO)?;
        sqlite.set_prepared_statement_cache_capacity(STATEMENTS);
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        sqlite.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        sqlite.pragma_update(None, "query_only", purpose == Purpose::Read)?;
        let clock = Arc::new(Clock { zero: Instant::now(), deadline_ns: AtomicU64::new(u64::MAX) });
        let looks = Arc::clone(&clock);
        sqlite.progress_handler(STEPS, Some(move || looks.is_over()))?;
        let guard = Guard::attach(&mut sqlite)?;
        Ok(Self { sqlite, guard, clock, schema: Cell::new(None), identity, is_wal: false, _held: held })
    }

    /// The connection itself, for the server's own statements.
    pub(super) fn sqlite(&self) -> &Connection {
        &self.sqlite
    }

    /// From now on SQL on this connection is interrupted at a moment; none means never.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.clock.set(deadline),
            None => self.clock.deadline_ns.store(u64::MAX, Relaxed),
        }
    }

    /// What a job sees of the connection.
    pub(super) fn session<'c>(&'c self, database: &'c Database, now: i64, deadline: Instant) -> Session<'c> {
        self.set_deadline(Some(deadline));
        Session {
            connection: &self.sqlite,
            path: database.path(),
            now,
            deadline,
            max_response_bytes: database.max_response_bytes(),
            history: &database.history,
            guard: &self.guard,
        }
    }

    /// Takes a snapshot, and looks how the journal is kept.
    pub(super) fn begin_read(&self) -> Result<(), Failure> {
        self.begin("BEGIN DEFERRED")?;
        self.look_at_schema().inspect_err(|_| self.roll_back())
    }

    /// Takes the write lock.
    pub(super) fn begin_write(&mut self) -> Result<(), Failure> {
        self.begin("BEGIN IMMEDIATE")?;
        self.look_at_schema().and_then(|()| self.look_at_journal()).inspect_err(|_| self.roll_back())
    }

    fn begin(&self, statement: &str) -> Result<(), Failure> {
        self.sqlite.prepare_cached(statement).and_then(|mut begin| begin.execute([])).map_err(opened)?;
        Ok(())
    }

    /// Reads the head of the file, which tells whether it is a database at all, and the number of its schema.
    pub(super) fn touch(&self) -> Result<i64, Failure> {
        let version = "PRAGMA schema_version";
        let version = self.sqlite.prepare_cached(version).and_then(|mut query| query.query_row([], |row| row.get(0)));
        version.map_err(opened)
    }

    fn look_at_schema(&self) -> Result<(), Failure> {
        let version = self.touch()?;
        if self.schema.get() != Some(version) {
            check_names(&self.sqlite)?;
            // It needs the schema too, so it would wait for a lock when the file is opened.
            self.sqlite.pragma_update(None, "cache_size", -CACHE_KIB)?;
            self.schema.set(Some(version));
        }
        Ok(())
    }

    /// Whether it must not be kept for others: see [`Guard::is_spent`].
    pub(super) fn is_spent(&self) -> bool {
        self.guard.is_spent()
    }

    /// The mode changes rarely, but anybody may change it.
    fn look_at_journal(&mut self) -> Result<(), Failure> {
        let mode = self.sqlite.prepare_cached("PRAGMA journal_mode").and_then(|mut query| {
            query.query_row([], |row| row.get_ref(0)?.as_str().map(|mode| mode == "wal").map_err(Into::into))
        });
        self.is_wal = mode?;
        Ok(())
    }

    /// Commits.
    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.sqlite.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    }

    /// Ends a transaction, if there is one, without its changes.
    pub(super) fn roll_back(&self) {
        self.set_deadline(None);
        if !self.sqlite.is_autocommit()
            && let Err(error) = self.sqlite.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]))
        {
            tracing::error!(%error, "cannot roll back");
        }
    }
}

/// Refuses a schema with names that are not UTF-8: any program can make one, and what lies between SQLite and this room takes every
/// name for UTF-8.
///
/// # Errors
/// 500 DATABASE_ERROR if there is one; SQLite's.
pub(super) fn check_names(connection: &Connection) -> Result<(), Failure> {
    let mut query = connection.prepare("SELECT name, tbl_name, sql FROM sqlite_schema")?;
    let mut rows = query.raw_query();
    while let Some(row) = rows.next()? {
        for at in 0..3 {
            if let ValueRef::Text(text) = row.get_ref(at)?
                && std::str::from_utf8(text).is_err()
            {
                return Err(Failure::database(&"a name in the schema is not UTF-8"));
            }
        }
    }
    Ok(())
}

/// An error at the first touch of a file: it may be no database at all.
fn opened(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => path::no_header(),
        Some(ErrorCode::CannotOpen) if !matches!(error, rusqlite::Error::SqlInputError { .. }) => Failure::from(error),
        _ => Failure::from(error),
    }
}

/// Tries again while a lock is refused, until `is_over`; then 503 DATABASE_BUSY.
pub(super) fn patiently<T>(
    mut attempt: impl FnMut() -> Result<T, Failure>,
    mut is_over: impl FnMut() -> bool,
) -> Result<T, Failure> {
    let mut pauses = PAUSES.iter();
    let mut pause = PAUSES[0];
    loop {
        match attempt() {
            Err(failure) if failure.code == "DATABASE_BUSY" && !is_over() => {
                std::thread::sleep(pause);
                pause = pauses.next().copied().unwrap_or(pause);
            }
            outcome => return outcome,
        }
    }
}
