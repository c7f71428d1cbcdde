//! A manager beside those that would have taken over from it: each must decide what it decides, for ever.
//!
//! ```text
//!   original   handle ------- handle ------- handle -------      never touched
//!   heir       handle - restore(save) - handle - restore(save)   at random events
//!   replay              checkpoint, then the encoded events      at random events
//! ```

use hoodydb::manager::saved::{MAX_ENCODED_EVENT, decode_event, encode_event};
use hoodydb::manager::{Config, Decision, Event, LockManager, Timestamp};

use crate::random::Random;

/// The manager of a world, and its heirs if there are any.
pub struct Managers {
    original: LockManager,
    heirs: Option<Heirs>,
}

struct Heirs {
    random: Random,
    heir: LockManager,
    checkpoint: Vec<u8>,
    /// Encoded events since the checkpoint, and what was decided.
    log: Vec<u8>,
    decided: Vec<Decision>,
    successions: u32,
    replays: u32,
}

/// How often each happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handovers {
    pub successions: u32,
    pub replays: u32,
}

impl Managers {
    /// One manager.
    pub fn alone(config: Config) -> Self {
        Self { original: LockManager::new(config), heirs: None }
    }

    /// Adds the heirs; handovers happen at events that `seed` chooses.
    pub fn with_heirs(mut self, seed: u64) -> Self {
        let checkpoint = self.original.save();
        let heir = LockManager::restore(&checkpoint).expect("a fresh state restores");
        let (log, decided) = (Vec::new(), Vec::new());
        let random = Random::new(seed);
        self.heirs = Some(Heirs { random, heir, checkpoint, log, decided, successions: 0, replays: 0 });
        self
    }

    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Decision>) {
        let from = out.len();
        self.original.handle(now, event, out);
        if let Some(heirs) = &mut self.heirs {
            heirs.follow(now, event, &out[from..], &self.original);
        }
    }

    pub fn original(&self) -> &LockManager {
        &self.original
    }

    /// Compares everything once more.
    pub fn finish(mut self, now: Timestamp) -> Handovers {
        let Some(heirs) = &mut self.heirs else { return Handovers::default() };
        assert_eq!(heirs.heir.view(now), self.original.view(now));
        assert!(heirs.heir.save() == self.original.save(), "the heir's state differs in the end");
        heirs.replay(&self.original);
        Handovers { successions: heirs.successions, replays: heirs.replays }
    }
}

impl Heirs {
    fn follow(&mut self, now: Timestamp, event: Event, decided: &[Decision], original: &LockManager) {
        let mut buffer = [0; MAX_ENCODED_EVENT];
        self.log.extend_from_slice(encode_event(now, &event, &mut buffer));
        self.decided.extend_from_slice(decided);
        let mut out = Vec::new();
        self.heir.handle(now, event, &mut out);
        assert_eq!(out, decided, "the heir decides otherwise on {event:?}");
        assert_eq!(self.heir.next_deadline(), original.next_deadline(), "after {event:?}");
        if self.random.once_in(8) {
            let saved = self.heir.save();
            self.heir = LockManager::restore(&saved).expect("a saved state restores");
            assert!(self.heir.save() == saved, "a state that was saved and restored is saved as the same bytes");
            assert_eq!(self.heir.view(now), original.view(now));
            assert_eq!(self.heir.running_transactions(), original.running_transactions());
            self.successions += 1;
        }
        if self.random.once_in(50) {
            self.replay(original);
        }
        if self.random.once_in(100) {
            self.checkpoint = original.save();
            self.log.clear();
            self.decided.clear();
        }
    }

    /// From the last checkpoint through the log to now.
    fn replay(&mut self, original: &LockManager) {
        let mut manager = LockManager::restore(&self.checkpoint).expect("a checkpoint restores");
        let (mut log, mut decided) = (self.log.as_slice(), Vec::new());
        while !log.is_empty() {
            let (now, event, taken) = decode_event(log).expect("the log has whole events");
            manager.handle(now, event, &mut decided);
            log = &log[taken..];
        }
        assert_eq!(decided, self.decided, "the replay decides otherwise");
        assert!(manager.save() == original.save(), "the replay ends in another state");
        self.replays += 1;
    }
}
