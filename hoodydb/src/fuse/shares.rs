//! Shares of the open handles: near the limit no process and no container may take what others need.
//!
//! Far from the limit nobody is asked for; a handle then knows only the thread that opened it. From a half on each opener's
//! process and container are read from /proc, those of older handles once. A thread that is gone by then counts as a process
//! of its own.
//!
//! ```text
//!   0 ---------------- 1/2 ----------- 3/4 ------------------- 7/8 -------------------- all
//!     nobody is counted     counted        a process: 1/8 each     a container: 1/4 each    ENFILE
//! ```
//!
//! The last eighth keeps room for other containers, the eighth before it for other processes of the same one.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::coordinator::group_of;
use crate::lock::Pid;
use crate::manager::Group;
use crate::model::printable;
use crate::process::{command_of, process_of};

/// Who opened a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opener {
    /// The process; the thread where nobody asked for more.
    pub(super) pid: u32,
    group: Group,
}

impl Opener {
    /// What the kernel's request tells.
    pub(super) fn thread(tid: u32) -> Self {
        Self { pid: tid, group: Group::default() }
    }

    /// The process and container of a thread.
    pub(super) fn of(tid: u32) -> Self {
        match process_of(tid) {
            Some(pid) => Self { pid, group: group_of(Pid(pid)) },
            None => Self::thread(tid),
        }
    }
}

/// Whose share is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    Process,
    Container,
}

/// Whether so many handles are open that they are counted.
pub(super) fn are_counted(open: u64, limit: u64) -> bool {
    open >= limit / 2
}

/// Whether they are so few that nobody needs to count any more.
pub(super) fn are_few(open: u64, limit: u64) -> bool {
    open < limit / 8 * 3
}

/// Open handles by opener.
#[derive(Debug, Default)]
pub(super) struct Shares {
    openers: HashMap<u64, Opener>,
    of_process: HashMap<u32, u64>,
    of_group: HashMap<Group, u64>,
}

impl Shares {
    pub(super) fn add(&mut self, handle: u64, opener: Opener) {
        if self.openers.insert(handle, opener).is_none() {
            *self.of_process.entry(opener.pid).or_default() += 1;
            *self.of_group.entry(opener.group).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, handle: u64) {
        if let Some(opener) = self.openers.remove(&handle) {
            take_one(&mut self.of_process, opener.pid);
            take_one(&mut self.of_group, opener.group);
        }
    }

    /// Whose share forbids one more handle, where `open` of `limit` are open.
    pub(super) fn used_up(&self, opener: Opener, open: u64, limit: u64) -> Option<Used> {
        let of_process = self.of_process.get(&opener.pid).copied().unwrap_or(0);
        let of_group = self.of_group.get(&opener.group).copied().unwrap_or(0);
        if open >= limit - limit / 4 && of_process >= limit / 8 {
            Some(Used::Process)
        } else if open >= limit - limit / 8 && opener.group != Group::default() && of_group >= limit / 4 {
            Some(Used::Container)
        } else {
            None
        }
    }
}

fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// When whose refusal was told of.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<u32, Instant>);

impl Told {
    const AGAIN: Duration = Duration::from_secs(60);
    const MOST: usize = 64;

    /// Says, once a minute per process, who was refused.
    pub(super) fn tell(&mut self, opener: Opener, used: Used, limit: u64) {
        self.0.retain(|_, at| at.elapsed() < Self::AGAIN);
        if self.0.len() >= Self::MOST || self.0.contains_key(&opener.pid) {
            return;
        }
        self.0.insert(opener.pid, Instant::now());
        let say = move || {
            let (whose, share) = match used {
                Used::Process => ("process", limit / 8),
                Used::Container => ("container", limit / 4),
            };
            let command = command_of(opener.pid);
            tracing::error!(
                pid = opener.pid,
                command = printable(&command),
                whose,
                share,
                limit,
                "refuses to open more files: the limit is near, and this share of it is used up"
            );
        };
        // The command line is in the memory of a process that may itself wait for this thread.
        let _ = std::thread::Builder::new().name("refusal".into()).spawn(say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opener(pid: u32, group: u64) -> Opener {
        Opener { pid, group: Group(group) }
    }

    #[test]
    fn near_the_limit_a_process_and_a_container_have_a_share() {
        let mut shares = Shares::default();
        (0..30).for_each(|handle| shares.add(handle, opener(1, 7)));
        assert_eq!(shares.used_up(opener(1, 7), 74, 100), None, "far from the limit");
        assert_eq!(shares.used_up(opener(1, 7), 75, 100), Some(Used::Process));
        assert_eq!(shares.used_up(opener(2, 7), 87, 100), None, "others of the container have an eighth");
        assert_eq!(shares.used_up(opener(2, 7), 88, 100), Some(Used::Container));
        assert_eq!(shares.used_up(opener(2, 8), 99, 100), None, "another container");
        (0..30).for_each(|handle| shares.add(handle + 100, opener(3, 0)));
        assert_eq!(shares.used_up(opener(4, 0), 99, 100), None, "no container at all has no share");
        (0..20).for_each(|handle| shares.remove(handle));
        shares.remove(0);
        assert_eq!(shares.used_up(opener(1, 7), 99, 100), None, "what is closed does not count");
    }

    #[test]
    fn a_thread_counts_for_its_process() {
        let tid = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
        let tid: u32 =
            tid.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a number");
        assert_ne!(tid, std::process::id(), "tests run in threads of their own");
        assert_eq!(Opener::of(tid).pid, std::process::id());
        assert_eq!(Opener::of(u32::MAX), Opener::thread(u32::MAX));
    }
}
