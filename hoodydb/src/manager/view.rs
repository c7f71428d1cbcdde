//! What the manager shows of itself: plain values for `status`, `locks`, tests and metrics.
//!
//! Filled by [`super::LockManager::view`]; it knows no names of files or processes, only their ids.

use serde::{Deserialize, Serialize};

use crate::lock::{FileId, LockOwner, Pid, Tid};

/// Everything the manager knows about its databases and its work so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every database that has a record, a waiter or a handle now.
    pub databases: Vec<DatabaseView>,
    /// Sums over all databases since the start.
    pub totals: Counters,
    /// Lock records of all files.
    pub records: u64,
    /// Requests that wait now, on databases and on other files.
    pub waiters: u64,
}

/// Counts since the start; never reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Lock calls that were granted, unlocks left out.
    pub granted: u64,
    /// Lock calls that waited before their answer.
    pub waited: u64,
    /// Refusals: the conflict cannot be waited for (SQLite's rules of what is never queued).
    pub refused_conflict: u64,
    /// Refusals: the deadline or the wait budget ran out.
    pub refused_deadline: u64,
    /// Refusals: waiting would have closed a cycle.
    pub refused_deadlock: u64,
    /// Refusals: a write was wanted under an older snapshot or SHARED while another writes (a read-to-write upgrade).
    pub refused_upgrade: u64,
    /// Refusals: a limit on records or waiters was reached.
    pub refused_limit: u64,
    /// Waits that ended because the waiter had a signal to take.
    pub interrupted: u64,
    /// Log2 histogram of wait times: element i counts waits of [2^i, 2^(i+1)) microseconds, the last also all longer ones.
    pub wait_us_log2: [u64; 32],
    /// Longest wait.
    pub wait_max_ns: u64,
    /// Sum of all waits.
    pub wait_ns_total: u64,
}

/// The counts of one database and its oldest transaction: what is cheap enough to be looked at every second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The database file.
    pub file: FileId,
    /// The `-shm` file while one is known.
    pub wal_index: Option<FileId>,
    /// Counts of this database.
    pub counters: Counters,
    /// How many locks are held.
    pub holders: u64,
    /// How many requests wait.
    pub waiters: u64,
    /// The lock that has been held for longest by a transaction that runs now.
    pub oldest: Option<HolderView>,
}

/// One database: the main file and, in WAL mode, its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseView {
    /// The database file.
    pub file: FileId,
    /// The `-shm` file while one is known.
    pub wal_index: Option<FileId>,
    /// Whether a connection is attached to the WAL index now.
    pub wal: bool,
    /// `turn`, `serial` or `posix`.
    pub policy: super::Policy,
    /// Every lock held now, one element per (domain, role).
    pub holders: Vec<HolderView>,
    /// The requests that wait now, in the order of the queue, and not more than were asked for.
    pub waiters: Vec<WaiterView>,
    /// How many wait.
    pub waiters_total: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait_ns: u64,
    /// Counts of this database.
    pub counters: Counters,
}

/// A lock that a domain holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// SQLite's name: SHARED, RESERVED, PENDING, EXCLUSIVE, WRITE, CKPT, RECOVER, READ0..READ4, DMS; or READ / WRITE bytes
    /// on other files.
    pub role: &'static str,
    /// The kernel's lock owner.
    pub owner: LockOwner,
    /// The process, 0 if the kernel did not say.
    pub pid: Pid,
    /// The thread that took it.
    pub tid: Tid,
    /// Nanoseconds since it was taken.
    pub age_ns: u64,
    /// Whether this domain has the turn.
    pub turn: bool,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// What it asked for: TURN (a read start), or the role of the lock.
    pub role: &'static str,
    /// The kernel's lock owner.
    pub owner: LockOwner,
    /// The process.
    pub pid: Pid,
    /// The thread that waits.
    pub tid: Tid,
    /// Nanoseconds since it came.
    pub age_ns: u64,
    /// Nanoseconds until its deadline.
    pub left_ns: u64,
    /// The processes that it waits for.
    pub blocked_by: Vec<Pid>,
}

impl Counters {
    pub(super) fn count_wait(&mut self, waited_ns: u64) {
        let slot = (waited_ns / 1_000).max(1).ilog2() as usize;
        self.wait_us_log2[slot.min(self.wait_us_log2.len() - 1)] += 1;
        self.wait_max_ns = self.wait_max_ns.max(waited_ns);
        self.wait_ns_total = self.wait_ns_total.saturating_add(waited_ns);
    }

    /// Adds the counts of another stretch of time.
    pub fn add(&mut self, other: &Self) {
        let Self {
            granted,
            waited,
            refused_conflict,
            refused_deadline,
            refused_deadlock,
            refused_upgrade,
            refused_limit,
            interrupted,
            wait_us_log2,
            wait_max_ns,
            wait_ns_total,
        } = other;
        let sums = [
            (&mut self.granted, granted),
            (&mut self.waited, waited),
            (&mut self.refused_conflict, refused_conflict),
            (&mut self.refused_deadline, refused_deadline),
            (&mut self.refused_deadlock, refused_deadlock),
            (&mut self.refused_upgrade, refused_upgrade),
            (&mut self.refused_limit, refused_limit),
            (&mut self.interrupted, interrupted),
            (&mut self.wait_ns_total, wait_ns_total),
        ];
        // Counts may come from a file.
        sums.into_iter().chain(self.wait_us_log2.iter_mut().zip(wait_us_log2)).for_each(|(sum, more)| {
            *sum = sum.saturating_add(*more);
        });
        self.wait_max_ns = self.wait_max_ns.max(*wait_max_ns);
    }

    pub(super) fn count_denial(&mut self, why: super::Denial) {
        use super::Denial;
        let counter = match why {
            Denial::Conflict => &mut self.refused_conflict,
            Denial::Upgrade => &mut self.refused_upgrade,
            Denial::Deadline => &mut self.refused_deadline,
            Denial::Deadlock { .. } => &mut self.refused_deadlock,
            Denial::Cancelled { .. } => &mut self.interrupted,
            Denial::Limit => &mut self.refused_limit,
        };
        *counter += 1;
    }
}
