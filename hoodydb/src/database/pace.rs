//! Leaves the disk to others while they write: what is copied goes to the disk in pieces, with a rest after each.
//!
//! Called by [`super::copy`] and [`super::chase`]. A file that is written at full speed fills the queue of the disk, and every commit
//! waits behind it for its fsync: that costs writers more than any lock.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::DatabaseError;
use super::connection::{open, value};
use super::watch::{Hold, Watch};

/// What is copied between two rests, in bytes.
pub(super) const PIECE_BYTES: u64 = 1024 * 1024;

/// How many times as long as a piece took the rest after it is: so about one commit in a hundred meets a piece on its way.
const REST: u32 = 8;

/// The longest rest, where the disk stood still for a piece.
const REST_MAX: Duration = Duration::from_secs(2);

/// How often a rest is looked at, whether the work has to end.
const LOOK: Duration = Duration::from_millis(100);

/// How long is looked who writes before the work begins.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// For how long after a commit somebody is taken for one who writes.
const WRITES_FOR: Duration = Duration::from_secs(1);

/// The rests of one copy.
pub(super) struct Pace<'a> {
    target: File,
    path: &'a Path,
    is_on: bool,
    watch: &'a dyn Watch,
    /// Copied since the last rest: bytes, and how long that took.
    unrested: Cell<(u64, Duration)>,
    rested: Cell<Duration>,
}

impl<'a> Pace<'a> {
    /// For a copy into a file that exists; without rests if not `is_on`.
    pub(super) fn new(path: &'a Path, is_on: bool, watch: &'a dyn Watch) -> Result<Self, DatabaseError> {
        let target = File::options().write(true).open(path);
        let target = target.map_err(|source| DatabaseError::io("open", path, source))?;
        Ok(Self { target, path, is_on, watch, unrested: Cell::default(), rested: Cell::default() })
    }

    /// So many bytes were copied since `begun`: when they make a piece, has it on the disk, and rests.
    pub(super) fn copied(&self, bytes: u64, begun: Instant) -> Result<(), DatabaseError> {
        if !self.is_on {
            return Ok(());
        }
        let (before, took) = self.unrested.take();
        if before + bytes < PIECE_BYTES {
            self.unrested.set((before + bytes, took + begun.elapsed()));
            return Ok(());
        }
        self.target.sync_data().map_err(|source| DatabaseError::io("write", self.path, source))?;
        let rest = rest_after(took + begun.elapsed());
        let until = Instant::now() + rest;
        loop {
            if let Some(stop) = self.watch.stop(Hold::Nobody) {
                return Err(stop.into());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(LOOK));
        }
        self.rested.set(self.rested.get() + rest);
        Ok(())
    }

    /// All rests together.
    pub(super) fn rested(&self) -> Duration {
        self.rested.get()
    }
}

fn rest_after(piece: Duration) -> Duration {
    piece.saturating_mul(REST).min(REST_MAX)
}

/// Whether others write to a database.
pub(super) struct Writers<'a> {
    connection: Connection,
    path: &'a Path,
    version: Option<i64>,
    seen: Option<Instant>,
}

impl<'a> Writers<'a> {
    pub(super) fn of(path: &'a Path) -> Result<Self, DatabaseError> {
        Ok(Self { connection: open(path)?, path, version: None, seen: None })
    }

    /// Looks for a moment, so that those who write often are seen before the work begins.
    pub(super) fn look(&mut self) {
        self.are_at_work();
        std::thread::sleep(FIRST_LOOK);
        self.are_at_work();
    }

    /// Whether somebody has committed a moment ago, as far as was looked.
    ///
    /// # Source
    /// `PRAGMA data_version`: another number after each commit of another connection.
    pub(super) fn are_at_work(&mut self) -> bool {
        // What stands in the way of this look stands in that of the copy, which tells.
        let version = value(&self.connection, self.path, "PRAGMA data_version").ok().or(self.version);
        if self.version.is_some() && version != self.version {
            self.seen = Some(Instant::now());
        }
        self.version = version;
        self.seen.is_some_and(|seen| seen.elapsed() < WRITES_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Unwatched;
    use crate::database::watch::Stop;

    struct Stopped;

    impl Watch for Stopped {
        fn progress(&self, _done: u64, _total: u64) {}

        fn stop(&self, _hold: Hold) -> Option<Stop> {
            Some(Stop::Interrupted)
        }
    }

    #[test]
    fn the_rest_is_as_long_as_the_piece_took_many_times() {
        assert_eq!(rest_after(Duration::from_millis(3)), Duration::from_millis(24));
        assert_eq!(rest_after(Duration::MAX), REST_MAX);
        let path = std::env::temp_dir().join(format!("hoodydb-pace-{}", std::process::id()));
        std::fs::write(&path, b"a piece").unwrap();
        for (is_on, rests) in [(true, true), (false, false)] {
            let pace = Pace::new(&path, is_on, &Unwatched).unwrap();
            pace.copied(PIECE_BYTES - 1, Instant::now()).unwrap();
            assert!(pace.rested().is_zero());
            pace.copied(1, Instant::now()).unwrap();
            assert_eq!(!pace.rested().is_zero(), rests);
        }
        let stopped = Pace::new(&path, true, &Stopped).unwrap().copied(PIECE_BYTES, Instant::now());
        assert!(matches!(stopped, Err(DatabaseError::Interrupted)));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn who_commits_is_seen() {
        let dir = std::env::temp_dir().join(format!("hoodydb-writers-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(x)").unwrap();
        let mut writers = Writers::of(&path).unwrap();
        assert!(!writers.are_at_work() && !writers.are_at_work());
        writer.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert!(writers.are_at_work() && writers.are_at_work());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
