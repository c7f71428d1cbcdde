//! Policies that users set, kept over restarts.
//!
//! Called by the daemon's start, its sweep and the control socket. A policy belongs to a path: a database that is deleted and
//! made again has it too, and a file that was moved away loses it.
//!
//! # Layout
//! `DATA/.hoodydb/policies.json`: `{"version": 1, "databases": {"app/a.db": {"mode": "serial"}}}`, paths relative to the
//! mount point.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::DaemonError;
use super::backing::{Backing, OWN_DIR};
use crate::coordinator::Coordinator;
use crate::fuse::{FuseMount, LockReply};
use crate::lock::FileId;
use crate::manager::Policy;

const FILE: &str = "policies.json";
const NEW_FILE: &str = "policies.json.new";

/// What one database has of its own; more keys will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    mode: Policy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    databases: BTreeMap<PathBuf, Entry>,
}

/// The stored policies, and the files that have them now.
#[derive(Debug)]
pub(super) struct Policies {
    own_dir: OwnedFd,
    default: Policy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stored: Stored,
    applied: BTreeMap<PathBuf, (FileId, Policy)>,
}

impl Policies {
    /// Reads what earlier daemons stored; nothing stored is no error.
    pub(super) fn load(backing: &Backing, default: Policy) -> Result<Self, DaemonError> {
        let path = backing.path().join(OWN_DIR).join(FILE);
        let fault = |source| DaemonError::Path { action: "cannot read", path: path.clone(), source };
        let own_dir = backing.own_dir().try_clone().map_err(fault)?;
        let stored = match read(&own_dir).map_err(fault)? {
            None => Stored { version: 1, databases: BTreeMap::new() },
            Some(text) => serde_json::from_slice(&text)
                .map_err(|error| DaemonError::Policies { path: path.clone(), reason: error.to_string() })?,
        };
        if stored.version != 1 {
            let reason = format!("it has version {}, this hoodydb knows version 1", stored.version);
            return Err(DaemonError::Policies { path, reason });
        }
        Ok(Self { own_dir, default, state: Mutex::new(State { stored, applied: BTreeMap::new() }) })
    }

    /// The policy that a path has of its own.
    pub(super) fn own(&self, path: &Path) -> Option<Policy> {
        self.lock().stored.databases.get(path).map(|entry| entry.mode)
    }

    /// The policy of the mount.
    pub(super) const fn default_policy(&self) -> Policy {
        self.default
    }

    /// Stores a policy; it is on the disk when this returns, and applied by the next [`Self::follow_names`].
    ///
    /// # Errors
    /// Those of the disk (`ENOSPC`, `EIO`); then nothing has changed.
    pub(super) fn set(&self, path: &Path, mode: Policy) -> io::Result<()> {
        let mut state = self.lock();
        let mut stored = state.stored.clone();
        stored.databases.insert(path.to_owned(), Entry { mode });
        write(&self.own_dir, &stored)?;
        state.stored = stored;
        Ok(())
    }

    /// Gives each file the policy of the path at which it is now.
    pub(super) fn follow_names(&self, fuse: &FuseMount, coordinator: &Coordinator<LockReply>) {
        let wanted = |path: &Path| fuse.file_at(path).ok();
        for (file, policy) in self.lock().changes(self.default, wanted) {
            coordinator.set_policy(file, policy);
        }
    }

