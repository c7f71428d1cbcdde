//! Answers the control socket: the manager's view and the mount's counts, with names of files and processes.
//!
//! Called by [`crate::control::server`] on the blocking pool; it changes nothing but policies and the wish to unmount.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Component, Path};
use std::sync::atomic::Ordering::Relaxed;

use super::worker::{Live, Phase, Unmount};
use crate::control::server::Answerer;
use crate::control::{Answer, Command};
use crate::coordinator::MAGIC;
use crate::handover::Word;
use crate::history::Historian;
use crate::keeper;
use crate::lock::{FileId, Pid};
use crate::manager::Policy;
use crate::manager::view::{DatabaseView, HolderView, WaiterView};
use crate::model::{
    Container, Counts, DatabaseLocks, DatabaseStatus, Holder, LockEvents, MountLocks, MountStatus, OpenFile,
    PolicyAnswer, ProcessName, Restart, UnmountAnswer, Waiter, printable, text_of,
};
use crate::process::{Halted, command_of, halted, open_files};

/// Processes of one database whose containers `status` looks up.
const CONTAINERS_LOOKED_AT_MAX: usize = 256;

impl Answerer for Live {
    fn answer(&self, command: Command) -> Answer {
        let answer = match command {
            Command::Status => Ok(Answer::Status(Box::new(self.status()))),
            Command::Observe => Ok(Answer::Observation(Box::new(self.observe()))),
            Command::History { since_s, db } => {
                self.history(since_s, db).map(|history| Answer::History(Box::new(history)))
            }
            Command::Locks { db } => self.locks(db.as_deref()).map(Answer::Locks),
            Command::Sample => self.tracing.sample().map(|sample| Answer::Sample(Box::new(sample))),
            Command::Events { cursor, db } => self.events(cursor, db.as_deref()).map(Answer::Events),
            Command::PolicyGet { db } => self.policy(&db).map(Answer::Policy),
            Command::PolicySet { db, mode, force } => self.set_policy(&db, mode, force).map(Answer::Policy),
            Command::Unmount { lazy } => {
                // Looked at first: an idle mount is gone at once, and the daemon with it.
                let answer = self.unmounting();
                let unmount = if lazy { Unmount::Lazy } else { Unmount::Drain };
                // Kept before it is told: whoever serves next goes on with it.
                unmount.keep(&self.kept.memory);
                // The receiver lives as long as the main loop: without it the mount is about to be gone anyhow.
                let _ = self.unmount.send(unmount);
                Ok(Answer::Unmount(answer))
            }
            Command::ScheduleAdd { schedule } => self.schedules.add(schedule).map(Box::new).map(Answer::Schedule),
            Command::ScheduleRemove { id } => self.schedules.remove(id).map(Box::new).map(Answer::Schedule),
            Command::Upgrade { binary } => Err(self.upgrade(&binary)),
            #[cfg(feature = "fault-points")]
            Command::Fault { arm } => {
                let left = self.kept.memory.word(Word::CrashAt);
                if let Some(n) = arm {
                    left.store(n, Relaxed);
                }
                Ok(Answer::Fault(left.load(Relaxed)))
            }
            Command::UnmountProgress => Ok(Answer::Unmount(self.unmounting())),
        };
        answer.unwrap_or_else(Answer::Error)
    }
}

impl Live {
    pub(super) fn keeper_pid(&self) -> u32 {
        self.pid_in(Word::KeeperPid)
    }

    fn pid_in(&self, word: Word) -> u32 {
        u32::try_from(self.kept.memory.word(word).load(Relaxed)).unwrap_or(0)
    }

    pub(super) fn uptime_s(&self) -> u64 {
        keeper::now_ns().saturating_sub(self.kept.memory.word(Word::StartedAt).load(Relaxed)) / 1_000_000_000
    }

    fn last_restart(&self) -> Option<Restart> {
        let memory = &self.kept.memory;
        let restarts = memory.word(Word::Restarts).load(Relaxed);
        (restarts > 0)
            .then(|| Restart { reason: memory.reason(), stall_us: memory.word(Word::StallNs).load(Relaxed) / 1000 })
    }

