//! One look at a mount: everything that `top`, `history` and the metrics are made of, as it is counted, without rates.
//!
//! Filled by [`crate::daemon`] and sent by [`crate::control`]; two of them make a [`MountTop`](super::MountTop).

use serde::{Deserialize, Serialize};

use super::{Holder, Sample, Waiter};
pub use crate::manager::view::Counters;

/// What one look at a mount saw. All counts only ever grow while one worker lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The daemon: the keeper.
    pub pid: u32,
    /// The process that counts; another one may begin anew with what was closed before.
    pub worker_pid: u32,
    /// `serving`, `draining` or `detached`.
    pub phase: String,
    /// When: CLOCK_MONOTONIC, in ns.
    pub taken_ns: u64,
    /// Every database that is open, or was and still is known.
    pub databases: Vec<DatabaseObservation>,
    /// What the kernel's tracer counted.
    pub tracer: Option<Sample>,
    /// Why there is no tracer, and how to get it.
    pub tracer_missing: Option<String>,
}

/// One database in a look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseObservation {
    /// Its path below the mount point, the last one known with ` (deleted)` where it has none any more.
    pub path: String,
    /// Inode numbers of the database file and of its WAL index, as the mount shows them.
    pub inodes: Vec<u64>,
    /// As in [`super::DatabaseStatus`].
    pub journal_mode: String,
    /// As in [`super::DatabaseStatus`].
    pub policy: String,
    /// Counts so far.
    pub counters: Counters,
    /// Who holds what: transactions first, the oldest before the others, and not all of very many.
    pub holders: Vec<Holder>,
    /// How many locks are held.
    pub holders_total: u64,
    /// Who waits, the next one first, and not all of very many.
    pub waiters: Vec<Waiter>,
    /// How many lock calls wait.
    pub waiters_total: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait_ms: u64,
    /// Size of the -wal file; null where there is none.
    pub wal_bytes: Option<u64>,
}
