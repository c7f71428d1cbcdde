//! The minutes of `hoodydb history`: what each database counted in each of them.
//!
//! [`Collector`] makes minutes of looks, in the daemon; [`row`] makes what is shown of a minute. Neither has a clock: the time of
//! day and the length of a minute are handed in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counters::{percentile_us, since};
use super::{Container, Counters, ProcessName, RefusalCounts};

/// Databases of one minute that are kept by name; the others are added up.
pub const DATABASES_MAX: usize = 100;

/// The name of the others.
pub const OTHERS: &str = "(other)";

/// Answer of `hoodydb history --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One element per live mount, in the order of their paths.
    pub mounts: Vec<MountHistory>,
}

/// The minutes of one mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountHistory {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The daemon.
    pub pid: u32,
    /// The time now, in seconds since 1970.
    pub now_unix_s: u64,
    /// Why minutes are missing, or are not kept; null where all is well.
    pub missing: Option<String>,
    /// The oldest first; minutes in which nothing happened are left out.
    pub minutes: Vec<HistoryRow>,
}

/// One database in one minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// When the minute began, in seconds since 1970.
    pub minute_unix_s: u64,
    /// The database below the mount point; `(other)` for those beyond the 100 busiest.
    pub path: String,
    /// Lock calls that were granted.
    pub acquisitions: u64,
    /// Lock calls that waited.
    pub waits: u64,
    /// Half of the waits that ended in this minute were not longer.
    pub wait_p50_us: u64,
    /// 99 of 100 were not longer.
    pub wait_p99_us: u64,
    /// The longest one.
    pub wait_max_us: u64,
    /// Lock calls that were refused.
    pub refusals: RefusalCounts,
    /// Waits that a signal ended.
    pub interrupted: u64,
    /// The longest transaction that was seen.
    pub longest_holder: Option<LongestHold>,
}

/// A transaction that was seen to hold a lock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LongestHold {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessName,
    /// Its container.
    pub container: Option<Container>,
    /// The lock.
    pub role: String,
    /// For at least so long: it was looked at once a second.
    pub held_ms: u64,
}

/// What one database counted in one minute, as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    /// When it began, in seconds since 1970.
    pub minute_unix_s: u64,
    /// The database.
    pub path: String,
    /// What was counted.
    pub counters: Counters,
    /// The longest transaction.
    pub longest: Option<LongestHold>,
}

/// One database in one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Its inode number.
    pub inode: u64,
    /// Its path.
    pub path: String,
    /// Counts so far.
    pub counters: Counters,
    /// The oldest transaction now.
    pub oldest: Option<LongestHold>,
}

impl Minute {
    /// Adds another part of the same minute.
    pub fn add(&mut self, counters: &Counters, longest: Option<LongestHold>) {
        self.counters.add(counters);
        let held_ms = |hold: &Option<LongestHold>| hold.as_ref().map_or(0, |hold| hold.held_ms);
        if longest.is_some() && held_ms(&longest) >= held_ms(&self.longest) {
            self.longest = longest;
        }
    }

    fn is_empty(&self) -> bool {
        self.counters == Counters::default() && self.longest.is_none()
    }
}

/// What is shown of a minute.
pub fn row(minute: &Minute) -> HistoryRow {
    let counters = &minute.counters;
    let longest_us = counters.wait_max_ns.div_ceil(1000);
    let percentile = |percent| percentile_us(&counters.wait_us_log2, percent).min(longest_us);
    HistoryRow {
        minute_unix_s: minute.minute_unix_s,
        path: minute.path.clone(),
        acquisitions: counters.granted,
        waits: counters.waited,
        wait_p50_us: percentile(50),
        wait_p99_us: percentile(99),
        wait_max_us: longest_us,
        refusals: RefusalCounts::from(counters),
        interrupted: counters.interrupted,
        longest_holder: minute.longest.clone(),
    }
}

/// Makes minutes of looks.
#[derive(Debug)]
pub struct Collector {
    minute_s: u64,
    /// The counts of the last look; none before the first one of a worker that took another's place: what was counted before it
    /// belongs to minutes of before.
    last: Option<BTreeMap<u64, Counters>>,
    began_unix_s: u64,
    running: BTreeMap<String, Minute>,
}

impl Collector {
    /// A collector of minutes of `minute_s` seconds. `from_zero`: nothing was counted before it, so all counts are new.
    pub fn new(minute_s: u64, from_zero: bool) -> Self {
        let last = from_zero.then(BTreeMap::new);
        Self { minute_s: minute_s.max(1), last, began_unix_s: 0, running: BTreeMap::new() }
    }

