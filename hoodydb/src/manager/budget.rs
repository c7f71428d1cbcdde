//! How long a process has waited behind one hold.
//!
//! SQLite's busy handler retries by count, not by time (a 5 s timeout is about 60 tries), so a deadline per request would
//! multiply. The budget belongs to the pair (waiting process, blocking hold); once it is spent, that process's requests
//! behind that hold are refused at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lock::LockOwner;

/// A hold that others wait for: who, and since when on the caller's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) owner: LockOwner,
    pub(super) since_ns: u64,
}

impl Hold {
    /// The unmount that lets no transaction begin.
    pub(super) const LEAVING: Self = Self { owner: LockOwner(0), since_ns: 0 };
}

/// More pairs than this are not remembered: only waits that ran into a deadline leave one.
const MAX_PAIRS: usize = 4_096;

/// What was spent, in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Budgets {
    spent_ns: BTreeMap<(Hold, LockOwner), u64>,
}

impl Budgets {
    pub(super) fn spent_ns(&self, hold: Hold, waiter: LockOwner) -> u64 {
        if self.spent_ns.is_empty() {
            return 0;
        }
        self.spent_ns.get(&(hold, waiter)).copied().unwrap_or(0)
    }

    pub(super) fn spend(&mut self, hold: Hold, waiter: LockOwner, ns: u64) {
        if self.spent_ns.len() < MAX_PAIRS {
            *self.spent_ns.entry((hold, waiter)).or_default() += ns;
        }
    }

    /// Forgets the budgets behind holds of `owner`, which ended.
    pub(super) fn hold_ended(&mut self, owner: LockOwner) {
        if !self.spent_ns.is_empty() {
            self.spent_ns.retain(|(hold, _), _| hold.owner != owner);
        }
    }
}
