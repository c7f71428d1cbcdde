//! Processes that hold something of the daemon: open databases, open handles, a place in a queue. Called by
//! [`crate::growth`] and [`crate::waiters`] as hidden subcommands of this program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::cases::Journal;
use crate::client::{Session, say, wait_for_end, wait_for_word};
use crate::sqlite_client::{SqliteClient, insert};

/// What a holder holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Held {
    /// One connection to each of the databases `first..first + count` of a directory.
    Databases {
        /// Where they are.
        directory: PathBuf,
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Descriptors of one file.
    Handles {
        /// The file.
        path: PathBuf,
        /// How many.
        count: u64,
    },
}

/// The name of an idle database.
pub fn idle_database(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("idle-{number}.db"))
}

/// Holds until the driver says otherwise.
///
/// # Errors
/// If something cannot be opened.
pub fn run(held: &str) -> Result<()> {
    match serde_json::from_str(held).context("what to hold")? {
        Held::Databases { directory, first, count } => {
            let open = |number| {
                let path = idle_database(&directory, number);
                let connection = Connection::open(&path)?;
                // Only a read opens the log and its index.
                let read = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
                read.with_context(|| path.display().to_string())?;
                Ok(connection)
            };
            let _connections: Vec<Connection> = (first..first + count).map(open).collect::<Result<_>>()?;
            say("ready")?;
            wait_for_end();
        }
        Held::Handles { path, count } => {
            let open = |_| File::open(&path).with_context(|| path.display().to_string());
            let _files: Vec<File> = (0..count).map(open).collect::<Result<_>>()?;
            say("ready")?;
            wait_for_end();
        }
    }
    Ok(())
}

/// What a process in a queue does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Queueing {
    /// The database, in WAL mode.
    pub path: PathBuf,
    /// How long each transaction stays open.
    pub hold_ms: u64,
    /// How long a process stays away after its transaction: longer than those that come straight back.
    pub away_ms: u64,
    /// When all stop.
    pub seconds: f64,
}

/// What it saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Queued {
    /// When BEGIN IMMEDIATE returned and when COMMIT was called, on the monotonic clock.
    pub turns: Vec<(u64, u64)>,
    /// Operations that failed.
    pub refusals: Vec<String>,
}

/// Queues for write transactions again and again, with no busy timeout.
///
/// # Errors
/// If something fails that is not contention.
pub fn queue(spec: &str) -> Result<()> {
    let spec: Queueing = serde_json::from_str(spec).context("how to queue")?;
    let mut session = SqliteClient::new(&spec.path, Journal::WalNormal, Duration::ZERO);
    session.select(1)?;
    say("ready")?;
    wait_for_word()?;
    let end_ns = now_ns() + (spec.seconds * 1e9) as u64;
    let mut queued = Queued::default();
    while now_ns() < end_ns {
        let turn = session.transaction(|connection| {
            let granted_ns = now_ns();
            insert(connection)?;
            // Afterwards the queue only has to empty.
            if granted_ns < end_ns {
                std::thread::sleep(Duration::from_millis(spec.hold_ms));
            }
            Ok((granted_ns, now_ns()))
        });
        match turn {
            Ok(turn) => queued.turns.push(turn),
            Err(error) => queued.refusals.push(session.refusal(&error).ok_or(error)?),
        }
        std::thread::sleep(Duration::from_millis(spec.away_ms));
    }
    say(&serde_json::to_string(&queued)?)?;
    wait_for_end();
    Ok(())
}

/// The monotonic clock, which all processes share.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
