//! What `hoodydb containers status` shows: the engines of the host, and the containers that run.

use serde::{Deserialize, Serialize};

use super::Container;

/// Answer of `hoodydb containers status --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    /// Every engine that can be set up, those that are not there too.
    pub engines: Vec<EngineStatus>,
    /// Every container that runs, by engine and name.
    pub containers: Vec<ContainerStatus>,
}

/// An engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// `podman`, `docker`, `containerd` or `lxc`.
    pub engine: String,
    /// `absent`, `disabled`, `enabled`, `waiting` (set up, but not in force) or `left alone` (it cannot be set up).
    pub state: String,
    /// Its version; null where it is not known.
    pub version: Option<String>,
    /// What is to be known besides; one line.
    pub detail: Option<String>,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Which.
    pub container: Container,
    /// Its first process, on the host.
    pub pid: u32,
    /// `live`, `waiting` (it gets the next mount as soon as there is one), `stale` (it has the mount of a dead daemon) or `none`.
    pub mount: String,
    /// Since when it has the live mount, in seconds since 1970; null without one.
    pub since_s: Option<u64>,
    /// Locks that its processes hold now.
    pub locks: u64,
}
