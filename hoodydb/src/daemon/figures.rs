//! The figures of the metrics, out of the same counts as `status`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::worker::Live;
use crate::handover::Word;
use crate::metrics::{DatabaseFigures, Figures, RoleFigures, Source};
use crate::model::{SampleRow, text_of};

impl Source for Live {
    fn figures(&self) -> Figures {
        let stats = self.fuse.stats();
        let (schedules, unknown) = self.schedules.status();
        let sample = self.tracing.sample().ok();
        let mut roles: BTreeMap<u64, BTreeMap<String, RoleFigures>> = BTreeMap::new();
        for row in sample.iter().flat_map(|sample| &sample.rows) {
            add(roles.entry(row.ino).or_default().entry(row.role.clone()).or_default(), row);
        }
        Figures {
            mountpoint: text_of(&self.options().mountpoint),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.uptime_s(),
            restarts: self.kept.memory.word(Word::Restarts).load(Relaxed),
            requests: stats.requests.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            inodes: stats.inodes,
            handles: stats.handles,
            handles_max: stats.handles_max,
            tracer_lost: sample.map(|sample| sample.lost_events),
            is_history_kept: self.historian.get().is_some_and(|historian| historian.missing().is_none()),
            schedules: unknown.is_none().then_some(schedules),
            databases: self.database_figures(&roles),
        }
    }
}

impl Live {
    fn database_figures(&self, roles: &BTreeMap<u64, BTreeMap<String, RoleFigures>>) -> Vec<DatabaseFigures> {
        let figures = self.coordinator.tallies().into_iter().map(|tally| {
            let path = self.fuse.path_of(tally.file);
            let files = [Some(tally.file), tally.wal_index];
            let mut traced = BTreeMap::new();
            for (role, figures) in files.into_iter().flatten().filter_map(|file| roles.get(&file.ino)).flatten() {
                traced.insert(role.clone(), figures.clone());
            }
            DatabaseFigures {
                inode: tally.file.ino,
                path: self.names.path(tally.file, path.as_deref()),
                counters: tally.counters,
                holders: tally.holders,
                waiters: tally.waiters,
                wal_bytes: path.and_then(|path| self.wal_bytes(path)).unwrap_or(0),
                roles: traced,
            }
        });
        figures.collect()
    }
}

/// Adds one process's calls to those of all.
fn add(sum: &mut RoleFigures, row: &SampleRow) {
    sum.waits.add_since(&row.waits, None);
    sum.holds.add_since(&row.holds, None);
    sum.wait_ns_total += row.wait_ns_total;
    sum.held_ns_total += row.held_ns_total;
}
