//! What a process has done on a database, and what its next read start is likely to become.

use serde::{Deserialize, Serialize};

use crate::lock::Pid;

use super::Timestamp;

/// After this many transactions in a row that only read, a process is a reader: connections of the usual libraries run a
/// handful of PRAGMA and schema reads before their first write.
const READER_AFTER: u32 = 64;
/// One that was seen to read so often between two writes is no reader before it has read so many times as often: whoever
/// writes after every tenth read now and then reads sixty times in between, and would be refused at the end of them.
const LONGER_THAN_EVER: u32 = 4;
/// Longer rows of reads between two writes are not waited for.
const MOST_BETWEEN: u32 = 1_024;
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
/// 56 bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// Transactions since the last that only read, and since the last that wrote.
    wrote_in_a_row: u32,
    read_in_a_row: u32,
    /// Most reads in a row that ended with a write.
    longest_between: u32,
    claim_until: Option<Timestamp>,
    /// When it last let go of a transaction that wrote; none once it has come back.
    wrote_until: Option<Timestamp>,
    /// It took its time after that, or is not known to come straight back: many write once and are gone.
    dawdles: bool,
}

impl Process {
    pub(super) fn new(pid: Pid) -> Self {
        Self {
            pid,
            wrote_in_a_row: 0,
            read_in_a_row: 0,
            longest_between: 0,
            claim_until: None,
            wrote_until: None,
            dawdles: true,
        }
    }

    pub(super) fn ended_transaction(&mut self, wrote: bool, now: Timestamp) {
        self.wrote_until = wrote.then_some(now);
        if wrote {
            self.longest_between = self.longest_between.max(self.read_in_a_row.min(MOST_BETWEEN));
            (self.wrote_in_a_row, self.read_in_a_row) = (self.wrote_in_a_row.saturating_add(1), 0);
        } else {
            (self.wrote_in_a_row, self.read_in_a_row) = (0, self.read_in_a_row.saturating_add(1));
        }
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
        if self.has_claim(now) || self.wrote_in_a_row >= WRITER_AFTER {
            Intent::Writer
        } else if self.read_in_a_row >= READER_AFTER.max(self.longest_between * LONGER_THAN_EVER) {
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
        assert_eq!(after(&[false; 63]), Intent::Unknown);
        assert_eq!(after(&[false; 64]), Intent::Reader);
        assert_eq!(after(&[true; 4]), Intent::Writer);
        assert_eq!(after(&[true, true, true, false]), Intent::Unknown);
        assert_eq!(after(&[[true].as_slice(), &[false; 64]].concat()), Intent::Reader);
    }

    #[test]
    fn who_reads_long_between_its_writes_is_no_reader_for_longer() {
        let mixed = [[false; 60].as_slice(), &[true]].concat();
        assert_eq!(after(&[mixed.as_slice(), &[false; 239]].concat()), Intent::Unknown);
        assert_eq!(after(&[mixed.as_slice(), &[false; 240]].concat()), Intent::Reader);
        let rare = [[false; 3_000].as_slice(), &[true]].concat();
        assert_eq!(
            after(&[rare.as_slice(), &[false; 4_096]].concat()),
            Intent::Reader,
            "it is not remembered for ever"
        );
    }

    #[test]
    fn who_takes_its_time_is_known_until_it_comes_straight_back() {
        let mut process = Process::new(Pid(1));
        assert!(process.dawdles(), "nothing is known yet");
        process.ended_transaction(true, Timestamp(50));
        process.begins(Timestamp(60), 10);
        assert!(!process.dawdles());
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
