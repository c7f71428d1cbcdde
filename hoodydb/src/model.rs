//! What `status` and `locks` show: the stable JSON schema, and the only place where counts become percentiles.
//!
//! Filled by [`crate::daemon`], drawn by [`crate::render`], sent by [`crate::control`]. It has no clock and does no I/O.
//!
//! # Schema
//! Fields are only ever added. Every name ends in its unit (`_ms`, `_us`, `_s`) where it has one. Paths of databases are
//! relative to their mount point. Names that are not UTF-8 have the bytes that are not written as `\xNN`.

mod care;
mod container;
mod counters;
mod engines;
mod events;
pub mod history;
mod observation;
mod sample;
mod schedule;
mod text;
mod top;
mod wait_tree;
mod watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use care::{
    Backup, BackupAnswer, CheckAnswer, Checked, DatabaseFacts, DatabaseList, FailedDatabase, Finding, Manifest,
    MountDatabases, RestoreAnswer, VacuumAnswer, Vacuumed,
};
pub use container::Container;
pub use counters::{Counts, RefusalCounts, since as counted_since};
pub use engines::{ContainerStatus, Containers, EngineStatus};
pub use events::{Happened, events};
pub use observation::{Counters, DatabaseObservation, Observation};
pub use sample::{BUCKETS, Histogram, LockEvent, LockEvents, Sample, SampleRow, Traced};
pub use schedule::{NewSchedule, ScheduleRun, ScheduleStatus};
pub use text::{printable, text_of};
pub use top::{DatabaseTop, MountTop, Pinned, Refusals, Top, top};
pub use wait_tree::{LINES_MAX, WaitLine, wait_tree};
pub use watch::Watch;

/// Answer of `hoodydb status --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// One element per live mount, in the order of their paths.
    pub mounts: Vec<MountStatus>,
}

/// One live mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountStatus {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The directory that holds the files.
    pub backing: String,
    /// The daemon: the same as `keeper_pid`.
    pub pid: u32,
    /// The process that holds the mount.
    #[serde(default)]
    pub keeper_pid: u32,
    /// The process that answers; another one takes its place when it dies.
    #[serde(default)]
    pub worker_pid: u32,
    /// Workers that were replaced so far.
    #[serde(default)]
    pub restarts: u64,
    /// The last replacement; null while there was none.
    #[serde(default)]
    pub last_restart: Option<Restart>,
    /// The daemon's version.
    pub version: String,
    /// `serving`, `draining` (an unmount waits for running transactions) or `detached` (only files opened earlier).
    pub phase: String,
    /// `unix` or `shared`.
    pub access: String,
    /// `turn`, `serial` or `posix`: the policy of databases that have none of their own.
    pub policy: String,
    /// Longest wait of a call that its client did not ask to wait.
    pub max_wait_ms: u64,
    /// Whether reads and writes go straight to the backing file in the kernel.
    pub passthrough: bool,
    /// Why not, where `passthrough` is false.
    pub passthrough_missing: Option<String>,
    /// Whether idle processors are kept from deep sleep while many requests come.
    #[serde(default)]
    pub quick_wake: bool,
    /// Why not, where `quick_wake` is false.
    #[serde(default)]
    pub quick_wake_missing: Option<String>,
    /// Since the mount became live.
    pub uptime_s: u64,
    /// Requests answered so far, by FUSE operation.
    pub requests: BTreeMap<String, u64>,
    /// Their sum.
    pub requests_total: u64,
    /// Inodes that the kernel remembers.
    pub inodes: u64,
    /// Open file handles.
    pub handles: u64,
    /// Descriptors that the daemon holds for them.
    pub descriptors: u64,
    /// The most that the kernel lets it hold.
    pub descriptors_max: u64,
    /// The most open file handles; one more `open` fails with ENFILE.
    pub handles_max: u64,
    /// Lock records of all files now.
    pub records: u64,
    /// Lock calls that wait now.
    pub waiters: u64,
    /// Databases that are open or locked now.
    pub databases: Vec<DatabaseStatus>,
    /// Counts over all databases since the start.
    pub totals: Counts,
    /// Where the metrics are; null without `--metrics`.
    #[serde(default)]
    pub metrics: Option<String>,
    /// Why `history` does not keep its minutes; null where it does.
    #[serde(default)]
    pub history_missing: Option<String>,
    /// Databases that are refused with EBUSY, because a process still has them open through a dead mount.
    pub refused_databases: Vec<RefusedDatabase>,
    /// Databases that a process sees through a bind mount of the single file, without their side files.
    pub single_file_binds: Vec<SingleFileBind>,
    /// Backups that are made again and again.
    #[serde(default)]
    pub schedules: Vec<ScheduleStatus>,
    /// Why the schedules are not known; null if they are.
    #[serde(default)]
    pub schedules_error: Option<String>,
    /// Whether lock calls are traced in the kernel: `on`, `limited`, `off`, or `starting` for less than a second.
    #[serde(default)]
    pub tracer: String,
    /// What is missing, and how to get it; null where nothing is.
    #[serde(default)]
    pub tracer_missing: Option<String>,
}

