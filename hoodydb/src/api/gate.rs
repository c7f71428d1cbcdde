//! Who of this process may use a database at a time, so that SQLite's conflicts inside of one process never reach a client.
//!
//! Called by [`super::database`]. SQLite answers conflicts between connections of one process itself, before any file lock, so no
//! mount can queue them. Two more things follow from that: a crowd of readers that overlap for ever would keep a native writer's
//! COMMIT, or the reset of a log, waiting for ever, so they take turns to be none; and a lock call that the mount has parked holds a
//! mutex of SQLite's that readers of this process need, so readers wait here instead, and after a while end the parked call.
//!
//! ```text
//! readers  join one another for OVERLAP, then wait until all have gone
//! writer   alone while it gets the lock; in WAL mode beside readers from then on
//! fence    alone
//! ```

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Threads;

/// For how long readers may join those that read already.
const OVERLAP: Duration = Duration::from_millis(50);

/// How long readers wait for a writer that gets the lock, before they end its wait and go first.
const PATIENCE: Duration = Duration::from_millis(50);

/// The gate of one database.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    readers: usize,
    /// When the first of the present readers came.
    since: Option<Instant>,
    waiting: usize,
    /// Readers that go before the next writer, because they have waited for one in vain.
    owed: usize,
    writing: bool,
    /// Writers and fences that wait for the readers to go: no reader joins meanwhile.
    closing: usize,
    alone: bool,
    /// The thread that gets a lock now, and since when.
    acquiring: Option<(u64, Instant)>,
}

/// Leave to use the database; given back when dropped.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    kind: Kind,
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reading.
    Read,
    /// Writing beside readers.
    Beside,
    /// Writing, or work on the file, without readers.
    Alone,
}

impl Gate {
    /// Waits for leave until a deadline; none if it passes.
    pub(super) fn enter(&self, kind: Kind, deadline: Instant, threads: &dyn Threads) -> Option<Pass<'_>> {
        let mut state = self.lock();
        state.arrive(kind);
        let entered = loop {
            if state.admits(kind) {
                break true;
            }
            let now = Instant::now();
            if now >= deadline {
                break false;
            }
            let mut until = deadline;
            if let (Kind::Read, Some((thread, since))) = (kind, state.acquiring) {
                if now >= since + PATIENCE {
                    threads.interrupt(thread);
                    until = until.min(now + PATIENCE);
                } else {
                    until = until.min(since + PATIENCE);
                }
            }
            state = self.changed.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.depart(kind, entered);
        drop(state);
        self.changed.notify_all();
        // Not made before it is known: a pass that is dropped leaves.
        entered.then(|| Pass { gate: self, kind })
    }

    /// Whether somebody reads now.
    pub(super) fn has_readers(&self) -> bool {
        self.lock().readers > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Gets a lock of the file, which the mount may park; readers that wait for too long end that, and go first.
    pub(super) fn acquire<T, E>(&self, threads: &dyn Threads, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.gate.lock().acquiring = Some((threads.current(), Instant::now()));
        self.gate.changed.notify_all();
        let done = work();
        let mut state = self.gate.lock();
        state.acquiring = None;
        if done.is_err() {
            state.owed = state.waiting;
        }
        done
    }

    /// Whether no reader is beside it.
    pub(super) fn is_alone(&self) -> bool {
        self.kind == Kind::Alone
    }

    /// Lets readers in beside a writer.
    pub(super) fn admit_readers(&mut self) {
        if self.kind == Kind::Alone {
            self.kind = Kind::Beside;
            self.gate.lock().alone = false;
            self.gate.changed.notify_all();
        }
    }
}

impl State {
    fn arrive(&mut self, kind: Kind) {
        match kind {
            Kind::Read => self.waiting += 1,
            Kind::Beside => (),
            Kind::Alone => self.closing += 1,
        }
    }

    fn admits(&self, kind: Kind) -> bool {
        if self.alone {
            return false;
        }
        match kind {
            Kind::Read => {
                let may_join = self.readers == 0 || self.since.is_none_or(|since| since.elapsed() < OVERLAP);
                self.owed > 0 || (self.closing == 0 && may_join)
            }
            Kind::Beside => !self.writing,
            Kind::Alone => !self.writing && self.readers == 0 && self.owed == 0,
        }
    }

