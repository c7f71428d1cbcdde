//! What a process has done on a database, and what its next read start is likely to become.

use serde::{Deserialize, Serialize};

use crate::lock::Pid;

use super::Timestamp;

/// After this many transactions in a row that only read, a process is a reader: connections of the usual libraries run a
/// handful of PRAGMA and schema reads before their first write.
const READER_AFTER: u32 = 16;
/// After this many transactions in a row that all wrote, a process is a writer.
const WRITER_AFTER: u32 = 4;

/// What a read start is likely to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Intent {
    /// It only reads: it needs no turn.
    Reader,
    /// It may write: it takes the turn, and is not held longer than a reader may be.
    Unknown,
    /// It writes: it takes the turn, and waits as long as the deadline allows.
    Writer,
}

/// One process on one database.
///
/// # Layout
/// 48 bytes; bit i of `wrote` tells of the transaction i before the last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: Pid,
    wrote: u32,
    transactions: u32,
    claim_until: Option<Timestamp>,
    /// When it last let go of a transaction that wrote; none once it has come back.
    wrote_until: Option<Timestamp>,
    /// After that it took its time.
    dawdles: bool,
}

impl Process {
    pub(super) fn new(pid: Pid) -> Self {
        Self { pid, wrote: 0, transactions: 0, claim_until: None, wrote_until: None, dawdles: false }
    }

    pub(super) fn ended_transaction(&mut self, wrote: bool, now: Timestamp) {
        self.wrote_until = wrote.then_some(now);
        self.wrote = self.wrote << 1 | u32::from(wrote);
        self.transactions = (self.transactions + 1).min(u32::BITS);
    }

    /// It begins a transaction, `gap_ns` or less after the last if it came straight back.
    pub(super) fn begins(&mut self, now: Timestamp, gap_ns: u64) {
        if let Some(until) = self.wrote_until.take() {
            self.dawdles = now.since(until) > gap_ns;
        }
    }

    /// Whether it took its time after the last transaction that wrote: a turn kept for it would only be lost time.
    pub(super) fn dawdles(&self) -> bool {
        self.dawdles
    }

    /// A refused writer keeps its place in line until `until`.
    pub(super) fn claim(&mut self, until: Timestamp) {
        self.claim_until = Some(until);
    }

    pub(super) fn end_claim(&mut self) {
        self.claim_until = None;
    }

    pub(super) fn has_claim(&self, now: Timestamp) -> bool {
        self.claim_until.is_some_and(|until| until > now)
    }

    pub(super) fn intent(&self, now: Timestamp) -> Intent {
        let last = |count: u32| self.wrote & ((1 << count) - 1);
        if self.has_claim(now) || self.transactions >= WRITER_AFTER && last(WRITER_AFTER) == (1 << WRITER_AFTER) - 1 {
            Intent::Writer
        } else if self.transactions >= READER_AFTER && last(READER_AFTER) == 0 {
            Intent::Reader
        } else {
            Intent::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(transactions: &[bool]) -> Intent {
        let mut process = Process::new(Pid(1));
        transactions.iter().for_each(|wrote| process.ended_transaction(*wrote, Timestamp(0)));
        process.intent(Timestamp(0))
    }

    #[test]
    fn intent_follows_what_was_done() {
        assert_eq!(after(&[]), Intent::Unknown);
        assert_eq!(after(&[false; 15]), Intent::Unknown);
        assert_eq!(after(&[false; 16]), Intent::Reader);
        assert_eq!(after(&[true; 4]), Intent::Writer);
        assert_eq!(after(&[true, true, true, false]), Intent::Unknown);
        assert_eq!(after(&[[true].as_slice(), &[false; 16]].concat()), Intent::Reader);
    }

    #[test]
    fn who_takes_its_time_is_known_until_it_comes_straight_back() {
        let mut process = Process::new(Pid(1));
        assert!(!process.dawdles(), "nothing is known yet");
        process.ended_transaction(true, Timestamp(100));
        process.begins(Timestamp(111), 10);
        assert!(process.dawdles());
        process.begins(Timestamp(112), 10);
        assert!(process.dawdles(), "a retry is no new transaction");
        process.ended_transaction(true, Timestamp(200));
        process.begins(Timestamp(210), 10);
        assert!(!process.dawdles());
    }

    #[test]
    fn a_claim_makes_a_writer_until_it_expires() {
        let mut process = Process::new(Pid(1));
        process.claim(Timestamp(10));
        assert_eq!(process.intent(Timestamp(9)), Intent::Writer);
        assert_eq!(process.intent(Timestamp(10)), Intent::Unknown);
    }
}
