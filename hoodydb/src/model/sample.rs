//! Lock calls as the kernel saw them: what the tracer gives and what rates are made of.
//!
//! Filled by the tracer, or from the lock manager's own counts where there is no tracer. All counts only ever grow;
//! [`crate::model`] makes rates from two samples.

use serde::{Deserialize, Serialize};

/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 40;

/// Durations by powers of two.
///
/// # Layout
/// Bucket `i` counts durations of `2^i <= ns < 2^(i + 1)`, bucket 0 also 0 ns, the last one everything above (9 minutes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram(pub Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Histogram {
    /// Adds what was counted from one sample to the next; without a sample before, everything.
    pub fn add_since(&mut self, now: &Self, before: Option<&Self>) {
        let before = before.into_iter().flat_map(|before| before.0.iter().copied()).chain(std::iter::repeat(0));
        for ((sum, now), before) in self.0.iter_mut().zip(&now.0).zip(before) {
            *sum += now.saturating_sub(before);
        }
    }

    /// The upper end of the bucket in which the percentile lies; none where nothing was counted.
    pub fn percentile_ns(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.0.iter().sum();
        let rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
        let mut seen = 0_u128;
        let bucket = self.0.iter().position(|count| {
            seen += u128::from(*count);
            total > 0 && seen >= rank
        })?;
        Some(1 << (bucket + 1).min(63))
    }
}

/// What one process did with one lock role of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRow {
    /// Device that the mount shows.
    pub dev: u64,
    /// Inode number that the mount shows; 0 stands for all files whose rows found no room of their own.
    pub ino: u64,
    /// Process id on the host; 0 stands for all processes that have ended.
    pub pid: u32,
    /// Its name as the kernel has it (15 bytes at most), not escaped.
    pub comm: String,
    /// Its cgroup, 0 if it is not known.
    pub cgroup: u64,
    /// As in [`crate::model::Holder::role`]; OPENING is a read start's lock on PENDING, BYTES are those that mean nothing to
    /// SQLite.
    pub role: String,
    /// Lock calls that ended, whatever their answer; unlocks are not counted.
    pub calls: u64,
    /// Those that were granted.
    pub granted: u64,
    /// Those that were refused with EAGAIN or EACCES.
    pub refused: u64,
    /// Those that a signal ended.
    pub interrupted: u64,
    /// Unlock calls.
    pub unlocks: u64,
    /// Sum of their waits.
    pub wait_ns_total: u64,
    /// The longest one.
    pub wait_ns_max: u64,
    /// From the start of each call to its end.
    pub waits: Histogram,
    /// Sum of the times between a grant and its end.
    pub held_ns_total: u64,
    /// The longest one.
    pub held_ns_max: u64,
    /// From each grant to its unlock, close or exit.
    pub holds: Histogram,
}

/// Everything so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken: CLOCK_MONOTONIC, in ns.
    pub taken_ns: u64,
    /// One row per file, process and role, in no order.
    pub rows: Vec<SampleRow>,
    /// Rows that had to be left out because a table was full.
    pub lost_rows: u64,
    /// Single events that nobody fetched in time.
    pub lost_events: u64,
    /// Lock calls whose start could not be kept: they are counted, and not timed.
    #[serde(default)]
    pub lost_starts: u64,
    /// Grants whose end could not be followed: their hold times are missing.
    #[serde(default)]
    pub lost_holds: u64,
}

/// One lock call that ended, or one lock that a close or an exit ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockEvent {
    /// Its end: CLOCK_MONOTONIC, in ns.
    pub ended_ns: u64,
    /// The file below the mount point, under the name that it was opened by; `(deleted)` where that is not known.
    pub path: String,
    /// Inode number that the mount shows.
    pub ino: u64,
    /// Process id on the host.
    pub pid: u32,
    /// Thread id on the host; 0 with `close`.
    pub tid: u32,
    /// The thread's name as the kernel has it (15 bytes at most), not escaped.
    pub comm: String,
    /// Its cgroup, 0 if it is not known.
    pub cgroup: u64,
    /// As in [`SampleRow`].
    pub role: String,
    /// `read`, `write`, `unlock` or `close` (the lock ended by close(2) or the end of the process).
    pub kind: String,
    /// First byte.
    pub start: u64,
    /// Last byte; 9223372036854775807 is the end of the file, wherever that is.
    pub end: u64,
    /// Whether the caller asked to wait (F_SETLKW).
    pub waits: bool,
    /// Whether the owner is an open file description (F_OFD_SETLK).
    pub of_description: bool,
    /// 0, or a negative errno.
    pub result: i32,
    /// From the start of the call to its end.
    pub wait_ns: u64,
    /// How long the lock that this ended was held; 0 if it ended none.
    pub held_ns: u64,
}

/// Events behind a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockEvents {
    /// The cursor behind them.
    pub cursor: u64,
    /// Events between the cursors that are missing.
    pub lost: u64,
    /// The events, in the order of their ends.
    pub events: Vec<LockEvent>,
}

/// A line of `hoodydb trace --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// When the call ended: microseconds since 1970.
    pub time_us: u64,
    /// The call.
    #[serde(flatten)]
    pub event: LockEvent,
}
