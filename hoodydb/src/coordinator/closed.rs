//! What databases counted until they were closed: short-lived commands open and close them all the time, and rates need counts
//! that never go back.
//!
//! Kept by the coordinator beside the manager, which forgets a database that nobody has open. A worker's successor knows the
//! counts of those that are open.

use std::collections::BTreeMap;

use crate::lock::FileId;
use crate::manager::view::Counters;

/// Databases whose counts are kept; beyond, the one with the fewest lock calls is forgotten.
const DATABASES_MAX: usize = 1_024;

/// Counts by file.
#[derive(Clone, Debug, Default)]
pub(super) struct Closed(BTreeMap<FileId, Counters>);

impl Closed {
    /// A database was closed once more.
    pub(super) fn add(&mut self, file: FileId, counters: &Counters) {
        if *counters == Counters::default() {
            return;
        }
        if self.0.len() >= DATABASES_MAX && !self.0.contains_key(&file) {
            let fewest = self.0.iter().min_by_key(|(_, counters)| counters.granted).map(|(file, _)| *file);
            fewest.map(|file| self.0.remove(&file));
        }
        self.0.entry(file).or_default().add(counters);
    }

    /// Adds what a database counted before to what it counts now.
    pub(super) fn add_to(&self, file: FileId, counters: &mut Counters) {
        if let Some(before) = self.0.get(&file) {
            counters.add(before);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FileId, &Counters)> {
        self.0.iter().map(|(file, counters)| (*file, counters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(granted: u64) -> Counters {
        Counters { granted, ..Counters::default() }
    }

    #[test]
    fn counts_add_up_over_openings() {
        let mut closed = Closed::default();
        let file = FileId { dev: 1, ino: 1 };
        closed.add(file, &granted(3));
        closed.add(file, &granted(4));
        let mut now = granted(1);
        closed.add_to(file, &mut now);
        assert_eq!(now.granted, 8);
    }

    #[test]
    fn the_least_used_one_makes_room() {
        let mut closed = Closed::default();
        for ino in 0..=DATABASES_MAX as u64 {
            closed.add(FileId { dev: 1, ino }, &granted(1_000_000 - ino));
        }
        assert_eq!(closed.iter().count(), DATABASES_MAX);
        closed.add(FileId { dev: 2, ino: 0 }, &Counters::default());
        assert_eq!(closed.iter().count(), DATABASES_MAX, "what counted nothing needs no place");
        let last = (DATABASES_MAX - 1) as u64;
        assert!(closed.iter().all(|(file, _)| file.ino != last), "it had the fewest when one too many came");
    }
}
