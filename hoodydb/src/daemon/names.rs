//! Who a process is: its command and its container, also of processes that are gone before somebody asks.
//!
//! Told of each process at its first lock call by [`crate::coordinator`]; a thread of its own then looks at it. What is known is
//! believed only while the process has the start time that it had: process ids are used again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::container::Containers;
use crate::coordinator::Seen;
use crate::lock::{FileId, Pid};
use crate::model::{Container, ProcessName, text_of};
use crate::process::{command_of, control_groups, start_time};

/// Processes that may wait to be looked at; of more at once, some are only looked at when somebody asks.
const QUEUE_MAX: usize = 4_096;

/// Processes remembered; then those make room that were used longest ago.
const KNOWN_MAX: usize = 16_384;

/// How long a command is believed: a process may become another program.
const BELIEVE: Duration = Duration::from_secs(10);

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) process: ProcessName,
    pub(super) container: Option<Container>,
}

/// The names of processes and files.
pub(super) struct Names {
    containers: Containers,
    processes: Mutex<BTreeMap<u32, Known>>,
    /// The last path of each file that somebody asked for.
    paths: Mutex<BTreeMap<FileId, String>>,
    queue: SyncSender<(u32, Vec<u8>)>,
}

struct Known {
    identity: Identity,
    start_time: Option<u64>,
    looked: Instant,
    used: Instant,
}

impl Names {
    /// Starts the thread that looks at new processes; it ends with the value.
    ///
    /// # Errors
    /// EAGAIN if there is no room for the thread.
    pub(super) fn start() -> std::io::Result<Arc<Self>> {
        let (queue, told) = sync_channel(QUEUE_MAX);
        let names = Arc::new(Self {
            containers: Containers::of_host(),
            processes: Mutex::default(),
            paths: Mutex::default(),
            queue,
        });
        let weak = Arc::downgrade(&names);
        std::thread::Builder::new().name("names".into()).spawn(move || look_at_all(&told, &weak))?;
        Ok(names)
    }

    /// What the coordinator calls.
    pub(super) fn seen(names: &Arc<Self>) -> Seen {
        let queue = names.queue.clone();
        Box::new(move |pid: Pid, control_groups| {
            // A full queue costs a name, not time.
            let _ = queue.try_send((pid.0, control_groups));
        })
    }

    /// Who a process is, or was.
    pub(super) fn of(&self, pid: u32) -> Identity {
        let started = start_time(pid);
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = processes.get_mut(&pid)
            && (started.is_none() || known.start_time == started && known.looked.elapsed() < BELIEVE)
        {
            known.used = Instant::now();
            return known.identity.clone();
        }
        drop(processes);
        self.look(pid, &control_groups(pid))
    }

    fn look(&self, pid: u32, control_groups: &[u8]) -> Identity {
        let started = start_time(pid);
        let mut identity = Identity {
            process: ProcessName { pid, command: command_of(pid) },
            container: self.containers.of(pid, control_groups),
        };
        // It may have ended in between, and its number may be another's by now.
        let is_same = started.is_some() && start_time(pid) == started;
        let now = Instant::now();
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = processes.get(&pid).filter(|before| before.start_time == started && is_same) {
            // A process that ends is moved to the root group before it is gone.
            identity.container = identity.container.or_else(|| before.identity.container.clone());
        }
        if is_same || identity.container.is_some() {
            make_room(&mut processes);
            let known = Known { identity: identity.clone(), start_time: started, looked: now, used: now };
            processes.insert(pid, known);
        }
        identity
    }

    /// The path of a file, or the last one that it had.
    pub(super) fn path(&self, file: FileId, path: Option<&Path>) -> String {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        match path {
            Some(path) => {
                let path = text_of(path);
                if paths.len() >= KNOWN_MAX {
                    paths.clear();
                }
                paths.insert(file, path.clone());
                path
            }
            None => paths.get(&file).map_or_else(|| "(deleted)".to_owned(), |path| format!("{path} (deleted)")),
        }
    }
}

/// Lets an eighth go, those that were used longest ago.
fn make_room(processes: &mut BTreeMap<u32, Known>) {
    if processes.len() < KNOWN_MAX {
        return;
    }
    let mut used: Vec<Instant> = processes.values().map(|known| known.used).collect();
    used.sort_unstable();
    let oldest = used[KNOWN_MAX / 8];
    processes.retain(|_, known| known.used > oldest);
}

fn look_at_all(told: &Receiver<(u32, Vec<u8>)>, names: &Weak<Names>) {
    // The sender lives in the value itself and in the coordinator: only a look now and then tells that nobody asks any more.
    loop {
        let next = told.recv_timeout(Duration::from_secs(1));
        let Some(names) = names.upgrade() else { return };
        if let Ok((pid, control_groups)) = next {
            names.look(pid, &control_groups);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_and_one_that_is_gone_is_remembered() {
        let names = Names::start().unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id();
        while names.of(pid).process.command != "sleep 100" {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(names.of(pid).process.command, "sleep 100");
    }

    #[test]
    fn another_process_of_the_same_number_is_looked_at_anew() {
        let names = Names::start().unwrap();
        let pid = std::process::id();
        let stranger = Identity { process: ProcessName { pid, command: "another".to_owned() }, container: None };
        let now = Instant::now();
        let known = |start_time| Known { identity: stranger.clone(), start_time, looked: now, used: now };
        names.processes.lock().unwrap().insert(pid, known(start_time(pid)));
        assert_eq!(names.of(pid).process.command, "another");
        names.processes.lock().unwrap().insert(pid, known(Some(1)));
        assert_ne!(names.of(pid).process.command, "another");
    }

    #[test]
    fn the_crowd_is_bounded() {
        let mut processes = BTreeMap::new();
        for pid in 0..KNOWN_MAX as u32 + 10 {
            make_room(&mut processes);
            let identity = Identity { process: ProcessName::default(), container: None };
            let now = Instant::now();
            processes.insert(pid, Known { identity, start_time: None, looked: now, used: now });
        }
        assert!(processes.len() <= KNOWN_MAX);
        assert!(processes.contains_key(&(KNOWN_MAX as u32 + 9)) && !processes.contains_key(&0));
    }

    #[test]
    fn a_deleted_file_keeps_its_last_name() {
        let names = Names::start().unwrap();
        let file = FileId { dev: 1, ino: 1 };
        assert_eq!(names.path(file, None), "(deleted)");
        assert_eq!(names.path(file, Some(Path::new("a.db"))), "a.db");
        assert_eq!(names.path(file, None), "a.db (deleted)");
    }
}
