//! The container of a process, as one number: what tells its control group from others.
//!
//! Only limits use the number, so a process that is gone, or on a host without control groups, is simply in no group. Whoever
//! wants to show names is told of each process once, by [`Seen`], while it still lives: many are gone before the next look.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::lock::Pid;
use crate::manager::{Group, Timestamp};

/// Told of a process at its first lock call, with what /proc/PID/cgroup said. It is called on a thread that answers requests,
/// so it must neither wait nor ask the process for anything.
pub type Seen = Box<dyn Fn(Pid, Vec<u8>) + Send + Sync>;

/// Processes whose container is remembered; then it starts anew.
const CACHED_MAX: usize = 16_384;

/// How long a number is believed to be the same process's, in the same group.
const BELIEVE_NS: u64 = 10_000_000_000;

/// A hash of /proc/PID/cgroup; 0 if it cannot be read, or where the process is in the root group.
pub fn group_of(pid: Pid) -> Group {
    group_in(&control_groups(pid))
}

/// /proc/PID/cgroup; empty if it cannot be read.
pub(super) fn control_groups(pid: Pid) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/cgroup", pid.0)).unwrap_or_default()
}

/// As [`group_of`], from the text.
pub(super) fn group_in(text: &[u8]) -> Group {
    if text.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.ends_with(b":/")) {
        return Group::default();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Group(hasher.finish() | 1)
}

/// The groups of the processes seen lately.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<Pid, (Group, Timestamp)>);

impl Groups {
    /// The group of a process, if it was looked up lately.
    pub(super) fn of(&self, pid: Pid, now: Timestamp) -> Option<Group> {
        self.0.get(&pid).filter(|(_, at)| now.since(*at) < BELIEVE_NS).map(|(group, _)| *group)
    }

    /// Remembers it.
    pub(super) fn remember(&mut self, pid: Pid, group: Group, now: Timestamp) {
        if self.0.len() >= CACHED_MAX {
            self.0.clear();
        }
        self.0.insert(pid, (group, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_group_is_no_container() {
        assert_eq!(group_in(b""), Group::default());
        assert_eq!(group_in(b"2:cpu:/\n0::/\n"), Group::default());
        assert_ne!(group_in(b"0::/docker/1\n"), group_in(b"0::/docker/2\n"));
    }

    #[test]
    fn a_number_that_is_reused_is_looked_up_again() {
        let mut groups = Groups::default();
        groups.remember(Pid(7), Group(1), Timestamp(5));
        assert_eq!(groups.of(Pid(7), Timestamp(BELIEVE_NS)), Some(Group(1)));
        assert_eq!(groups.of(Pid(7), Timestamp(BELIEVE_NS + 5)), None);
        assert_eq!(groups.of(Pid(8), Timestamp(5)), None);
    }
}
