//! From the manager's counts to what `status` shows: refusals by cause, and percentiles of the waits.
//!
//! Called by [`crate::daemon`]; the histogram is log2, so a percentile is the upper end of its bucket: never too small, and at
//! most twice too large.

use serde::{Deserialize, Serialize};

use crate::manager::view::Counters;

/// Counts since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Lock calls that were granted, unlocks left out.
    pub granted: u64,
    /// Lock calls that waited before their answer.
    pub waited: u64,
    /// Half of the waits were not longer.
    pub wait_p50_us: u64,
    /// 99 of 100 waits were not longer.
    pub wait_p99_us: u64,
    /// The longest wait.
    pub wait_max_us: u64,
    /// Lock calls that were refused, by cause.
    pub refusals: RefusalCounts,
    /// Waits that ended because the waiter had a signal to take.
    pub interrupted: u64,
}

/// Refused lock calls by cause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusalCounts {
    /// SQLite's rules say that this conflict is not waited for.
    pub conflict: u64,
    /// The wait budget ran out.
    pub deadline: u64,
    /// Waiting would have closed a cycle.
    pub deadlock: u64,
    /// A reader wanted to write while another writes.
    pub upgrade: u64,
    /// A limit on records or waiters was reached.
    pub limit: u64,
}

impl RefusalCounts {
    /// All refusals.
    pub fn total(&self) -> u64 {
        self.conflict + self.deadline + self.deadlock + self.upgrade + self.limit
    }
}

impl From<&Counters> for RefusalCounts {
    fn from(counters: &Counters) -> Self {
        Self {
            conflict: counters.refused_conflict,
            deadline: counters.refused_deadline,
            deadlock: counters.refused_deadlock,
            upgrade: counters.refused_upgrade,
            limit: counters.refused_limit,
        }
    }
}

impl From<&Counters> for Counts {
    fn from(counters: &Counters) -> Self {
        let longest_us = counters.wait_max_ns.div_ceil(1000);
        let percentile = |percent| percentile_us(&counters.wait_us_log2, percent).min(longest_us);
        Self {
            granted: counters.granted,
            waited: counters.waited,
            wait_p50_us: percentile(50),
            wait_p99_us: percentile(99),
            wait_max_us: longest_us,
            refusals: RefusalCounts::from(counters),
            interrupted: counters.interrupted,
        }
    }
}

/// What was counted from one look to the next. Counts that went down began anew.
///
/// The longest wait of the time between is exact where it is the longest ever, else the upper end of its bucket.
pub fn since(now: &Counters, before: &Counters) -> Counters {
    if now.granted < before.granted || now.waited < before.waited {
        return now.clone();
    }
    let mut wait_us_log2 = now.wait_us_log2;
    wait_us_log2.iter_mut().zip(before.wait_us_log2).for_each(|(now, before)| *now = now.saturating_sub(before));
    let wait_max_ns = match wait_us_log2.iter().rposition(|count| *count > 0) {
        None => 0,
        Some(_) if now.wait_max_ns > before.wait_max_ns => now.wait_max_ns,
        Some(bucket) => (1_000_u64 << (bucket + 1)).min(now.wait_max_ns),
    };
    let more = |of: fn(&Counters) -> u64| of(now).saturating_sub(of(before));
    Counters {
        granted: more(|counters| counters.granted),
        waited: more(|counters| counters.waited),
        refused_conflict: more(|counters| counters.refused_conflict),
        refused_deadline: more(|counters| counters.refused_deadline),
        refused_deadlock: more(|counters| counters.refused_deadlock),
        refused_upgrade: more(|counters| counters.refused_upgrade),
        refused_limit: more(|counters| counters.refused_limit),
        interrupted: more(|counters| counters.interrupted),
        wait_us_log2,
        wait_max_ns,
        wait_ns_total: more(|counters| counters.wait_ns_total),
    }
}

/// The upper end of the bucket in which the given percentile lies; 0 where nothing was counted.
pub(super) fn percentile_us(buckets: &[u64; 32], percent: u64) -> u64 {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return 0;
    }
    let rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
    let mut seen = 0_u128;
    for (exponent, count) in buckets.iter().enumerate() {
        seen += u128::from(*count);
        if seen >= rank {
            return 1 << (exponent + 1);
        }
    }
    1 << buckets.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(entries: &[(usize, u64)]) -> [u64; 32] {
        let mut buckets = [0; 32];
        for (exponent, count) in entries {
            buckets[*exponent] = *count;
        }
        buckets
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(percentile_us(&[0; 32], 99), 0);
    }

    #[test]
    fn a_percentile_is_the_upper_end_of_its_bucket() {
        let buckets = histogram(&[(3, 50), (10, 49), (20, 1)]);
        assert_eq!(percentile_us(&buckets, 50), 16);
        assert_eq!(percentile_us(&buckets, 51), 2048);
        assert_eq!(percentile_us(&buckets, 99), 2048);
        assert_eq!(percentile_us(&buckets, 100), 1 << 21);
    }

    #[test]
    fn one_wait_is_every_percentile() {
        assert_eq!(percentile_us(&histogram(&[(31, 1)]), 50), 1 << 32);
    }

    #[test]
    fn no_percentile_exceeds_the_longest_wait() {
        let counters = Counters { wait_us_log2: histogram(&[(10, 4)]), wait_max_ns: 1_200_500, ..Counters::default() };
        let counts = Counts::from(&counters);
        assert_eq!((counts.wait_p50_us, counts.wait_p99_us, counts.wait_max_us), (1201, 1201, 1201));
    }
}