    fn status(&self) -> MountStatus {
        let stats = self.fuse.stats();
        let view = self.coordinator.view_some(CONTAINERS_LOOKED_AT_MAX);
        let (schedules, schedules_error) = self.schedules.status();
        MountStatus {
            mountpoint: text_of(&self.options().mountpoint),
            backing: text_of(&self.options().data),
            pid: self.keeper_pid(),
            keeper_pid: self.keeper_pid(),
            worker_pid: self.pid_in(Word::WorkerPid),
            restarts: self.kept.memory.word(Word::Restarts).load(Relaxed),
            last_restart: self.last_restart(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: self.phase().name().to_owned(),
            access: access_name(self.options().access).to_owned(),
            policy: policy_name(self.options().policy).to_owned(),
            max_wait_ms: u64::try_from(self.options().max_wait.as_millis()).unwrap_or(u64::MAX),
            passthrough: stats.passthrough,
            passthrough_missing: stats.passthrough_missing,
            quick_wake: stats.quick_wake_missing.is_none(),
            quick_wake_missing: stats.quick_wake_missing,
            uptime_s: self.uptime_s(),
            requests_total: stats.requests.iter().map(|(_, count)| count).sum(),
            requests: stats.requests.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            inodes: stats.inodes,
            handles: stats.handles,
            descriptors: stats.descriptors,
            descriptors_max: descriptors_max(),
            handles_max: stats.handles_max,
            records: view.records,
            waiters: view.waiters,
            databases: view.databases.iter().map(|database| self.database_status(database)).collect(),
            totals: Counts::from(&view.totals),
            metrics: self.kept.metrics.as_ref().map(|metrics| metrics.address().to_string()),
            history_missing: self.historian.get().and_then(Historian::missing),
            refused_databases: self.kept.stale.refused(),
            single_file_binds: self.binds.found(),
            schedules,
            schedules_error,
            tracer: self.tracing.state().to_owned(),
            tracer_missing: self.tracing.missing(),
        }
    }

    fn database_status(&self, view: &DatabaseView) -> DatabaseStatus {
        DatabaseStatus {
            path: self.path_of(view.file),
            journal_mode: self.journal_mode(view).to_owned(),
            policy: policy_name(view.policy).to_owned(),
            holders: view.holders.len() as u64,
            waiters: view.waiters_total,
            containers: self.containers_of(view),
            counts: Counts::from(&view.counters),
        }
    }

    fn locks(&self, only: Option<&Path>) -> Result<MountLocks, String> {
        let only = only.map(|path| self.existing(path)).transpose()?;
        let mut databases = self.coordinator.view().databases;
        databases.retain(|database| match only {
            Some(file) => database.file == file,
            None => !database.holders.is_empty() || !database.waiters.is_empty(),
        });
        Ok(MountLocks {
            mountpoint: text_of(&self.options().mountpoint),
            pid: self.keeper_pid(),
            databases: databases.iter().map(|database| self.database_locks(database)).collect(),
            single_file_binds: self.binds.found(),
        })
    }

    fn database_locks(&self, view: &DatabaseView) -> DatabaseLocks {
        DatabaseLocks {
            path: self.path_of(view.file),
            journal_mode: self.journal_mode(view).to_owned(),
            policy: policy_name(view.policy).to_owned(),
            holders: view.holders.iter().map(|holder| self.holder(holder)).collect(),
            waiters: view.waiters.iter().map(|waiter| self.waiter(waiter)).collect(),
        }
    }

    /// Lock events behind a cursor, of one database and its WAL index or of all files.
    fn events(&self, cursor: Option<u64>, only: Option<&Path>) -> Result<LockEvents, String> {
        let mut answer = self.tracing.events(cursor)?;
        for event in &mut answer.events {
            // What was opened before this worker came is asked of the file system.
            let opened = self.tracing.path_at(event.ino, event.ended_ns);
            let path = opened.or_else(|| self.fuse.path_of_inode(event.ino));
            event.path = path.map_or_else(|| "(deleted)".to_owned(), text_of);
        }
        if let Some(only) = only {
            let database = text_of(only);
            let wal_index = format!("{database}-shm");
            answer.events.retain(|event| event.path == database || event.path == wal_index);
        }
        Ok(answer)
    }

    fn policy(&self, path: &Path) -> Result<PolicyAnswer, String> {
        let own = self.policies.own(path);
        if own.is_none() {
            self.existing(path)?;
        }
        Ok(PolicyAnswer {
            mountpoint: text_of(&self.options().mountpoint),
            path: text_of(path),
            mode: policy_name(own.unwrap_or(self.policies.default_policy())).to_owned(),
            own: own.is_some(),
        })
    }

    fn set_policy(&self, path: &Path, mode: Policy, force: bool) -> Result<PolicyAnswer, String> {
        self.existing(path)?;
        if !force {
            self.check_looks_like_sqlite(path)?;
        }
        self.policies
            .set(path, mode)
            .map_err(|error| format!("cannot store the policy of {}: {error}", printable(path)))?;
        self.policies.follow_names(&self.fuse, &self.coordinator);
        tracing::info!(database = printable(path), mode = policy_name(mode), "a policy was set");
        self.policy(path)
    }

    fn check_looks_like_sqlite(&self, path: &Path) -> Result<(), String> {
        match self.header(path) {
            Ok(header) if header.is_empty() || header.starts_with(MAGIC) => Ok(()),
            Ok(_) => Err(format!(
                "{} does not begin like a SQLite database: name another file; an encrypted database looks like that too, \
                 for one add --force",
                printable(path)
            )),
            Err(error) => Err(format!("cannot read {}: {error}", printable(path))),
        }
    }

    /// The file at a path below the mount point, or the line that says why there is none.
    fn existing(&self, path: &Path) -> Result<FileId, String> {
        if path.components().next().is_none() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("{} is no path below the mount point", printable(path)));
        }
        let below = printable(&self.options().mountpoint);
        if !self.kept.backing.is_regular_file(path) {
            return Err(format!("there is no file {} below {below}", printable(path)));
        }
        self.fuse.file_at(path).map_err(|error| format!("cannot find {} below {below}: {error}", printable(path)))
    }

    /// The first bytes of a file, up to the write version of SQLite's header.
    fn header(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let mut header = Vec::new();
        self.kept.backing.open_file(path)?.take(20).read_to_end(&mut header)?;
        Ok(header)
    }

    pub(super) fn journal_mode(&self, view: &DatabaseView) -> &'static str {
        if view.wal {
            return "wal";
        }
        let header = self.fuse.path_of(view.file).and_then(|path| self.header(&path).ok());
        header.map_or("unknown", |header| journal_mode_of(&header))
    }

    fn path_of(&self, file: FileId) -> String {
        self.fuse.path_of(file).map_or_else(|| "(deleted)".to_owned(), text_of)
    }

    /// Who keeps the mount busy.
    pub(super) fn unmounting(&self) -> UnmountAnswer {
        UnmountAnswer {
            mountpoint: text_of(&self.options().mountpoint),
            pid: self.keeper_pid(),
            phase: self.phase().name().to_owned(),
            users: self.users(),
            running: if self.phase() == Phase::Serving { Vec::new() } else { self.running() },
            overdue: self.overdue.load(Relaxed),
        }
    }

    /// Everybody who has a file or a working directory on the mount.
    pub(super) fn users(&self) -> Vec<OpenFile> {
        let open = open_files::open_on(self.fuse.device(), std::process::id()).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read /proc to find who has files open");
            Vec::new()
        });
        let user = |open: open_files::OpenFile| OpenFile {
            process: ProcessName { pid: open.pid, command: open.command },
            path: text_of(open.path),
        };
        open.into_iter().map(user).collect()
    }

    /// Processes with a transaction.
    pub(super) fn running(&self) -> Vec<ProcessName> {
        let mut running: Vec<_> = self.coordinator.running_transactions().iter().map(|(_, pid)| named(*pid)).collect();
        running.sort();
        running.dedup();
        running
    }
}

