//! Which databases have a label of their own: the busiest, and the others are added up as `other`.
//!
//! Called for every scrape. A sum over a changing set would go up and down, and Prometheus would take every step down for a
//! restart; so `other` grows by what the unnamed ones counted since the scrape before, and a name is kept once it is given, until
//! another database is far busier.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::DatabaseFigures;
use crate::model::counted_since;

/// Databases with a label of their own.
pub(super) const NAMED_MAX: usize = 100;

/// The label of the others.
pub(super) const OTHER: &str = "other";

/// How much busier a database must be to take another one's label.
const FAR_BUSIER: u64 = 2;

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Busiest {
    named: BTreeSet<u64>,
    last: BTreeMap<u64, DatabaseFigures>,
    other: DatabaseFigures,
}

impl Busiest {
    /// Leaves the named ones, and the others as one.
    pub(super) fn choose(&mut self, databases: &mut Vec<DatabaseFigures>) {
        self.name(databases);
        let all = std::mem::take(databases);
        let (named, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| self.named.contains(&one.inode));
        *databases = named.into_iter().cloned().collect();
        self.add(&others);
        // Once told, always told: a series that vanishes and comes back would look like a restart.
        if !others.is_empty() || self.other != DatabaseFigures::default() {
            databases.push(DatabaseFigures { path: OTHER.to_owned(), ..self.other.clone() });
        }
        self.last = all.into_iter().map(|one| (one.inode, one)).collect();
    }

    fn name(&mut self, databases: &[DatabaseFigures]) {
        let mut ranked: Vec<&DatabaseFigures> = databases.iter().collect();
        ranked.sort_by_key(|one| std::cmp::Reverse(busyness(one)));
        // Two of one name would be one series twice, which no scrape survives; who has lost its name has none to show.
        let mut names = BTreeSet::new();
        ranked.retain(|one| !one.path.ends_with("(deleted)") && one.path != OTHER && names.insert(one.path.as_str()));
        let there: BTreeSet<u64> = ranked.iter().map(|one| one.inode).collect();
        self.named.retain(|inode| there.contains(inode));
        for candidate in ranked.iter().take(NAMED_MAX) {
            if self.named.contains(&candidate.inode) {
                continue;
            }
            if self.named.len() >= NAMED_MAX {
                let least = ranked.iter().rev().find(|one| self.named.contains(&one.inode));
                let Some(least) = least.filter(|least| busyness(candidate) > busyness(least) * FAR_BUSIER) else {
                    return;
                };
                self.named.remove(&least.inode);
            }
            self.named.insert(candidate.inode);
        }
    }

    fn add(&mut self, others: &[&DatabaseFigures]) {
        let sum = |of: fn(&DatabaseFigures) -> u64| others.iter().map(|one| of(one)).sum();
        self.other.holders = sum(|one| one.holders);
        self.other.waiters = sum(|one| one.waiters);
        self.other.wal_bytes = sum(|one| one.wal_bytes);
        for now in others {
            let last = self.last.get(&now.inode);
            let before = last.map(|last| last.counters.clone()).unwrap_or_default();
            self.other.counters.add(&counted_since(&now.counters, &before));
            for (role, figures) in &now.roles {
                let before = last.and_then(|last| last.roles.get(role));
                self.other.roles.entry(role.clone()).or_default().add_since(figures, before);
            }
        }
    }
}

fn busyness(one: &DatabaseFigures) -> u64 {
    one.counters.granted.saturating_add(one.counters.waited.saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Counters;

    fn database(inode: u64, granted: u64) -> DatabaseFigures {
        let counters = Counters { granted, ..Counters::default() };
        DatabaseFigures { inode, path: inode.to_string(), counters, ..DatabaseFigures::default() }
    }

    fn chosen(busiest: &mut Busiest, mut databases: Vec<DatabaseFigures>) -> BTreeMap<String, u64> {
        busiest.choose(&mut databases);
        databases.into_iter().map(|one| (one.path, one.counters.granted)).collect()
    }

    #[test]
    fn few_databases_are_all_named() {
        let shown = chosen(&mut Busiest::default(), vec![database(1, 5), database(2, 0)]);
        assert_eq!(shown, BTreeMap::from([("1".to_owned(), 5), ("2".to_owned(), 0)]));
    }

    #[test]
    fn the_others_never_go_down_whoever_is_named() {
        let mut busiest = Busiest::default();
        let all = |extra: u64| (1..=150).map(|inode| database(inode, inode + extra)).collect::<Vec<_>>();
        let first = chosen(&mut busiest, all(0));
        assert_eq!((first.len(), first[OTHER]), (NAMED_MAX + 1, (1..=50).sum::<u64>()));
        let mut next = all(1);
        // The least busy one is by far the busiest now, and takes a label.
        next[0].counters.granted = 1_000_000;
        let second = chosen(&mut busiest, next.clone());
        assert!(second.contains_key("1") && second.len() == NAMED_MAX + 1);
        assert_eq!(second[OTHER], first[OTHER] + 50, "49 others and the one that lost its label counted one each");
        let gone = chosen(&mut busiest, vec![database(1, 1_000_000)]);
        assert_eq!(gone[OTHER], second[OTHER]);
    }

    #[test]
    fn no_series_is_told_twice() {
        let mut all = vec![database(1, 5), database(2, 6), database(3, 7), database(4, 8)];
        for (one, path) in all.iter_mut().zip(["a", "a", "a (deleted)", OTHER]) {
            one.path = path.to_owned();
        }
        let mut told = all.clone();
        Busiest::default().choose(&mut told);
        let told: Vec<(&str, u64)> = told.iter().map(|one| (one.path.as_str(), one.counters.granted)).collect();
        assert_eq!(told, [("a", 6), (OTHER, 5 + 7 + 8)]);
    }

    #[test]
    fn a_label_is_not_lost_to_a_slightly_busier_database() {
        let mut busiest = Busiest::default();
        let mut all: Vec<_> = (1..=101).map(|inode| database(inode, 1_000 + inode)).collect();
        chosen(&mut busiest, all.clone());
        all[0].counters.granted += 500;
        assert!(!chosen(&mut busiest, all).contains_key("1"));
    }
}
