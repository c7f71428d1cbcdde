//! A turn: the right to be the transaction that may write. One domain per database has it.
//!
//! ```text
//!   read start -> Reading --write lock--> Writing --its end--> Reading --nothing held--> Idle --comes back--> Reading
//!                   |  T, then a probe of the thread             |                         |  gap, quantum
//!                   v                                            v                         v
//!                  over                                         over                      over
//! ```
//! Nothing here is an obligation to others: a turn that is over only lets the next in line begin.

use serde::{Deserialize, Serialize};

use crate::lock::{Pid, Tid};

use super::database::Domain;
use super::{Activity, Config, Policy, Timestamp};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Turn {
    /// Names this turn in probes.
    pub(super) id: u64,
    pub(super) domain: Domain,
    pub(super) pid: Pid,
    pub(super) tid: Tid,
    pub(super) granted_at: Timestamp,
    wrote: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum State {
    /// Holds a read lock, or was just let in; intent must show by `until`. `ending`: it has written, and is about to let go.
    Reading { until: Timestamp, probed: bool, ending: bool },
    /// Holds a write lock.
    Writing,
    /// Holds nothing; may come straight back. `ended`: it has written, and its process is not one that comes back.
    Idle { since: Timestamp, ended: bool },
}

impl Turn {
    pub(super) fn new(id: u64, domain: Domain, pid: Pid, tid: Tid, now: Timestamp, config: &Config) -> Self {
        let state = State::Reading { until: now.plus(config.intent_ns), probed: false, ending: false };
        Self { id, domain, pid, tid, granted_at: now, wrote: false, state }
    }

    /// The domain starts to read again within its turn: a retry, or the next transaction of its quantum.
    pub(super) fn read_again(&mut self, tid: Tid, now: Timestamp, config: &Config) {
        self.tid = tid;
        self.state = State::Reading { until: now.plus(config.intent_ns), probed: false, ending: false };
    }

    pub(super) fn write_began(&mut self) {
        self.wrote = true;
        self.state = State::Writing;
    }

    /// The write lock is gone, something is still held.
    pub(super) fn write_ended(&mut self, now: Timestamp, config: &Config) {
        if matches!(self.state, State::Writing) {
            self.state = State::Reading { until: now.plus(config.intent_ns), probed: true, ending: true };
        }
    }

    /// `dawdles`: its process did not come straight back the last time, so nobody need wait for that.
    pub(super) fn holds_nothing(&mut self, dawdles: bool, now: Timestamp) {
        let has_written = matches!(self.state, State::Writing | State::Reading { ending: true, .. });
        if !matches!(self.state, State::Idle { .. }) {
            self.state = State::Idle { since: now, ended: has_written && dawdles };
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        matches!(self.state, State::Writing)
    }

    /// Whether a write by somebody else would take from the domain what its turn promised: it reads, and may write yet.
    pub(super) fn intends(&self) -> bool {
        matches!(self.state, State::Reading { ending: false, .. })
    }

    /// When the turn ends, or must be probed, if nothing else happens; `None` while it lasts.
    pub(super) fn ends_at(&self, policy: Policy, config: &Config) -> Option<Timestamp> {
        match self.state {
            State::Writing => None,
            State::Reading { .. } if policy == Policy::Serial => None,
            State::Reading { until, .. } => Some(until),
            State::Idle { since, ended: true } => Some(since),
            State::Idle { since, .. } if since.since(self.granted_at) >= config.quantum_ns => Some(since),
            State::Idle { since, .. } if !self.wrote => Some(since.plus(config.retry_gap_ns)),
            State::Idle { since, .. } => Some(since.plus(config.gap_ns)),
        }
    }

    /// Whether the turn is over; a turn that [`Self::needs_probe`] is not over yet.
    pub(super) fn is_over(&self, now: Timestamp, policy: Policy, config: &Config) -> bool {
        self.ends_at(policy, config).is_some_and(|at| at <= now) && !self.needs_probe(now, policy, config)
    }

    /// Whether intent did not show in time and the thread must be looked at before the turn is taken away: on a loaded
    /// machine it may simply not have run.
    pub(super) fn needs_probe(&self, now: Timestamp, policy: Policy, config: &Config) -> bool {
        match self.state {
            State::Reading { until, probed: false, .. } if policy != Policy::Serial => {
                until <= now && now.since(self.granted_at) < config.starved_max_ns
            }
            _ => false,
        }
    }

    /// The probe is under way: wait for its answer, but not for long.
    pub(super) fn probing(&mut self, now: Timestamp, config: &Config) {
        self.state = State::Reading { until: now.plus(config.turn_probe_ns), probed: true, ending: false };
    }

    /// Its thread may have been waiting for an answer that nobody could give, and so may whoever was to look at it.
    pub(super) fn resumed(&mut self, now: Timestamp, config: &Config) {
        if let State::Reading { ending: false, .. } = self.state {
            self.state = State::Reading { until: now.plus(config.intent_ns), probed: false, ending: false };
        }
    }

    pub(super) fn probed(&mut self, activity: Activity, now: Timestamp, config: &Config) {
        let State::Reading { ending: false, .. } = self.state else { return };
        let longest_ns = match activity {
            Activity::Asleep => 0,
            Activity::Working => config.intent_max_ns,
            Activity::Starved => config.starved_max_ns,
        };
        let latest = self.granted_at.plus(longest_ns);
        let until = now.plus(config.intent_ns).min(latest).max(now);
        // At its end it is not looked at again.
        self.state = State::Reading { until, probed: until == now, ending: false };
    }
}

#[cfg(test)]
mod tests {
    use crate::lock::{Holder, LockOwner};
    use crate::manager::database::Side;

    use super::*;

    const MS: u64 = 1_000_000;

    /// The worker that was to look at the thread is killed: the next one looks, instead of taking the turn away.
    #[test]
    fn a_turn_whose_probe_was_lost_is_probed_again() {
        let config = Config::default();
        let domain = Domain { side: Side::Main, holder: Holder::posix(LockOwner(1)) };
        let mut turn = Turn::new(1, domain, Pid(1), Tid(1), Timestamp(0), &config);
        let looked = Timestamp(config.intent_ns);
        assert!(turn.needs_probe(looked, Policy::Turn, &config));
        turn.probing(looked, &config);
        let back = Timestamp(400 * MS);
        assert!(turn.is_over(back, Policy::Turn, &config), "without a word of the new worker");
        turn.resumed(back, &config);
        assert!(!turn.is_over(back, Policy::Turn, &config));
        let later = back.plus(config.intent_ns);
        assert!(turn.needs_probe(later, Policy::Turn, &config) && !turn.is_over(later, Policy::Turn, &config));
    }

    #[test]
    fn a_turn_that_has_written_is_not_prolonged() {
        let config = Config::default();
        let domain = Domain { side: Side::Main, holder: Holder::posix(LockOwner(1)) };
        let mut turn = Turn::new(1, domain, Pid(1), Tid(1), Timestamp(0), &config);
        turn.write_began();
        turn.write_ended(Timestamp(MS), &config);
        turn.resumed(Timestamp(400 * MS), &config);
        assert!(turn.is_over(Timestamp(400 * MS), Policy::Turn, &config));
    }
}
