//! What databases counted until they were closed: short-lived commands open and close them all the time, and rates need counts
//! that never go back.
//!
//! Kept by the manager, which forgets all else of a database that nobody has open. Nothing is decided by it. A file that takes
//! the number of one that was deleted goes on with its counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::view::Counters;
use crate::lock::FileId;

/// Databases whose counts are kept; beyond, the one with the fewest lock calls is forgotten.
const DATABASES_MAX: usize = 512;

/// Counts by file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Closed(BTreeMap<FileId, Counters>);

impl Closed {
    /// A database was closed.
    pub(super) fn put(&mut self, file: FileId, counters: Counters) {
        if counters == Counters::default() {
            return;
        }
        if self.0.len() >= DATABASES_MAX {
            let fewest = self.0.iter().min_by_key(|(_, counters)| counters.granted).map(|(file, _)| *file);
            fewest.map(|file| self.0.remove(&file));
        }
        self.0.insert(file, counters);
    }

    /// A database is opened again, and goes on from there.
    pub(super) fn take(&mut self, file: FileId) -> Counters {
        self.0.remove(&file).unwrap_or_default()
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
    fn a_database_goes_on_from_where_it_was_closed() {
        let mut closed = Closed::default();
        let file = FileId { dev: 1, ino: 1 };
        closed.put(file, granted(3));
        assert_eq!(closed.take(file).granted, 3);
        assert_eq!(closed.take(file), Counters::default());
    }

    #[test]
    fn the_least_used_one_makes_room() {
        let mut closed = Closed::default();
        for ino in 0..=DATABASES_MAX as u64 {
            closed.put(FileId { dev: 1, ino }, granted(1_000_000 - ino));
        }
        assert_eq!(closed.iter().count(), DATABASES_MAX);
        closed.put(FileId { dev: 2, ino: 0 }, Counters::default());
        assert_eq!(closed.iter().count(), DATABASES_MAX, "what counted nothing needs no place");
        let last = (DATABASES_MAX - 1) as u64;
        assert!(closed.iter().all(|(file, _)| file.ino != last), "it had the fewest when one too many came");
    }
}
