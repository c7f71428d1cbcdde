//! The containers that run on this host: one process of each. Called by `hoodydb containers status` and `inject`.

use std::collections::BTreeMap;

use crate::container::Containers;
use crate::model::Container;
use crate::process::{mount_namespace, start_time};

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub container: Container,
    /// The process that was started first.
    pub pid: u32,
    /// Its mount namespace.
    pub namespace: u64,
    /// When that process was started, in clock ticks since the machine was.
    pub started_ticks: u64,
}

/// All of them. A unit of systemd is none, nor is a process that shares this one's mounts.
pub fn running(containers: &Containers) -> Vec<Running> {
    let own = mount_namespace(std::process::id());
    let mut found: BTreeMap<Container, Running> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for one in pids.filter_map(|pid| look_at(pid, own, containers)) {
        match found.get_mut(&one.container) {
            Some(first) if first.started_ticks <= one.started_ticks => (),
            Some(first) => *first = one,
            None => _ = found.insert(one.container.clone(), one),
        }
    }
    found.into_values().collect()
}

fn look_at(pid: u32, own: Option<u64>, containers: &Containers) -> Option<Running> {
    let namespace = mount_namespace(pid).filter(|namespace| Some(*namespace) != own)?;
    let groups = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    let container = containers.of(pid, &groups).filter(|container| container.engine != "systemd")?;
    // An engine's helpers have mounts of their own too, but nobody made a container of them.
    if container.engine == "container" && shares_pids(pid) {
        return None;
    }
    Some(Running { container, pid, namespace, started_ticks: start_time(pid)? })
}

fn shares_pids(pid: u32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    of(&pid.to_string()) == of("self")
}
