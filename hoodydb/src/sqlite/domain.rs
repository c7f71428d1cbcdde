//! Domains: the copies of SQLite inside one process that use the same database file.
//!
//! POSIX gives all locks of a process on a file to one owner; two copies of SQLite in one process (an application and its
//! plugin) would then share, and lose, each other's locks. SQLite keeps its lock state per copy and file, and locks
//! through any descriptor of that copy, so a domain is a set of handles.
//!
//! Invariant: a handle belongs to at most one domain of an owner.

use serde::{Deserialize, Serialize};

use crate::lock::small_map::SmallMap;
use crate::lock::{Handle, Holder, LockOwner, LockTable};

/// The domains of one database file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Domains {
    of_owner: SmallMap<LockOwner, Vec<Domain>>,
    last_part: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Domain {
    part: u64,
    handles: Vec<Handle>,
}

impl Domains {
    /// The holder that a call through `handle` speaks for.
    ///
    /// `read_start` (`r PENDING`) proves that the handle's copy holds nothing: where the owner's domain holds locks, this
    /// is another copy. Any other call through a handle whose own domain holds nothing belongs to the owner's one domain
    /// that does: SQLite locks through one descriptor and unlocks through another. With two such domains the one that
    /// took its lock last is meant; SQLite gives no better hint.
    ///
    /// # Source
    /// os_unix.c (`unixLock`, `unixUnlock`, `struct unixInodeInfo`).
    pub fn resolve(&mut self, owner: LockOwner, handle: Handle, read_start: bool, table: &LockTable) -> Holder {
        let domains = self.of_owner.get_or_insert_with(owner, Vec::new);
        let holds = |domain: &Domain| !table.of(Holder { owner, part: domain.part }).is_empty();
        let own = domains.iter().position(|domain| domain.handles.contains(&handle));
        let chosen = match own {
            Some(own) if holds(&domains[own]) != read_start => Some(own),
            _ if read_start => domains.iter().position(|domain| !holds(domain)),
            _ => {
                let newest = |domain: &Domain| {
                    table.of(Holder { owner, part: domain.part }).iter().map(|record| record.origin.at_ns).max()
                };
                (0..domains.len()).filter(|at| holds(&domains[*at])).max_by_key(|at| newest(&domains[*at])).or(own)
            }
        };
        let chosen = chosen.unwrap_or_else(|| {
            self.last_part += 1;
            // One copy of SQLite with one descriptor is the rule.
            domains.reserve_exact(1);
            domains.push(Domain { part: self.last_part, handles: Vec::new() });
            domains.len() - 1
        });
        if own != Some(chosen) {
            if let Some(own) = own {
                domains[own].handles.retain(|other| *other != handle);
            }
            domains[chosen].handles.reserve_exact(1);
            domains[chosen].handles.push(handle);
        }
        Holder { owner, part: domains[chosen].part }
    }

    /// The holder that a test (`F_GETLK`) through `handle` speaks for, changing nothing.
    pub fn peek(&self, owner: LockOwner, handle: Handle) -> Holder {
        let domains = self.of_owner.get(&owner).map_or(&[][..], Vec::as_slice);
        let found = domains.iter().find(|domain| domain.handles.contains(&handle)).or(domains.first());
        Holder { owner, part: found.map_or(0, |domain| domain.part) }
    }

    /// Forgets a handle that was closed by `owner`.
    pub fn closed(&mut self, owner: LockOwner, handle: Handle, table: &LockTable) {
        let Some(domains) = self.of_owner.get_mut(&owner) else { return };
        domains.retain_mut(|domain| {
            domain.handles.retain(|other| *other != handle);
            !domain.handles.is_empty() || !table.of(Holder { owner, part: domain.part }).is_empty()
        });
        if domains.is_empty() {
            self.of_owner.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{ByteRange, LockKind, Origin, Pid, Tid};

    const OWNER: LockOwner = LockOwner(7);

    fn hold(table: &mut LockTable, holder: Holder, handle: Handle, at_ns: u64) {
        let origin = Origin { handle, pid: Pid(1), tid: Tid(1), at_ns };
        table.set(holder, ByteRange::new(10, 20).unwrap(), LockKind::Read, origin);
    }

    #[test]
    fn another_descriptor_of_the_same_copy_joins_the_domain_that_holds() {
        let (mut domains, mut table) = (Domains::default(), LockTable::default());
        let first = domains.resolve(OWNER, Handle(1), true, &table);
        hold(&mut table, first, Handle(1), 1);
        assert_eq!(domains.resolve(OWNER, Handle(2), false, &table), first);
    }

    #[test]
    fn a_read_start_beside_a_holding_domain_is_another_copy() {
        let (mut domains, mut table) = (Domains::default(), LockTable::default());
        let first = domains.resolve(OWNER, Handle(1), true, &table);
        hold(&mut table, first, Handle(1), 1);
        let second = domains.resolve(OWNER, Handle(9), true, &table);
        assert_ne!(second, first);
        hold(&mut table, second, Handle(9), 2);
        assert_eq!(domains.resolve(OWNER, Handle(1), false, &table), first);
        assert_eq!(domains.resolve(OWNER, Handle(9), false, &table), second);
    }

    #[test]
    fn copies_that_met_idle_are_told_apart_later() {
        let (mut domains, mut table) = (Domains::default(), LockTable::default());
        let first = domains.resolve(OWNER, Handle(1), true, &table);
        assert_eq!(domains.resolve(OWNER, Handle(9), true, &table), first, "both idle: no difference yet");
        hold(&mut table, first, Handle(9), 1);
        let second = domains.resolve(OWNER, Handle(1), true, &table);
        assert_ne!(second, first);
        assert_eq!(domains.resolve(OWNER, Handle(9), false, &table), first);
    }

    #[test]
    fn closed_handles_leave_no_trace() {
        let (mut domains, table) = (Domains::default(), LockTable::default());
        domains.resolve(OWNER, Handle(1), true, &table);
        domains.closed(OWNER, Handle(1), &table);
        assert!(domains.of_owner.is_empty());
    }
}