    /// Takes a look, and gives the minute that ended with it, if one did. A clock that goes back ends none.
    pub fn look(&mut self, now_unix_s: u64, seen: Vec<Seen>) -> Vec<Minute> {
        let minute = now_unix_s - now_unix_s % self.minute_s;
        let ended = if minute > self.began_unix_s { self.running() } else { Vec::new() };
        if minute > self.began_unix_s {
            self.running.clear();
            self.began_unix_s = minute;
        }
        let mut counts = BTreeMap::new();
        for Seen { inode, path, counters, oldest } in seen {
            let new = match &self.last {
                Some(last) => since(&counters, last.get(&inode).unwrap_or(&Counters::default())),
                None => Counters::default(),
            };
            let started = || Minute { minute_unix_s: self.began_unix_s, path: path.clone(), ..Minute::default() };
            // A look that is cheap for idle databases: they leave nothing behind.
            if new != Counters::default() || oldest.is_some() {
                self.running.entry(path.clone()).or_insert_with(started).add(&new, oldest);
            }
            counts.insert(inode, counters);
        }
        self.last = Some(counts);
        ended
    }

    /// The minute that runs, as far as it is.
    pub fn running(&self) -> Vec<Minute> {
        let mut minutes: Vec<Minute> = self.running.values().filter(|minute| !minute.is_empty()).cloned().collect();
        if minutes.len() > DATABASES_MAX {
            let busy = |minute: &Minute| (minute.counters.waited, minute.counters.granted);
            minutes.sort_by_key(|minute| std::cmp::Reverse(busy(minute)));
            let rest = minutes.split_off(DATABASES_MAX - 1);
            let mut others = Minute { minute_unix_s: self.began_unix_s, path: OTHERS.to_owned(), ..Minute::default() };
            rest.into_iter().for_each(|minute| others.add(&minute.counters, minute.longest));
            minutes.push(others);
        }
        minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(inode: u64, granted: u64, held_ms: Option<u64>) -> Seen {
        let oldest = held_ms.map(|held_ms| LongestHold { held_ms, role: "WRITE".to_owned(), ..LongestHold::default() });
        let counters = Counters { granted, ..Counters::default() };
        Seen { inode, path: format!("{inode}.db"), counters, oldest }
    }

    fn granted(minutes: &[Minute]) -> Vec<(u64, &str, u64)> {
        minutes.iter().map(|minute| (minute.minute_unix_s, minute.path.as_str(), minute.counters.granted)).collect()
    }

    #[test]
    fn a_minute_is_what_was_counted_in_it() {
        let mut collector = Collector::new(60, true);
        assert_eq!(collector.look(600, vec![seen(1, 5, None)]), []);
        assert_eq!(collector.look(659, vec![seen(1, 9, None), seen(2, 1, None)]), []);
        assert_eq!(granted(&collector.running()), [(600, "1.db", 9), (600, "2.db", 1)]);
        let ended = collector.look(660, vec![seen(1, 10, None), seen(2, 1, None)]);
        assert_eq!(granted(&ended), [(600, "1.db", 9), (600, "2.db", 1)]);
        assert_eq!(granted(&collector.running()), [(660, "1.db", 1)], "the other one was idle");
    }

    #[test]
    fn a_successor_counts_from_its_first_look() {
        let mut collector = Collector::new(60, false);
        collector.look(600, vec![seen(1, 500, None)]);
        collector.look(601, vec![seen(1, 503, None), seen(2, 4, None)]);
        assert_eq!(granted(&collector.running()), [(600, "1.db", 3), (600, "2.db", 4)]);
        collector.look(602, vec![seen(1, 2, None)]);
        assert_eq!(collector.running()[0].counters.granted, 5, "it began anew");
    }

    #[test]
    fn a_clock_that_goes_back_ends_no_minute() {
        let mut collector = Collector::new(60, true);
        collector.look(600, vec![seen(1, 1, None)]);
        assert_eq!(collector.look(10, vec![seen(1, 2, None)]), []);
        assert_eq!(granted(&collector.look(660, vec![])), [(600, "1.db", 2)]);
    }

    #[test]
    fn the_longest_holder_stays() {
        let mut collector = Collector::new(60, true);
        for held in [Some(10), Some(900), Some(20), None] {
            collector.look(600, vec![seen(1, 0, held)]);
        }
        assert_eq!(row(&collector.running()[0]).longest_holder.map(|hold| hold.held_ms), Some(900));
    }

    #[test]
    fn the_busiest_keep_their_names() {
        let mut collector = Collector::new(60, true);
        collector.look(600, (1..=150).map(|inode| seen(inode, inode, None)).collect());
        let minutes = collector.running();
        assert_eq!(minutes.len(), DATABASES_MAX);
        assert_eq!(granted(&minutes)[0], (600, "150.db", 150));
        assert_eq!(granted(&minutes)[99], (600, OTHERS, (1..=51).sum()));
    }

    #[test]
    fn parts_of_a_minute_add_up_also_in_percentiles() {
        let mut wait_us_log2 = [0; 32];
        wait_us_log2[3] = 98;
        let short = Counters { waited: 98, wait_us_log2, wait_max_ns: 9_000, ..Counters::default() };
        let mut wait_us_log2 = [0; 32];
        wait_us_log2[10] = 2;
        let long = Counters { waited: 2, wait_us_log2, wait_max_ns: 1_500_000, ..Counters::default() };
        let mut minute = Minute { counters: short, ..Minute::default() };
        minute.add(&long, None);
        let row = row(&minute);
        assert_eq!((row.waits, row.wait_p50_us, row.wait_p99_us, row.wait_max_us), (100, 16, 1_500, 1_500));
    }
}
