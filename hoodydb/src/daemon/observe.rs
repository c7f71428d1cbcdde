//! One look at the mount for `top`, `history` and the metrics.
//!
//! Called by the answers to the control socket and by the threads that look by themselves. Nobody is kept waiting by very many
//! processes: counts are whole, names are only looked up of those that are shown.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::worker::Live;
use crate::keeper;
use crate::lock::FileId;
use crate::manager::view::{DatabaseView, Tally};
use crate::model::{DatabaseObservation, Observation, text_of};

/// Holders and waiters of one database whose names are looked up.
const NAMED_MAX: usize = 64;

impl Live {
    /// One look.
    pub(super) fn observe(&self) -> Observation {
        let (tracer, tracer_missing) = match self.tracing.sample() {
            Ok(sample) => (Some(sample), None),
            Err(reason) => (None, Some(reason)),
        };
        let taken_ns = keeper::now_ns();
        let view = self.coordinator.view_some(NAMED_MAX);
        let open: BTreeSet<FileId> = view.databases.iter().map(|database| database.file).collect();
        let mut databases: Vec<_> = view.databases.iter().map(|database| self.observe_database(database)).collect();
        let tallies = self.coordinator.tallies();
        let closed = tallies.iter().filter(|tally| !open.contains(&tally.file));
        databases.extend(closed.map(|tally| self.observe_closed(tally)));
        Observation {
            mountpoint: text_of(&self.options().mountpoint),
            pid: self.keeper_pid(),
            worker_pid: std::process::id(),
            phase: self.phase().name().to_owned(),
            taken_ns,
            databases,
            tracer,
            tracer_missing,
        }
    }

    fn observe_database(&self, view: &DatabaseView) -> DatabaseObservation {
        let journal_mode = self.journal_mode(view);
        let wal = journal_mode == "wal";
        let mut holders: Vec<_> = view.holders.iter().collect();
        // What lasts as long as a connection is of interest last of all.
        let lasting = |role: &str| role == "DMS" || (wal && role == "SHARED");
        holders.sort_by_key(|holder| (lasting(holder.role), std::cmp::Reverse(holder.age_ns)));
        let path = self.fuse.path_of(view.file);
        DatabaseObservation {
            path: self.names.path(view.file, path.as_deref()),
            inodes: [Some(view.file), view.wal_index].into_iter().flatten().map(|file| file.ino).collect(),
            journal_mode: journal_mode.to_owned(),
            policy: super::report::policy_name(view.policy).to_owned(),
            counters: view.counters.clone(),
            holders: holders.iter().take(NAMED_MAX).map(|holder| self.holder(holder)).collect(),
            holders_total: view.holders.len() as u64,
            waiters: view.waiters.iter().map(|waiter| self.waiter(waiter)).collect(),
            waiters_total: view.waiters_total,
            oldest_wait_ms: view.oldest_wait_ns / 1_000_000,
            wal_bytes: path.and_then(|path| self.wal_bytes(path)),
        }
    }

    fn observe_closed(&self, tally: &Tally) -> DatabaseObservation {
        DatabaseObservation {
            path: self.names.path(tally.file, self.fuse.path_of(tally.file).as_deref()),
            inodes: vec![tally.file.ino],
            journal_mode: "unknown".to_owned(),
            policy: super::report::policy_name(self.policies.default_policy()).to_owned(),
            counters: tally.counters.clone(),
            ..DatabaseObservation::default()
        }
    }

    /// Size of the -wal file in the backing directory.
    pub(super) fn wal_bytes(&self, database: PathBuf) -> Option<u64> {
        let mut wal = database.into_os_string();
        wal.push("-wal");
        self.kept.backing.size_of(wal.as_ref())
    }
}
