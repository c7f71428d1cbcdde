//! What happened at a database from one look to the next, in words.
//!
//! Called by [`crate::cli`] for the screen of `top`; without a tracer nobody sees single lock calls, so an event is what two
//! looks tell: who began and ended to hold, who waits, what was refused.

use super::{DatabaseObservation, Observation, ProcessName, RefusalCounts};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The database's inode number.
    pub inode: u64,
    /// When it was seen: CLOCK_MONOTONIC, in ns.
    pub seen_ns: u64,
    /// What, on one line; names are not escaped yet.
    pub what: String,
}

/// Events of one database from one look; more say no more.
const EVENTS_MAX: usize = 8;

/// What happened at every database between two looks.
pub fn events(previous: &Observation, current: &Observation) -> Vec<Happened> {
    let mut happened = Vec::new();
    for now in &current.databases {
        let Some(inode) = now.inodes.first().copied() else { continue };
        let Some(was) = previous.databases.iter().find(|was| was.inodes.first() == Some(&inode)) else { continue };
        let lines = of_database(was, now).into_iter().take(EVENTS_MAX);
        happened.extend(lines.map(|what| Happened { inode, seen_ns: current.taken_ns, what }));
    }
    happened
}

fn of_database(was: &DatabaseObservation, now: &DatabaseObservation) -> Vec<String> {
    let mut lines = Vec::new();
    if was.path != now.path {
        lines.push(format!("the name changed: {} is now {}", was.path, now.path));
    }
    let before = RefusalCounts::from(&was.counters);
    let after = RefusalCounts::from(&now.counters);
    let causes = [
        ("the wait ran out (deadline)", after.deadline, before.deadline),
        ("waiting would have closed a cycle (deadlock)", after.deadlock, before.deadlock),
        ("a reader wanted to write (upgrade, inferred)", after.upgrade, before.upgrade),
        ("a conflict that is never waited for", after.conflict, before.conflict),
        ("a limit was reached", after.limit, before.limit),
    ];
    for (cause, after, before) in causes {
        let refused = after.saturating_sub(before);
        if refused > 0 {
            lines.push(format!("refused {refused}: {cause}"));
        }
    }
    lines.extend(holds(was, now));
    lines.extend(waits(was, now));
    lines
}

fn holds(was: &DatabaseObservation, now: &DatabaseObservation) -> Vec<String> {
    let writer = |look: &DatabaseObservation| look.holders.iter().find(|holder| holder.is_writer()).cloned();
    match (writer(was), writer(now)) {
        (Some(before), Some(after)) if before.tid == after.tid && before.process.pid == after.process.pid => Vec::new(),
        (before, after) => {
            let ended = before.map(|holder| format!("{} let go of {}", who(&holder.process), holder.role));
            let began = after.map(|holder| format!("{} got {}", who(&holder.process), holder.role));
            ended.into_iter().chain(began).collect()
        }
    }
}

fn waits(was: &DatabaseObservation, now: &DatabaseObservation) -> Vec<String> {
    let waited_before = |tid| was.waiters.iter().any(|waiter| waiter.tid == tid);
    let new = now.waiters.iter().filter(|waiter| !waited_before(waiter.tid));
    let line = |waiter: &super::Waiter| {
        let blockers: Vec<String> = waiter.blocked_by.iter().map(u32::to_string).collect();
        format!("{} waits for {} behind pid {}", who(&waiter.process), waiter.role, blockers.join(", "))
    };
    new.map(line).collect()
}

fn who(process: &ProcessName) -> String {
    format!("pid {} ({})", process.pid, process.command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counters, Holder, Waiter};

    fn look(path: &str, taken_ns: u64, change: impl FnOnce(&mut DatabaseObservation)) -> Observation {
        let mut database =
            DatabaseObservation { path: path.to_owned(), inodes: vec![7], ..DatabaseObservation::default() };
        change(&mut database);
        Observation { taken_ns, databases: vec![database], ..Observation::default() }
    }

    fn process(pid: u32) -> ProcessName {
        ProcessName { pid, command: "app".to_owned() }
    }

    fn writer(pid: u32) -> Holder {
        Holder { role: "WRITE".to_owned(), process: process(pid), tid: pid, ..Holder::default() }
    }

    fn words(previous: &Observation, current: &Observation) -> Vec<String> {
        events(previous, current).into_iter().map(|event| event.what).collect()
    }

    #[test]
    fn two_looks_tell_what_changed() {
        let was = look("a.db", 1, |database| database.holders.push(writer(1)));
        let now = look("b.db", 2, |database| {
            database.holders.push(writer(2));
            database.counters = Counters { refused_deadline: 3, ..Counters::default() };
            let waiter = Waiter {
                role: "TURN".to_owned(),
                process: process(3),
                tid: 3,
                blocked_by: vec![2],
                ..Waiter::default()
            };
            database.waiters.push(waiter);
        });
        assert_eq!(
            words(&was, &now),
            [
                "the name changed: a.db is now b.db",
                "refused 3: the wait ran out (deadline)",
                "pid 1 (app) let go of WRITE",
                "pid 2 (app) got WRITE",
                "pid 3 (app) waits for TURN behind pid 2",
            ]
        );
    }

    #[test]
    fn what_goes_on_is_no_event() {
        let busy = look("a.db", 1, |database| database.holders.push(writer(1)));
        assert_eq!(words(&busy, &busy), [""; 0]);
        assert_eq!(words(&Observation::default(), &busy), [""; 0], "nobody knows what was before");
    }

    #[test]
    fn a_crowd_is_cut() {
        let waiters = (0..100).map(|tid| Waiter { tid, ..Waiter::default() });
        let now = look("a.db", 2, |database| database.waiters = waiters.collect());
        assert_eq!(words(&look("a.db", 1, |_| ()), &now).len(), EVENTS_MAX);
    }
}
