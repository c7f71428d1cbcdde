//! The lock bytes of a database file and of its WAL index, and what a call on them means.
//!
//! # Layout
//! ```text
//! database   PENDING 0x40000000   RESERVED +1   SHARED +2 .. +512 (510 bytes)
//! -shm       WRITE 120  CKPT 121  RECOVER 122  READ0..READ4 123..127  DMS 128
//! ```
//!
//! # Source
//! os.h (`PENDING_BYTE`, `RESERVED_BYTE`, `SHARED_FIRST`, `SHARED_SIZE`), wal.c (`WAL_*_LOCK`), os_unix.c
//! (`UNIX_SHM_BASE`, `UNIX_SHM_DMS`).

use serde::{Deserialize, Serialize};

use crate::lock::{ByteRange, LockKind, Record};

/// Where the lock bytes of database files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockBytes {
    pending: u64,
}

impl Default for LockBytes {
    fn default() -> Self {
        Self::at(0x4000_0000)
    }
}

/// What a lock call on a database file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseCall {
    /// `r PENDING`: the caller's copy of SQLite holds nothing and starts to read.
    ReadStart,
    /// `r SHARED`, and the downgrade to it.
    Shared,
    /// `w RESERVED`: a transaction wants to write.
    Reserve,
    /// `w PENDING`, `w SHARED` or both: readers must go.
    Exclude,
    /// An unlock.
    Unlock,
    /// Any other lock.
    Other,
}

impl LockBytes {
    /// Lock bytes with PENDING at another offset, as SQLite's own test build has it (0x10000).
    pub const fn at(pending: u64) -> Self {
        Self { pending }
    }

    /// Whether files can be that long.
    pub const fn are_valid(self) -> bool {
        self.pending <= ByteRange::END_OF_FILE - 512
    }

    const fn bytes(self, from: u64, length: u64) -> ByteRange {
        match ByteRange::new(self.pending + from, self.pending + from + length) {
            Some(range) => range,
            None => ByteRange::ALL,
        }
    }

    /// All 512 lock bytes.
    pub const fn all(self) -> ByteRange {
        self.bytes(0, 512)
    }

    /// PENDING.
    pub const fn pending(self) -> ByteRange {
        self.bytes(0, 1)
    }

    /// RESERVED.
    pub const fn reserved(self) -> ByteRange {
        self.bytes(1, 1)
    }

    /// SHARED.
    pub const fn shared(self) -> ByteRange {
        self.bytes(2, 510)
    }

    /// What a call means.
    pub fn classify(self, range: ByteRange, kind: Option<LockKind>) -> DatabaseCall {
        let Some(kind) = kind else { return DatabaseCall::Unlock };
        if !self.all().contains(range) {
            return DatabaseCall::Other;
        }
        match kind {
            LockKind::Read if range == self.pending() => DatabaseCall::ReadStart,
            LockKind::Read if range.overlaps(self.shared()) => DatabaseCall::Shared,
            LockKind::Write if range == self.reserved() => DatabaseCall::Reserve,
            LockKind::Write => DatabaseCall::Exclude,
            LockKind::Read => DatabaseCall::Other,
        }
    }

    /// SQLite's name of what a call asks for.
    pub fn call_role(self, range: ByteRange, kind: LockKind) -> &'static str {
        match (self.classify(range, Some(kind)), kind) {
            (DatabaseCall::ReadStart | DatabaseCall::Shared, _) => "SHARED",
            (DatabaseCall::Reserve, _) => "RESERVED",
            (DatabaseCall::Exclude, _) if range == self.pending() => "PENDING",
            (DatabaseCall::Exclude, _) => "EXCLUSIVE",
            (_, LockKind::Read) => "READ",
            (_, LockKind::Write) => "WRITE",
        }
    }

    /// SQLite's name of the lock state that a domain's records on the database file add up to.
    pub fn role(self, records: &[Record]) -> &'static str {
        let has = |kind, bytes: ByteRange| records.iter().any(|r| r.kind == kind && r.range.overlaps(bytes));
        if has(LockKind::Write, self.shared()) {
            "EXCLUSIVE"
        } else if has(LockKind::Write, self.pending()) {
            "PENDING"
        } else if has(LockKind::Write, self.reserved()) {
            "RESERVED"
        } else if has(LockKind::Read, self.shared()) {
            "SHARED"
        } else if has(LockKind::Read, self.pending()) {
            "OPENING"
        } else {
            "BYTES"
        }
    }
}

