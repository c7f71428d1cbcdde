//! How long work is watched: it tells how far it is, and asks whether it may go on.
//!
//! Implemented by [`crate::cli`], which knows the terminal, the signals and who waits at the mount.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::DatabaseError;

/// How often work that cannot ask by itself is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// Who is kept waiting by what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody, or only for moments.
    Nobody,
    /// Whoever wants to write, or to read too, waits until it is done.
    Others,
}

/// Why work is to end before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The user wants no more of it.
    Interrupted,
    /// Somebody waits behind it, and would soon be refused: in words, who and for how long.
    Starving(String),
}

/// Watches one piece of work.
pub trait Watch: Sync {
    /// So many of so many pages are done.
    fn progress(&self, done: u64, total: u64);

    /// A call that waits for a lock has to return at this moment; without one it waits for as long as the mount lets it.
    fn wake_at(&self, _moment: Option<Instant>) {}

    /// Whether the work has to end; asked several times a second.
    fn stop(&self, hold: Hold) -> Option<Stop>;
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn progress(&self, _done: u64, _total: u64) {}

    fn stop(&self, _hold: Hold) -> Option<Stop> {
        None
    }
}

/// Runs statements that take long, and interrupts them when the watch wants an end.
pub(super) fn watched<T>(
    connection: &rusqlite::Connection,
    watch: &dyn Watch,
    hold: Hold,
    work: impl FnOnce() -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    let stopped = Mutex::new(None);
    let is_over = AtomicBool::new(false);
    let interrupt = connection.get_interrupt_handle();
    let outcome = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                if let Some(stop) = watch.stop(hold) {
                    *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
                    // Again and again: an interrupt between two statements is forgotten by SQLite.
                    interrupt.interrupt();
                }
                std::thread::park_timeout(LOOK);
            }
        });
        let outcome = work();
        is_over.store(true, Relaxed);
        watching.thread().unpark();
        outcome
    });
    match stopped.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(stop) if outcome.is_err() => Err(stop.into()),
        _ => outcome,
    }
}