    /// A file has a name that it did not have: gives it the policy of its path at once, if that has one.
    pub(super) fn named(&self, file: FileId, path: &dyn Fn() -> Option<PathBuf>, coordinator: &Coordinator<LockReply>) {
        let mut state = self.lock();
        if state.stored.databases.is_empty() {
            return;
        }
        let Some(path) = path() else { return };
        if let Some(Entry { mode }) = state.stored.databases.get(&path).copied() {
            coordinator.set_policy(file, mode);
            state.applied.insert(path, (file, mode));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Both maps change by single assignments: the state behind a poisoned lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What to tell the coordinator, in this order: files that lost their policy, then files that got one.
    fn changes(&mut self, default: Policy, file_at: impl Fn(&Path) -> Option<FileId>) -> Vec<(FileId, Policy)> {
        let found = |(path, entry): (&PathBuf, &Entry)| Some((path.clone(), (file_at(path)?, entry.mode)));
        let wanted: BTreeMap<_, _> = self.stored.databases.iter().filter_map(found).collect();
        let lost = self.applied.iter().filter(|(path, had)| wanted.get(*path).is_none_or(|now| now.0 != had.0));
        let mut changes: Vec<_> = lost.map(|(_, (file, _))| (*file, default)).collect();
        let gained = wanted.iter().filter(|(path, now)| self.applied.get(*path) != Some(*now));
        changes.extend(gained.map(|(_, now)| *now));
        self.applied = wanted;
        changes
    }
}

fn read(own_dir: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: File = match rustix::fs::openat(own_dir, FILE, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        opened => opened?.into(),
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Whole or not at all: a new file, synced, takes the old one's name.
fn write(own_dir: &OwnedFd, stored: &Stored) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(stored)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: File = rustix::fs::openat(own_dir, NEW_FILE, flags, Mode::RUSR | Mode::WUSR)?.into();
    file.write_all(&text)?;
    file.sync_all()?;
    rustix::fs::renameat(own_dir, NEW_FILE, own_dir, FILE)?;
    rustix::fs::fsync(own_dir)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ino: u64) -> FileId {
        FileId { dev: 1, ino }
    }

    fn state(paths: &[(&str, Policy)]) -> State {
        let databases = paths.iter().map(|(path, mode)| (PathBuf::from(path), Entry { mode: *mode })).collect();
        State { stored: Stored { version: 1, databases }, applied: BTreeMap::new() }
    }

    #[test]
    fn a_policy_follows_its_path() {
        let mut state = state(&[("a", Policy::Serial), ("b", Policy::Posix)]);
        let at = |ino| move |path: &Path| (path == Path::new("a")).then_some(file(ino));
        assert_eq!(state.changes(Policy::Turn, at(1)), [(file(1), Policy::Serial)]);
        assert_eq!(state.changes(Policy::Turn, at(1)), []);
        let made_again = state.changes(Policy::Turn, at(2));
        assert_eq!(made_again, [(file(1), Policy::Turn), (file(2), Policy::Serial)]);
        assert_eq!(state.changes(Policy::Turn, |_| None), [(file(2), Policy::Turn)]);
    }

    #[test]
    fn a_file_moved_from_path_to_path_ends_with_the_new_paths_policy() {
        let mut state = state(&[("a", Policy::Serial), ("b", Policy::Posix)]);
        state.changes(Policy::Turn, |path| (path == Path::new("b")).then_some(file(1)));
        let changes = state.changes(Policy::Turn, |path| (path == Path::new("a")).then_some(file(1)));
        assert_eq!(changes.last(), Some(&(file(1), Policy::Serial)));
    }

    #[test]
    fn policies_survive_a_restart() {
        let dir = std::env::temp_dir().join(format!("hoodydb-policies-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let backing = Backing::take(&dir).unwrap();
        let policies = Policies::load(&backing, Policy::Turn).unwrap();
        assert_eq!(policies.own(Path::new("a.db")), None);
        policies.set(Path::new("a.db"), Policy::Serial).unwrap();
        let again = Policies::load(&backing, Policy::Turn).unwrap();
        assert_eq!(again.own(Path::new("a.db")), Some(Policy::Serial));
        std::fs::write(dir.join(OWN_DIR).join(FILE), b"{").unwrap();
        assert!(matches!(Policies::load(&backing, Policy::Turn), Err(DaemonError::Policies { .. })));
        std::fs::write(dir.join(OWN_DIR).join(FILE), br#"{"version":2,"databases":{}}"#).unwrap();
        assert!(Policies::load(&backing, Policy::Turn).unwrap_err().to_string().contains("version 2"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
