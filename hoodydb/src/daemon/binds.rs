//! Finds processes that see a single database file through a bind mount: its side files are not beside it there, so SQLite
//! would make others, out of our sight.
//!
//! Called by the daemon's sweep with the processes that lock something. A mount namespace is looked at once in a while, not
//! once per process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::backing::Backing;
use crate::fuse::FuseMount;
use crate::lock::Pid;
use crate::model::{ProcessName, SingleFileBind, printable, text_of};
use crate::process::{command_of, mount_namespace, partial_binds};

/// How long a namespace's mounts are believed not to change.
const BELIEVE: Duration = Duration::from_secs(30);

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct SingleFileBinds {
    namespaces: Mutex<BTreeMap<u64, Namespace>>,
}

#[derive(Debug)]
struct Namespace {
    looked: Instant,
    binds: Vec<SingleFileBind>,
}

impl SingleFileBinds {
    /// Looks at the mount namespaces of everybody who holds or wants a lock.
    pub(super) fn look_at(&self, processes: &BTreeSet<Pid>, fuse: &FuseMount, backing: &Backing) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        namespaces.retain(|id, namespace| {
            namespace.looked.elapsed() < BELIEVE
                || namespace.binds.iter().any(|bind| mount_namespace(bind.process.pid) == Some(*id))
        });
        for Pid(pid) in processes.iter().copied() {
            let Some(id) = mount_namespace(pid) else { continue };
            let known = namespaces.get(&id);
            if known.is_some_and(|namespace| namespace.looked.elapsed() < BELIEVE) {
                continue;
            }
            let binds = find(pid, fuse.device(), |path| backing.is_regular_file(path));
            let new =
                |bind: &&SingleFileBind| known.is_none_or(|known| known.binds.iter().all(|old| old.path != bind.path));
            for bind in binds.iter().filter(new) {
                warn(bind);
            }
            namespaces.insert(id, Namespace { looked: Instant::now(), binds });
        }
    }

    /// Everything found, for `status` and `locks`.
    pub(super) fn found(&self) -> Vec<SingleFileBind> {
        let namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = |id: &u64, bind: &SingleFileBind| mount_namespace(bind.process.pid) == Some(*id);
        let binds = namespaces.iter().flat_map(|(id, namespace)| namespace.binds.iter().map(move |bind| (id, bind)));
        binds.filter(|(id, bind)| lives(id, bind)).map(|(_, bind)| bind.clone()).collect()
    }
}

fn find(pid: u32, device: u64, is_file: impl Fn(&Path) -> bool) -> Vec<SingleFileBind> {
    let binds = partial_binds(pid, device).unwrap_or_default().into_iter();
    let bind = |(root, seen_at): (std::path::PathBuf, std::path::PathBuf)| {
        let path = root.strip_prefix("/").ok().filter(|path| is_file(path))?;
        let process = ProcessName { pid, command: command_of(pid) };
        Some(SingleFileBind { path: text_of(path), process, seen_at: text_of(seen_at) })
    };
    binds.filter_map(bind).collect()
}

fn warn(bind: &SingleFileBind) {
    tracing::warn!(
        database = printable(&bind.path),
        pid = bind.process.pid,
        command = printable(&bind.process.command),
        seen_at = printable(&bind.seen_at),
        "a process sees a single database file through a bind mount, without its side files: bind the directory instead"
    );
}
