//! Backups that come again and again, as `status` shows them, and as they are asked for.
//!
//! Filled by [`crate::daemon`], drawn by [`crate::render`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is to be done again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSchedule {
    /// Paths below the mount point; all databases if empty.
    pub databases: Vec<PathBuf>,
    /// The directory of the backups.
    pub to: PathBuf,
    /// From the start of one run to the start of the next.
    pub every_s: u64,
    /// Further options of `hoodydb backup`, word by word.
    pub options: Vec<String>,
}

/// A schedule of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Its number; never given to another one.
    pub id: u64,
    /// Paths below the mount point; all databases if empty.
    pub databases: Vec<String>,
    /// The directory of the backups.
    pub to: String,
    /// From the start of one run to the start of the next.
    pub every_s: u64,
    /// Further options of `hoodydb backup`.
    pub options: Vec<String>,
    /// Whether it runs now.
    pub running: bool,
    /// Until the next run; 0 while it runs or is due.
    pub next_in_s: u64,
    /// The last run that has ended; null if there is none.
    pub last: Option<ScheduleRun>,
    /// Runs that have ended.
    pub runs_total: u64,
    /// Those of them that failed.
    pub failures_total: u64,
    /// Failures since the last success.
    pub failures_in_a_row: u64,
}

/// A run of a schedule that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRun {
    /// Whether every backup is there.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// Its start, in seconds since 1970.
    pub started_s: u64,
    /// Seconds since its start.
    pub age_s: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Backups that were made.
    pub backups: u64,
    /// What they take on the disk.
    pub file_bytes: u64,
}
