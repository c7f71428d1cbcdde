//! What the metrics are made of. Filled by [`crate::daemon`]; all counts only grow while one worker lives.

use std::collections::BTreeMap;

use crate::model::{Counters, Histogram, ScheduleStatus};

/// Everything that is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The daemon's version.
    pub version: String,
    /// Since the mount became live.
    pub uptime_s: u64,
    /// Workers that were replaced.
    pub restarts: u64,
    /// Requests by FUSE operation.
    pub requests: BTreeMap<String, u64>,
    /// Inodes that the kernel remembers.
    pub inodes: u64,
    /// Open file handles.
    pub handles: u64,
    /// The most that can be open.
    pub handles_max: u64,
    /// Whether the tracer runs, and the events that it lost.
    pub tracer_lost: Option<u64>,
    /// Whether the history's minutes are kept.
    pub is_history_kept: bool,
    /// Backups that are made again and again; none if it is not known which.
    pub schedules: Option<Vec<ScheduleStatus>>,
    /// Every database.
    pub databases: Vec<DatabaseFigures>,
}

/// One database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseFigures {
    /// Its inode number.
    pub inode: u64,
    /// Its path, the label.
    pub path: String,
    /// The lock manager's counts.
    pub counters: Counters,
    /// Locks that are held now.
    pub holders: u64,
    /// Lock calls that wait now.
    pub waiters: u64,
    /// Size of the -wal file.
    pub wal_bytes: u64,
    /// What the tracer counted, by role.
    pub roles: BTreeMap<String, RoleFigures>,
}

/// One lock of a database, as the kernel saw its calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleFigures {
    /// From the start of each call to its end.
    pub waits: Histogram,
    /// Their sum.
    pub wait_ns_total: u64,
    /// From each grant to its end.
    pub holds: Histogram,
    /// Their sum.
    pub held_ns_total: u64,
}

impl RoleFigures {
    /// Adds what was counted since `before`.
    pub(super) fn add_since(&mut self, now: &Self, before: Option<&Self>) {
        self.waits.add_since(&now.waits, before.map(|before| &before.waits));
        self.holds.add_since(&now.holds, before.map(|before| &before.holds));
        self.wait_ns_total += now.wait_ns_total.saturating_sub(before.map_or(0, |before| before.wait_ns_total));
        self.held_ns_total += now.held_ns_total.saturating_sub(before.map_or(0, |before| before.held_ns_total));
    }
}
