//! The container of a process, as one number: what tells its control group from others.
//!
//! Only limits use it, so a process that is gone, or on a host without control groups, is simply in no group.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::lock::Pid;
use crate::manager::Group;

/// A hash of /proc/PID/cgroup; 0 if it cannot be read, or where the process is in the root group.
pub fn group_of(pid: Pid) -> Group {
    let Ok(text) = std::fs::read(format!("/proc/{}/cgroup", pid.0)) else { return Group::default() };
    if text.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.ends_with(b":/")) {
        return Group::default();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Group(hasher.finish() | 1)
}
