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
    /// Inode number that the mount shows.
    pub ino: u64,
    /// Process id on the host.
    pub pid: u32,
    /// Its name as the kernel has it (15 bytes at most), not escaped.
    pub comm: String,
    /// Its cgroup, 0 if it is not known.
    pub cgroup: u64,
    /// As in [`crate::model::Holder::role`].
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
}
