//! Who of this process may use a database at a time, so that SQLite's conflicts inside of one process never reach a client.
//!
//! Called by [`super::database`]. SQLite answers conflicts between connections of one process itself, before any file lock, so no
//! mount can queue them. Readers also take turns to be none: connections whose process holds a read lock already make no lock call
//! at all, and a crowd that overlaps for ever would keep a native writer's COMMIT, or the reset of a log, waiting for ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long readers may join those that read already.
const OVERLAP: Duration = Duration::from_millis(50);

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
    writing: bool,
    /// Writers and fences that wait for the readers to go: no reader joins meanwhile.
    closing: usize,
    fenced: bool,
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
    /// Writing beside readers: a WAL database.
    WriteBesideReaders,
    /// Writing without readers: a rollback journal, whose COMMIT waits for every reader to go.
    WriteAlone,
    /// Nobody else at all.
    Fence,
}

impl Gate {
    /// Waits for leave until a deadline; none if it passes.
    pub(super) fn enter(&self, kind: Kind, deadline: Instant) -> Option<Pass<'_>> {
        let mut state = self.lock();
        let closes = matches!(kind, Kind::WriteAlone | Kind::Fence);
        state.closing += usize::from(closes);
        let entered = loop {
            if state.admits(kind) {
                state.enter(kind);
                break true;
            }
            let now = Instant::now();
            if now >= deadline {
                break false;
            }
            let waited = self.changed.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.closing -= usize::from(closes);
        if closes {
            self.changed.notify_all();
        }
        entered.then_some(Pass { gate: self, kind })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admits(&self, kind: Kind) -> bool {
        if self.fenced {
            return false;
        }
        match kind {
            Kind::Read => {
                let may_join = self.since.is_none_or(|since| since.elapsed() < OVERLAP);
                self.closing == 0 && (self.readers == 0 || may_join)
            }
            Kind::WriteBesideReaders => !self.writing,
            Kind::WriteAlone | Kind::Fence => !self.writing && self.readers == 0,
        }
    }

    fn enter(&mut self, kind: Kind) {
        match kind {
            Kind::Read => {
                self.since.get_or_insert_with(Instant::now);
                self.readers += 1;
            }
            Kind::WriteBesideReaders => self.writing = true,
            // A writer without readers keeps them out as a fence does.
            Kind::WriteAlone | Kind::Fence => (self.writing, self.fenced) = (true, true),
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
            Kind::WriteBesideReaders => self.writing = false,
            Kind::WriteAlone | Kind::Fence => (self.writing, self.fenced) = (false, false),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.leave(self.kind);
        drop(state);
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn one_writes_at_a_time_and_readers_stay() {
        let gate = Gate::default();
        let reader = gate.enter(Kind::Read, now()).unwrap();
        let writer = gate.enter(Kind::WriteBesideReaders, now()).unwrap();
        assert!(gate.enter(Kind::WriteBesideReaders, now()).is_none());
        assert!(gate.enter(Kind::Read, now()).is_some());
        drop((reader, writer));
        assert!(gate.enter(Kind::WriteBesideReaders, now()).is_some());
    }

    #[test]
    fn a_rollback_writer_and_a_fence_are_alone() {
        for kind in [Kind::WriteAlone, Kind::Fence] {
            let gate = Gate::default();
            let reader = gate.enter(Kind::Read, now()).unwrap();
            assert!(gate.enter(kind, now()).is_none());
            drop(reader);
            let alone = gate.enter(kind, now()).unwrap();
            assert!(gate.enter(Kind::Read, now()).is_none());
            assert!(gate.enter(Kind::WriteBesideReaders, now()).is_none());
            drop(alone);
            assert!(gate.enter(Kind::Read, now()).is_some());
        }
    }

    #[test]
    fn nobody_joins_readers_that_a_writer_waits_for() {
        let gate = Gate::default();
        let reader = gate.enter(Kind::Read, now()).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| gate.enter(Kind::WriteAlone, now() + Duration::from_secs(60)).is_some());
            while gate.lock().closing == 0 {
                std::thread::yield_now();
            }
            assert!(gate.enter(Kind::Read, now()).is_none());
            drop(reader);
            assert!(writer.join().unwrap());
        });
    }

    #[test]
    fn readers_that_overlap_for_long_are_let_run_out() {
        let gate = Gate::default();
        let first = gate.enter(Kind::Read, now()).unwrap();
        let second = gate.enter(Kind::Read, now()).unwrap();
        gate.lock().since = now().checked_sub(OVERLAP);
        drop(first);
        assert!(gate.enter(Kind::Read, now()).is_none());
        drop(second);
        assert!(gate.enter(Kind::Read, now()).is_some());
    }
}