/// The daemon's own limit of open files.
fn descriptors_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// # Source
/// https://www.sqlite.org/fileformat2.html, 1.3.3: bytes 18 and 19 are 1 for rollback journals and 2 for WAL.
fn journal_mode_of(header: &[u8]) -> &'static str {
    match (header.strip_prefix(MAGIC), header.get(18)) {
        _ if header.is_empty() => "empty",
        (Some(_), Some(1)) => "rollback",
        (Some(_), Some(2)) => "wal",
        _ => "unknown",
    }
}

impl Live {
    /// A holder with its names.
    pub(super) fn holder(&self, view: &HolderView) -> Holder {
        let known = self.names.of(view.pid.0);
        Holder {
            role: view.role.to_owned(),
            process: known.process,
            tid: view.tid.0,
            age_ms: view.age_ns / 1_000_000,
            turn: view.turn,
            halted: halted_name(view.pid),
            container: known.container,
        }
    }

    /// A waiter with its names.
    pub(super) fn waiter(&self, view: &WaiterView) -> Waiter {
        let known = self.names.of(view.pid.0);
        Waiter {
            role: view.role.to_owned(),
            process: known.process,
            tid: view.tid.0,
            age_ms: view.age_ns / 1_000_000,
            left_ms: view.left_ns / 1_000_000,
            blocked_by: view.blocked_by.iter().map(|pid| pid.0).collect(),
            halted: halted_name(view.pid),
            container: known.container,
        }
    }

    /// Containers of everybody who holds or waits at a database, each once, and not of all of very many processes.
    fn containers_of(&self, view: &DatabaseView) -> Vec<Container> {
        let holders = view.holders.iter().map(|holder| holder.pid.0);
        let pids: BTreeSet<u32> = holders.chain(view.waiters.iter().map(|waiter| waiter.pid.0)).collect();
        let found = pids.into_iter().take(CONTAINERS_LOOKED_AT_MAX).filter_map(|pid| self.names.of(pid).container);
        found.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn named(pid: Pid) -> ProcessName {
    ProcessName { pid: pid.0, command: command_of(pid.0) }
}

fn halted_name(pid: Pid) -> Option<String> {
    halted(pid.0).map(Halted::name).map(str::to_owned)
}

pub(super) const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Turn => "turn",
        Policy::Serial => "serial",
        Policy::Posix => "posix",
    }
}

const fn access_name(access: super::Access) -> &'static str {
    match access {
        super::Access::Unix => "unix",
        super::Access::Shared => "shared",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_the_journal_mode() {
        let header = |version: u8| [MAGIC.as_slice(), &[16, 0, version, version]].concat();
        assert_eq!(journal_mode_of(&header(1)), "rollback");
        assert_eq!(journal_mode_of(&header(2)), "wal");
        assert_eq!(journal_mode_of(&header(3)), "unknown");
        assert_eq!(journal_mode_of(b""), "empty");
        assert_eq!(journal_mode_of(b"an encrypted header."), "unknown");
        assert_eq!(journal_mode_of(MAGIC), "unknown");
    }
}
