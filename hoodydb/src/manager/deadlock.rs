//! Who waits for whom across all files, and the cycles in it.
//!
//! The node is the process (lock owner), for a parked lock call holds SQLite's per-file mutex and with it the other
//! connections of its process. A cycle whose every step stays in one thread is certain; one that passes through
//! different threads of a process is a suspicion until it has stood for [`super::Config::suspicion_ns`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lock::{FileId, LockOwner, Tid};

use super::{Config, Context, Decision, Group, LockManager, Slot, Ticket, Timestamp};

/// Someone that a ticket waits for; `tid` is the thread that took the lock, `None` where any thread counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocker {
    pub(super) owner: LockOwner,
    pub(super) tid: Option<Tid>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Wait {
    file: FileId,
    owner: LockOwner,
    tid: Tid,
    group: Group,
}

/// Every parked ticket.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(from = "Waits")]
pub(super) struct WaitGraph {
    waits: BTreeMap<Ticket, Wait>,
    #[serde(skip_serializing)]
    of_owner: BTreeMap<LockOwner, BTreeSet<Ticket>>,
    #[serde(skip_serializing)]
    of_group: BTreeMap<Group, usize>,
    /// The container of the call that is being handled.
    pub(super) arriving: Group,
    /// Tickets whose place in the graph changed and was not looked at yet.
    unchecked: Vec<Ticket>,
    suspicions: BTreeSet<(Timestamp, Ticket)>,
}

/// What is read of a saved graph; who waits of one owner or group follows from it.
#[derive(Deserialize)]
struct Waits {
    waits: BTreeMap<Ticket, Wait>,
    arriving: Group,
    unchecked: Vec<Ticket>,
    suspicions: BTreeSet<(Timestamp, Ticket)>,
}

impl From<Waits> for WaitGraph {
    fn from(Waits { waits, arriving, unchecked, suspicions }: Waits) -> Self {
        let mut graph = Self { arriving, unchecked, suspicions, ..Self::default() };
        waits.iter().for_each(|(ticket, wait)| graph.index(*ticket, wait));
        graph.waits = waits;
        graph
    }
}

/// A cycle through a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cycle {
    Certain,
    Suspected,
}

impl WaitGraph {
    pub(super) fn len(&self) -> usize {
        self.waits.len()
    }

    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.waits.keys().copied()
    }

    pub(super) fn file_of(&self, ticket: Ticket) -> Option<FileId> {
        self.waits.get(&ticket).map(|wait| wait.file)
    }

    /// Whether one more call of `owner`, the one being handled, may park.
    pub(super) fn has_room(&self, owner: LockOwner, config: &Config) -> bool {
        let in_group = self.of_group.get(&self.arriving).copied().unwrap_or(0);
        self.waits.len() < config.max_waiters
            && (self.arriving == Group::default() || in_group < config.max_waiters_per_group)
            && self.of_owner.get(&owner).map_or(0, BTreeSet::len) < config.max_waiters_per_process
    }

    pub(super) fn park(&mut self, ticket: Ticket, file: FileId, owner: LockOwner, tid: Tid) {
        let wait = Wait { file, owner, tid, group: self.arriving };
        self.waits.insert(ticket, wait);
        self.index(ticket, &wait);
        self.unchecked.push(ticket);
    }

    fn index(&mut self, ticket: Ticket, wait: &Wait) {
        *self.of_group.entry(wait.group).or_default() += 1;
        self.of_owner.entry(wait.owner).or_default().insert(ticket);
    }

    pub(super) fn leave(&mut self, ticket: Ticket) {
        let Some(wait) = self.waits.remove(&ticket) else { return };
        if let Some(tickets) = self.of_owner.get_mut(&wait.owner) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.of_owner.remove(&wait.owner);
            }
        }
        if let Some(count) = self.of_group.get_mut(&wait.group) {
            *count -= 1;
            if *count == 0 {
                self.of_group.remove(&wait.group);
            }
        }
        self.suspicions.retain(|(_, suspected)| *suspected != ticket);
    }

    /// `owner` got something that others wait for: its own waits must be looked at again.
    pub(super) fn became_holder(&mut self, owner: LockOwner) {
        if let Some(tickets) = self.of_owner.get(&owner) {
            self.unchecked.extend(tickets);
        }
    }

    /// The next suspicion that has stood long enough, taken off the list.
    pub(super) fn confirm_suspicion(&mut self, now: Timestamp) -> Option<Ticket> {
        let (at, ticket) = *self.suspicions.first()?;
        if at > now {
            return None;
        }
        self.suspicions.pop_first();
        Some(ticket)
    }

    pub(super) fn next_suspicion(&self) -> Option<Timestamp> {
        self.suspicions.first().map(|(at, _)| *at)
    }
}

impl LockManager {
    /// Looks at every ticket whose surroundings changed in this event and denies the ones that close a certain cycle.
    pub(super) fn deny_cycles(&mut self, now: Timestamp, out: &mut Vec<Decision>) {
        while let Some(ticket) = self.graph.unchecked.pop() {
            match self.find_cycle(ticket) {
                Some(Cycle::Certain) => self.deny_deadlock(now, ticket, out),
                Some(Cycle::Suspected) => {
                    self.graph.suspicions.insert((now.plus(self.config.suspicion_ns), ticket));
                }
                None => {}
            }
        }
    }

    pub(super) fn deny_deadlock(&mut self, now: Timestamp, ticket: Ticket, out: &mut Vec<Decision>) {
        let Some(file) = self.graph.file_of(ticket) else { return };
        self.on_file(now, file, out, |slot, _, context: &mut Context<'_>| match slot {
            Slot::Plain(plain) => plain.deny_deadlock(context, ticket),
            Slot::Database(database) => database.deny_deadlock(context, ticket),
            Slot::IndexOf(_) => {}
        });
    }

    /// The cycle that `ticket` is part of, if any: a search from its blockers along their own parked tickets.
    pub(super) fn find_cycle(&self, ticket: Ticket) -> Option<Cycle> {
        let start = *self.graph.waits.get(&ticket)?;
        let mut seen = BTreeSet::new();
        let mut suspected = None;
        let mut open: Vec<(Ticket, bool)> = vec![(ticket, true)];
        while let Some((at, certain)) = open.pop() {
            for blocker in self.blockers(at) {
                if blocker.owner == start.owner {
                    if certain && blocker.tid.is_none_or(|tid| tid == start.tid) {
                        return Some(Cycle::Certain);
                    }
                    suspected = Some(Cycle::Suspected);
                    continue;
                }
                for next in self.graph.of_owner.get(&blocker.owner).into_iter().flatten() {
                    let same_thread = blocker.tid.is_none_or(|tid| tid == self.graph.waits[next].tid);
                    if seen.insert((*next, certain && same_thread)) {
                        open.push((*next, certain && same_thread));
                    }
                }
            }
        }
        suspected
    }

    fn blockers(&self, ticket: Ticket) -> Vec<Blocker> {
        let Some(file) = self.graph.file_of(ticket) else { return Vec::new() };
        match self.files.get(&file) {
            Some(Slot::Plain(plain)) => plain.blockers(ticket),
            Some(Slot::Database(database)) => database.blockers(ticket, &self.config),
            Some(Slot::IndexOf(_)) | None => Vec::new(),
        }
    }
}