/// What a lock call on a WAL index asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalIndexCall {
    /// A lock on one read mark: a read start, if its holder has nothing yet.
    ReadMark,
    /// `w WRITE`.
    Write,
    /// The "dead man switch" byte.
    DeadManSwitch,
    /// CKPT, RECOVER, and marks taken by the range.
    Other,
    /// An unlock.
    Unlock,
}

/// First byte of the WAL index's locks: WRITE.
const WRITE: u64 = 120;
/// READ0; READ1 to READ4 follow.
const READ0: u64 = 123;
/// The dead man switch.
const DMS: u64 = 128;

/// The bytes of the WAL index's locks.
pub mod wal_index {
    use super::{ByteRange, DMS, READ0, WRITE, WalIndexCall};
    use crate::lock::{LockKind, Record};

    const fn bytes(from: u64, to: u64) -> ByteRange {
        match ByteRange::new(from, to) {
            Some(range) => range,
            None => ByteRange::ALL,
        }
    }

    /// Every lock byte.
    pub const ALL: ByteRange = bytes(WRITE, DMS + 1);
    /// What a transaction or a checkpoint holds: everything but DMS.
    pub const TRANSACTION: ByteRange = bytes(WRITE, DMS);
    /// WRITE.
    pub const WRITE_BYTE: ByteRange = bytes(WRITE, WRITE + 1);
    /// READ0 to READ4.
    pub const MARKS: ByteRange = bytes(READ0, DMS);
    /// DMS.
    pub const DMS_BYTE: ByteRange = bytes(DMS, DMS + 1);

    /// What a call means.
    pub fn classify(range: ByteRange, kind: Option<LockKind>) -> WalIndexCall {
        let Some(kind) = kind else { return WalIndexCall::Unlock };
        if range.overlaps(DMS_BYTE) {
            WalIndexCall::DeadManSwitch
        } else if range == WRITE_BYTE && kind == LockKind::Write {
            WalIndexCall::Write
        } else if MARKS.contains(range) && range.end() - range.start() == 1 {
            WalIndexCall::ReadMark
        } else {
            WalIndexCall::Other
        }
    }

    /// SQLite's name of a byte range of the WAL index.
    pub fn role(range: ByteRange) -> &'static str {
        match range.start() {
            WRITE => "WRITE",
            121 => "CKPT",
            122 => "RECOVER",
            READ0 => "READ0",
            124 => "READ1",
            125 => "READ2",
            126 => "READ3",
            127 => "READ4",
            DMS => "DMS",
            _ => "BYTES",
        }
    }

    /// SQLite's name of a record.
    pub fn record_role(record: &Record) -> &'static str {
        role(record.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_real_library_are_named() {
        let bytes = LockBytes::default();
        let range =
            |start: u64, length: u64| ByteRange::new(0x4000_0000 + start, 0x4000_0000 + start + length).unwrap();
        assert_eq!(bytes.classify(range(0, 1), Some(LockKind::Read)), DatabaseCall::ReadStart);
        assert_eq!(bytes.classify(range(2, 510), Some(LockKind::Read)), DatabaseCall::Shared);
        assert_eq!(bytes.classify(range(1, 1), Some(LockKind::Write)), DatabaseCall::Reserve);
        assert_eq!(bytes.classify(range(0, 1), Some(LockKind::Write)), DatabaseCall::Exclude);
        assert_eq!(bytes.classify(range(0, 2), None), DatabaseCall::Unlock);
        assert_eq!(bytes.classify(ByteRange::new(0, 1).unwrap(), Some(LockKind::Write)), DatabaseCall::Other);
        let byte = |at| ByteRange::new(at, at + 1).unwrap();
        assert_eq!(wal_index::classify(byte(124), Some(LockKind::Write)), WalIndexCall::ReadMark);
        assert_eq!(wal_index::classify(ByteRange::new(124, 128).unwrap(), Some(LockKind::Write)), WalIndexCall::Other);
        assert_eq!(wal_index::classify(byte(120), Some(LockKind::Write)), WalIndexCall::Write);
        assert_eq!(wal_index::classify(byte(128), Some(LockKind::Read)), WalIndexCall::DeadManSwitch);
    }
}