/// The replacement of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Why: how the worker before ended, or what it was replaced for.
    pub reason: String,
    /// From the end of the one to the first answer of the other.
    pub stall_us: u64,
}

/// One database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Its path below the mount point; `(deleted)` where it has none any more.
    pub path: String,
    /// `wal`, `rollback`, `empty` or `unknown` (an encrypted database shows no header).
    pub journal_mode: String,
    /// `turn`, `serial` or `posix`.
    pub policy: String,
    /// Locks that are held now.
    pub holders: u64,
    /// Lock calls that wait now.
    pub waiters: u64,
    /// Containers and systemd units of who holds or waits now, each once.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// Counts of this database.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A database that is refused with EBUSY.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusedDatabase {
    /// Its path below the mount point.
    pub path: String,
    /// Who has it open through the dead mount.
    pub users: Vec<ProcessName>,
}

/// A process by id and command.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessName {
    /// Process id on the host.
    pub pid: u32,
    /// Its command line, or its name where that cannot be read.
    pub command: String,
}

/// A bind mount of one database file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SingleFileBind {
    /// The database, below the mount point.
    pub path: String,
    /// A process that sees it so.
    pub process: ProcessName,
    /// Where that process sees it.
    pub seen_at: String,
}

/// Answer of `hoodydb locks --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Locks {
    /// One element per live mount, in the order of their paths.
    pub mounts: Vec<MountLocks>,
}

/// The locks of one mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountLocks {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The daemon.
    pub pid: u32,
    /// Databases with a holder or a waiter.
    pub databases: Vec<DatabaseLocks>,
    /// As in `status`.
    pub single_file_binds: Vec<SingleFileBind>,
}

/// The locks of one database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseLocks {
    /// Its path below the mount point.
    pub path: String,
    /// As in `status`.
    pub journal_mode: String,
    /// `turn`, `serial` or `posix`.
    pub policy: String,
    /// Who holds what.
    pub holders: Vec<Holder>,
    /// Who waits for what, the next one first.
    pub waiters: Vec<Waiter>,
}

/// A lock that is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// SHARED, RESERVED, PENDING, EXCLUSIVE, WRITE, CKPT, RECOVER, READ0..READ4 or DMS.
    pub role: String,
    /// Who.
    #[serde(flatten)]
    pub process: ProcessName,
    /// The thread that took it.
    pub tid: u32,
    /// Since when.
    pub age_ms: u64,
    /// Whether it has the turn to write.
    pub turn: bool,
    /// `stopped` (SIGSTOP, a debugger) or `frozen` (a paused container); null while it can run.
    pub halted: Option<String>,
    /// Its container or systemd unit; null for a plain process.
    #[serde(default)]
    pub container: Option<Container>,
}

impl Holder {
    /// Whether it holds this lock for a transaction or a checkpoint, rather than for as long as it is connected.
    pub fn is_transaction(&self, journal_mode: &str) -> bool {
        match self.role.as_str() {
            "DMS" => false,
            "SHARED" => journal_mode != "wal",
            _ => true,
        }
    }

    /// Whether others cannot write meanwhile.
    pub fn is_writer(&self) -> bool {
        matches!(self.role.as_str(), "WRITE" | "RESERVED" | "PENDING" | "EXCLUSIVE" | "RECOVER")
    }
}

/// A lock call that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiter {
    /// TURN (a read start), or the role of the lock that is wanted.
    pub role: String,
    /// Who.
    #[serde(flatten)]
    pub process: ProcessName,
    /// The thread that waits.
    pub tid: u32,
    /// Since when.
    pub age_ms: u64,
    /// Until it is refused.
    pub left_ms: u64,
    /// The processes that it waits for.
    pub blocked_by: Vec<u32>,
    /// As in [`Holder`].
    pub halted: Option<String>,
    /// As in [`Holder`].
    #[serde(default)]
    pub container: Option<Container>,
}

/// Answer of `hoodydb policy get --json` and `hoodydb policy set --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The database, below the mount point.
    pub path: String,
    /// `turn`, `serial` or `posix`.
    pub mode: String,
    /// Whether the database has a policy of its own; else it follows the mount's.
    pub own: bool,
}

/// Answer to an unmount request, and its progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnmountAnswer {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The daemon.
    pub pid: u32,
    /// `serving`, `draining` or `detached`.
    pub phase: String,
    /// Who has files open, a line per file.
    pub users: Vec<OpenFile>,
    /// Processes whose transactions still run.
    pub running: Vec<ProcessName>,
    /// Whether they have run for longer than the daemon's `--drain`.
    #[serde(default)]
    pub overdue: bool,
}

/// A file that a process has open.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenFile {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessName,
    /// The file as the kernel names it for that process.
    pub path: String,
}
