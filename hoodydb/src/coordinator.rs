//! The one owner of all lock state: mutex, clock, parked replies, deadlines, the reaper of killed waiters.
//!
//! The FUSE room calls it on its reader threads; every call returns without sleeping. It never knows FUSE: a reply is anything
//! that implements [`Reply`], and no reply is sent under the mutex.

use std::time::Duration;

use crate::lock::{Conflict, FileId, Handle, LockOwner};
use crate::manager::view::View;
use crate::manager::{LockCall, Policy, Ticket};

/// Where the answer to one lock call goes.
pub trait Reply: Send + 'static {
    /// The lock is held (or released).
    fn granted(self);
    /// The lock is refused.
    ///
    /// # Errors
    /// See [`Refusal`] for the errno of each.
    fn refused(self, why: Refusal);
}

/// Why a lock call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `EAGAIN`: a conflict, a deadline or a cycle; the only errno that SQLite takes for "busy" on every file.
    Again,
    /// `EDEADLK`: `F_SETLKW` on a file that is no database would wait for itself.
    Deadlock,
    /// `EINTR`: the waiter of an `F_SETLKW` has a signal to take.
    Interrupted,
    /// `ENOLCK`: a limit is reached.
    NoLocks,
}

/// What the coordinator is told at the start.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait of a call that the client did not ask to wait (`--max-wait`).
    pub max_wait: Duration,
    /// Policy of databases that have none of their own.
    pub policy: Policy,
}

/// The shared lock state of one mount.
pub struct Coordinator<R: Reply> {
    _limits: Limits,
    _reply: std::marker::PhantomData<fn(R)>,
}

impl<R: Reply> Coordinator<R> {
    /// An empty lock state; starts the timer and reaper threads.
    pub fn start(limits: Limits) -> std::io::Result<std::sync::Arc<Self>> {
        Ok(std::sync::Arc::new(Self { _limits: limits, _reply: std::marker::PhantomData }))
    }

    /// `F_SETLK`, `F_SETLKW` and `F_UNLCK`. Answers now or later, exactly once.
    pub fn set_lock(&self, _ticket: Ticket, _call: LockCall, reply: R) {
        reply.granted();
    }

    /// `F_GETLK`: the record that stands in the way, if any.
    pub fn test_lock(&self, _call: LockCall) -> Option<Conflict> {
        None
    }

    /// A handle was opened. `read_only` handles never write, so their read starts take no turn.
    pub fn opened(&self, _file: FileId, _handle: Handle, _read_only: bool) {}

    /// `wal_index` (a file named `X-shm`) is the WAL index of `database` (the file `X` beside it).
    pub fn set_wal_index(&self, _wal_index: FileId, _database: FileId) {}

    /// `close(2)` of one descriptor by `owner`: drops what POSIX, or SQLite's rules on a database, say it drops.
    pub fn flush(&self, _file: FileId, _owner: LockOwner, _handle: Handle) {}

    /// The last descriptor of `handle` is gone.
    pub fn release(&self, _file: FileId, _handle: Handle) {}

    /// Sets the policy of one database, whether it is open or not; it is kept until the next call or the daemon's end.
    pub fn set_policy(&self, _database: FileId, _policy: Policy) {}

    /// A consistent picture of all databases and counters.
    pub fn view(&self) -> View {
        View::default()
    }

    /// Holds back every new read start from now on; running transactions go on.
    pub fn stop_admitting(&self) {}

    /// Takes [`Self::stop_admitting`] back.
    pub fn resume_admitting(&self) {}

    /// Transactions that run now: the databases and processes that hold a lock which a transaction holds (idle WAL
    /// connections do not count).
    pub fn running_transactions(&self) -> Vec<(FileId, crate::lock::Pid)> {
        Vec::new()
    }

    /// Refuses everything that still waits with `EAGAIN`: the last act before the daemon ends.
    pub fn refuse_waiters(&self) {}
}
