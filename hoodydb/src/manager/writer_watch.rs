//! Whether a long WAL write transaction is long by itself, or only starved of a processor or the disk.
//!
//! Behind a write transaction, a domain that may be a reader is let in after the bounded hold. On a loaded machine a short
//! transaction may take that long through no fault of its own, and a writer that is let in to read would be refused for
//! nothing. So the writer's thread is looked at twice, in the middle and at the end of the hold; if it was starved in
//! between, the hold is prolonged by half, up to [`super::Config::starved_max_ns`] in all.
//!
//! ```text
//!   since        +hold/2         +hold          +probe
//!     |-------------|--------------|--------------|
//!             first look     second look      no answer: settled
//!                            starved: since = now - hold/2, one look done
//!                            else:    settled, waiters go
//! ```

use serde::{Deserialize, Serialize};

use super::{Activity, Config, Timestamp};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct WriterWatch {
    /// When the writer got its lock: tells one write transaction from the next.
    writer_at: Timestamp,
    since: Timestamp,
    looks: u8,
    settled: bool,
}

impl WriterWatch {
    /// Begins when the first domain that may be a reader waits behind the writer.
    pub(super) fn new(writer_at: Timestamp, first_arrival: Timestamp) -> Self {
        Self { writer_at, since: writer_at.max(first_arrival), looks: 0, settled: false }
    }

    /// Whether it watches the transaction that got its lock then.
    pub(super) fn is_of(&self, writer_at: Timestamp) -> bool {
        self.writer_at == writer_at
    }

    /// When a waiter that came at `arrived` may go, if the watch is settled by then.
    pub(super) fn due(&self, arrived: Timestamp, config: &Config) -> Timestamp {
        self.since.max(arrived).plus(config.reader_hold_ns)
    }

    /// Whether a waiter that came at `arrived` may go.
    pub(super) fn is_over(&self, arrived: Timestamp, now: Timestamp, config: &Config) -> bool {
        self.settled && now >= self.due(arrived, config)
    }

    /// Settles the watch once nobody answered in time.
    pub(super) fn tick(&mut self, now: Timestamp, config: &Config) {
        self.settled |= now >= self.since.plus(config.reader_hold_ns + config.probe_ns);
    }

    /// When something is to be done next, waiters that are due left out; `None` once it is settled.
    pub(super) fn next(&self, config: &Config) -> Option<Timestamp> {
        let hold_ns = config.reader_hold_ns;
        match (self.settled, self.looks) {
            (true, _) => None,
            (false, 0) => Some(self.since.plus(hold_ns / 2)),
            (false, 1) => Some(self.since.plus(hold_ns)),
            (false, _) => Some(self.since.plus(hold_ns + config.probe_ns)),
        }
    }

    /// Whether the writer's thread is to be looked at now; counts the look.
    pub(super) fn look(&mut self, now: Timestamp, config: &Config) -> bool {
        let due = self.looks < 2 && self.next(config).is_some_and(|at| at <= now);
        self.looks += u8::from(due);
        due
    }

    /// What a look showed.
    pub(super) fn saw(&mut self, activity: Activity, now: Timestamp, config: &Config) {
        if self.settled || self.looks < 2 {
            return;
        }
        if activity == Activity::Starved && now.since(self.writer_at) < config.starved_max_ns {
            self.since = Timestamp(now.0.saturating_sub(config.reader_hold_ns / 2)).max(self.since);
            self.looks = 1;
        } else {
            self.settled = true;
        }
    }

    /// The writer has no thread to look at: its length alone counts.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }
}
