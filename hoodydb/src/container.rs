//! The container of a process: which engine made it, its id, its name, its image.
//!
//! Called by [`crate::daemon`], never on a thread that answers locks: it reads the engines' own files. It talks to no daemon of
//! theirs, and what it cannot read or understand is simply left out. Reads are bounded, results are cached.
//!
//! ```text
//!   /proc/PID/cgroup -> cgroup: engine and id -> engines: name and image, from the engine's files -> Container
//! ```

mod cgroup;
mod engines;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Container;
use cgroup::{Own, Place};

/// Containers remembered; then the one that was used longest ago makes room.
const KNOWN_MAX: usize = 4_096;

/// How long a name is believed: containers can be renamed.
const BELIEVE: Duration = Duration::from_secs(60);

/// How long a container without a name is left without another look: engines write it down a moment after the start.
const BELIEVE_NAMELESS: Duration = Duration::from_secs(5);

/// All containers seen.
#[derive(Debug)]
pub struct Containers {
    /// `/`; another directory in tests.
    root: PathBuf,
    /// What this process itself is in tells nothing apart.
    own: Own,
    known: Mutex<BTreeMap<Place, Known>>,
}

#[derive(Debug)]
struct Known {
    container: Option<Container>,
    at: Instant,
}

impl Containers {
    /// Those of this host.
    pub fn of_host() -> Self {
        let own = std::fs::read("/proc/self/cgroup").unwrap_or_default();
        Self::below(Path::new("/"), &own)
    }

    fn below(root: &Path, own: &[u8]) -> Self {
        Self { root: root.to_owned(), own: Own::of(&String::from_utf8_lossy(own)), known: Mutex::default() }
    }

    /// The container of a process, whose /proc/PID/cgroup said `control_groups`; none for a plain process.
    pub fn of(&self, pid: u32, control_groups: &[u8]) -> Option<Container> {
        let place = cgroup::place_in(&String::from_utf8_lossy(control_groups), &self.own)?;
        if let Some(container) = self.known(&place) {
            return container;
        }
        let container = engines::identify(&self.root, &place, || is_apart(pid));
        // Whether a process of an unknown group is in a container is a matter of the process.
        if container.is_some() || place.is_certain() {
            self.remember(place, container.clone());
        }
        container
    }

    fn known(&self, place: &Place) -> Option<Option<Container>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(place)?;
        let has_name = found.container.as_ref().is_some_and(|container| container.name.is_some());
        let believed = if has_name { BELIEVE } else { BELIEVE_NAMELESS };
        (found.at.elapsed() < believed).then(|| found.container.clone())
    }

    fn remember(&self, place: Place, container: Option<Container>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            let oldest = known.iter().min_by_key(|(_, known)| known.at).map(|(place, _)| place.clone());
            oldest.map(|place| known.remove(&place));
        }
        known.insert(place, Known { container, at: Instant::now() });
    }
}

/// Whether a process has another process or mount namespace than this one.
fn is_apart(pid: u32) -> bool {
    ["pid", "mnt"].into_iter().any(|kind| {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        of(&pid.to_string()).is_some_and(|its| of("self").is_some_and(|own| own != its))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_nothing_that_tells_it_apart() {
        let own = std::fs::read("/proc/self/cgroup").unwrap();
        assert_eq!(Containers::of_host().of(std::process::id(), &own), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let containers = Containers::below(Path::new("/nonexistent"), b"0::/");
        for garbage in [&b"\xff\xfe:::\n:"[..], b"0::", b"0::/docker/", b"::/../../..", b"\0", b"0::/lxc.payload."] {
            containers.of(0, garbage);
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let containers = Containers::below(Path::new("/nonexistent"), b"");
        for number in 0..=KNOWN_MAX {
            let id = format!("0::/docker/{number:064x}");
            assert_eq!(containers.of(0, id.as_bytes()).unwrap().engine, "docker");
        }
        assert_eq!(containers.known.lock().unwrap().len(), KNOWN_MAX);
    }
}
