//! What the screen of `top` remembers from look to look: rates, a trail of waits, recent events.
//!
//! Called by [`crate::cli`] with each look, drawn by [`crate::render`]. What is gone from the looks is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Happened, MountTop, Observation, Top, events, top};

/// Looks whose waits are remembered.
pub const TRAIL_MAX: usize = 60;

/// Events remembered of one database.
pub const EVENTS_MAX: usize = 50;

/// Mount point and inode.
type Key = (String, u64);

/// The looks so far.
#[derive(Debug, Default)]
pub struct Watch {
    last: Vec<Observation>,
    top: Top,
    trails: BTreeMap<Key, VecDeque<u64>>,
    events: BTreeMap<Key, VecDeque<Happened>>,
    now_ns: u64,
}

impl Watch {
    /// Takes a look at each mount.
    pub fn take(&mut self, looks: Vec<Observation>) {
        let mut mounts: Vec<MountTop> = Vec::new();
        for look in &looks {
            let previous = self.last.iter().find(|last| last.mountpoint == look.mountpoint);
            let elapsed_ns = previous.map_or(0, |previous| look.taken_ns.saturating_sub(previous.taken_ns));
            let mount = top(previous, look, Duration::from_nanos(elapsed_ns));
            if let Some(previous) = previous {
                self.remember(previous.clone(), look, &mount);
            }
            self.now_ns = self.now_ns.max(look.taken_ns);
            mounts.push(mount);
        }
        mounts.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
        let known = |(mountpoint, inode): &Key| {
            let look = looks.iter().find(|look| look.mountpoint == *mountpoint);
            look.is_some_and(|look| look.databases.iter().any(|one| one.inodes.first() == Some(inode)))
        };
        self.trails.retain(|key, _| known(key));
        self.events.retain(|key, _| known(key));
        self.top = Top { mounts };
        self.last = looks;
    }

    fn remember(&mut self, previous: Observation, look: &Observation, mount: &MountTop) {
        for database in &mount.databases {
            let trail = self.trails.entry((mount.mountpoint.clone(), database.inode)).or_default();
            trail.push_back((database.waits_per_s.ceil() as u64).max(database.waiters_total));
            if trail.len() > TRAIL_MAX {
                trail.pop_front();
            }
        }
        for happened in events(&previous, look) {
            let events = self.events.entry((mount.mountpoint.clone(), happened.inode)).or_default();
            events.push_front(happened);
            events.truncate(EVENTS_MAX);
        }
    }

    /// The rates of the last two looks.
    pub fn top(&self) -> &Top {
        &self.top
    }

    /// Waits per second of a database, look by look, the last one at the end.
    pub fn trail(&self, mountpoint: &str, inode: u64) -> Vec<u64> {
        let trail = self.trails.get(&(mountpoint.to_owned(), inode));
        trail.map(|trail| trail.iter().copied().collect()).unwrap_or_default()
    }

    /// What happened at a database lately and how many seconds ago, the latest first.
    pub fn events(&self, mountpoint: &str, inode: u64) -> Vec<(u64, &str)> {
        let events = self.events.get(&(mountpoint.to_owned(), inode)).into_iter().flatten();
        let age_s = |happened: &Happened| self.now_ns.saturating_sub(happened.seen_ns) / 1_000_000_000;
        events.map(|happened| (age_s(happened), happened.what.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counters, DatabaseObservation};

    fn look(second: u64, waited: u64) -> Observation {
        let database = DatabaseObservation {
            path: "a.db".to_owned(),
            inodes: vec![7],
            holders_total: 1,
            counters: Counters { granted: waited, waited, refused_deadline: waited / 100, ..Counters::default() },
            ..DatabaseObservation::default()
        };
        let taken_ns = second * 1_000_000_000;
        Observation { mountpoint: "/m".to_owned(), taken_ns, databases: vec![database], ..Observation::default() }
    }

    #[test]
    fn looks_leave_a_trail_and_events() {
        let mut watch = Watch::default();
        for (second, waited) in [(1, 0), (2, 10), (4, 110), (5, 110)] {
            watch.take(vec![look(second, waited)]);
        }
        assert_eq!(watch.trail("/m", 7), [10, 50, 0]);
        assert_eq!(watch.events("/m", 7), [(1, "refused 1: the wait ran out (deadline)")]);
        assert_eq!((watch.top().mounts[0].interval_ms, watch.trail("/other", 7).len()), (1_000, 0));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_stays_is_bounded() {
        let mut watch = Watch::default();
        (0..200).for_each(|second| watch.take(vec![look(second, second * 100)]));
        assert_eq!((watch.trail("/m", 7).len(), watch.events("/m", 7).len()), (TRAIL_MAX, EVENTS_MAX));
        watch.take(vec![]);
        assert_eq!((watch.trail("/m", 7).len(), watch.events("/m", 7).len()), (0, 0));
        assert!(watch.top().mounts.is_empty());
    }
}
