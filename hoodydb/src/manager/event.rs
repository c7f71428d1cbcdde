//! The words between the manager and its caller: events in, decisions out.

use serde::{Deserialize, Serialize};

use crate::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};

/// How the requests for one database are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Writers take turns; readers pass (the default).
    #[default]
    Turn,
    /// One transaction at a time, readers included.
    Serial,
    /// No queue: every conflict is answered at once, as on any POSIX file system.
    Posix,
}

/// Nanoseconds on a monotonic clock of the caller's choice; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time `ns` later.
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to here, 0 if it is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One request that waits for its answer: the `unique` of the FUSE request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// The container (control group) of a process, for limits; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group(pub u64);

/// What one lock call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockCall {
    /// The file.
    pub file: FileId,
    /// The kernel's lock owner.
    pub owner: LockOwner,
    /// The open file description it came through.
    pub handle: Handle,
    /// The process (0 in unlocks).
    pub pid: Pid,
    /// The calling thread.
    pub tid: Tid,
    /// The bytes.
    pub range: ByteRange,
    /// Read or write; `None` unlocks.
    pub kind: Option<LockKind>,
    /// `F_SETLKW`: the caller is ready to wait without limit.
    pub wait: bool,
}

/// What happens to the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A lock or unlock call of a process in a container.
    Set(Ticket, LockCall, Group),
    /// A handle was opened.
    Opened {
        /// The file.
        file: FileId,
        /// Its handle.
        handle: Handle,
        /// Opened without write access: its read starts take no turn.
        read_only: bool,
    },
    /// A file is the WAL index of a database.
    WalIndex {
        /// The `-shm` file.
        index: FileId,
        /// The database beside it.
        database: FileId,
    },
    /// `close(2)` of a descriptor by one owner.
    Flush {
        /// The file.
        file: FileId,
        /// Who closes.
        owner: LockOwner,
        /// The descriptor's open file description.
        handle: Handle,
    },
    /// The last descriptor of a handle is gone.
    Release {
        /// The file.
        file: FileId,
        /// The handle.
        handle: Handle,
    },
    /// The waiter has a signal to take.
    Cancel(Ticket),
    /// What the thread that [`Decision::Probe`] asked about does.
    Probed {
        /// The database of the probe.
        database: FileId,
        /// The turn of the probe.
        turn: u64,
        /// What it does.
        activity: Activity,
    },
    /// Sets the policy of a database, open or not.
    SetPolicy(FileId, Policy),
    /// Sets the policy of all databases that have none of their own, and the longest wait of calls from now on.
    Configure {
        /// [`super::Config::max_wait_ns`].
        max_wait_ns: u64,
        /// [`super::Config::policy`].
        policy: Policy,
    },
    /// Which transactions may begin from now on.
    Admit(Admission),
    /// Refuses everything that waits.
    RefuseAll,
    /// Time has passed: [`super::LockManager::next_deadline`] is due.
    Tick,
    /// A process that follows a dead one answers from now on. Nobody could show what it wants while there was nobody to ask.
    Resumed,
}

/// Which transactions may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// None: whoever would begin one waits. The mount is being left.
    Nobody,
    /// All.
    #[default]
    Everybody,
    /// Those of connections that have their WAL and its index open. The mount point is gone, and with it the names: who begins
    /// on the database file could find neither its journal nor its WAL there, and is refused.
    Connected,
}

/// What a thread does that has read and not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// It sleeps, is stopped, or is gone: it does not mean to write soon.
    Asleep,
    /// It computes: a long query, perhaps.
    Working,
    /// It wants to go on and cannot: it waits for a processor, the disk, or an answer of the mount.
    Starved,
}

/// What the manager wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The one answer to a ticket.
    Answer(Ticket, Result<(), Denial>),
    /// Look whether a thread is active and report it with [`Event::Probed`]; a few ms late is early enough.
    Probe {
        /// The database.
        database: FileId,
        /// The turn whose intent ran out.
        turn: u64,
        /// The thread that has it.
        tid: Tid,
    },
}

/// Why a ticket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A conflict that is never waited for.
    Conflict,
    /// A write wanted under an older snapshot or SHARED while another domain writes.
    Upgrade,
    /// The deadline or the wait budget ran out.
    Deadline,
    /// Waiting would close a cycle; `posix` on files that are no databases (EDEADLK there).
    Deadlock {
        /// The file is no database.
        posix: bool,
    },
    /// The waiter has a signal to take; `wait` says the call was `F_SETLKW`.
    Cancelled {
        /// `F_SETLKW`.
        wait: bool,
    },
    /// A limit on records or waiters.
    Limit,
}