    fn depart(&mut self, kind: Kind, entered: bool) {
        match kind {
            Kind::Read => {
                self.waiting -= 1;
                self.owed = self.owed.saturating_sub(1);
                if entered {
                    self.since.get_or_insert_with(Instant::now);
                    self.readers += 1;
                }
            }
            Kind::Beside => self.writing |= entered,
            Kind::Alone => {
                self.closing -= 1;
                self.writing |= entered;
                self.alone |= entered;
            }
        }
    }

    fn leave(&mut self, kind: Kind) {
        match kind {
            Kind::Read => {
                self.readers -= 1;
                if self.readers == 0 {
                    self.since = None;
                }
            }
            Kind::Beside => self.writing = false,
            Kind::Alone => (self.writing, self.alone) = (false, false),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.lock().leave(self.kind);
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::super::Inline;
    use super::*;

    fn enter(gate: &Gate, kind: Kind) -> Option<Pass<'_>> {
        gate.enter(kind, Instant::now(), &Inline)
    }

    #[test]
    fn one_writes_at_a_time_and_readers_stay() {
        let gate = Gate::default();
        let reader = enter(&gate, Kind::Read).unwrap();
        let writer = enter(&gate, Kind::Beside).unwrap();
        assert!(enter(&gate, Kind::Beside).is_none());
        assert!(enter(&gate, Kind::Read).is_some());
        drop((reader, writer));
        assert!(enter(&gate, Kind::Beside).is_some());
    }

    #[test]
    fn one_is_alone_until_it_lets_readers_in() {
        let gate = Gate::default();
        let reader = enter(&gate, Kind::Read).unwrap();
        assert!(enter(&gate, Kind::Alone).is_none());
        drop(reader);
        let mut alone = enter(&gate, Kind::Alone).unwrap();
        assert!(enter(&gate, Kind::Read).is_none());
        assert!(enter(&gate, Kind::Beside).is_none());
        alone.admit_readers();
        assert!(enter(&gate, Kind::Read).is_some());
        assert!(enter(&gate, Kind::Alone).is_none());
        drop(alone);
        assert!(enter(&gate, Kind::Alone).is_some());
    }

    #[test]
    fn nobody_joins_readers_that_a_writer_waits_for() {
        let gate = Gate::default();
        let reader = enter(&gate, Kind::Read).unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| gate.enter(Kind::Alone, limit, &Inline).is_some());
            while gate.lock().closing == 0 {
                std::thread::yield_now();
            }
            assert!(enter(&gate, Kind::Read).is_none());
            drop(reader);
            assert!(writer.join().unwrap());
        });
    }

    #[test]
    fn readers_that_overlap_for_long_are_let_run_out() {
        let gate = Gate::default();
        let first = enter(&gate, Kind::Read).unwrap();
        let second = enter(&gate, Kind::Read).unwrap();
        gate.lock().since = Instant::now().checked_sub(OVERLAP);
        drop(first);
        assert!(enter(&gate, Kind::Read).is_none());
        drop(second);
        assert!(enter(&gate, Kind::Read).is_some());
    }

    /// Notes which thread is to be interrupted.
    #[derive(Default)]
    struct Noted(AtomicU64);

    impl Threads for Noted {
        fn run(&self, work: Box<dyn FnOnce() + Send>) {
            work();
        }

        fn current(&self) -> u64 {
            7
        }

        fn interrupt(&self, thread: u64) {
            self.0.store(thread, Relaxed);
        }
    }

    #[test]
    fn a_reader_ends_a_long_wait_for_a_lock_and_goes_first() {
        let (gate, threads) = (Gate::default(), Noted::default());
        let limit = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            let alone = enter(&gate, Kind::Alone).unwrap();
            let reader = scope.spawn(|| gate.enter(Kind::Read, limit, &threads).is_some());
            let waited = alone.acquire(&threads, || {
                while threads.0.load(Relaxed) == 0 {
                    std::thread::yield_now();
                }
                Err::<(), ()>(())
            });
            assert_eq!((waited, threads.0.load(Relaxed)), (Err(()), 7));
            drop(alone);
            // The writer comes back after the reader has been let in, not before.
            let again = gate.enter(Kind::Alone, limit, &threads).unwrap();
            assert_eq!(gate.lock().owed, 0);
            drop(again);
            assert!(reader.join().unwrap());
        });
    }
}
