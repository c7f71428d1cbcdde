//! A SQLite client as a list of steps: what os_unix.c, pager.c and wal.c do with locks, and nothing else.

use hoodydb::lock::LockKind;

use crate::world::Journal;

/// What a client does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// An autocommit INSERT, or BEGIN IMMEDIATE: read start and write start back to back.
    Insert,
    /// `BEGIN; SELECT; UPDATE; COMMIT` with a little work in between.
    ReadModifyWrite,
    /// connect, INSERT, close.
    Reconnect,
    /// A transaction that only reads.
    Select { read_ns: u64 },
    /// A write transaction that works for long.
    LongWrite { work_ns: u64 },
    /// So many SELECTs, then an INSERT.
    SelectThenInsert { reads: u32 },
    /// BEGIN, SELECT, a pause asleep, UPDATE, COMMIT.
    Dawdle { pause_ns: u64 },
    /// The same with a thread that cannot go on (no processor, a slow disk) instead of one that sleeps.
    StarvedBefore { pause_ns: u64 },
    /// A write transaction whose thread cannot go on for so long.
    StarvedWrite { pause_ns: u64 },
}

/// One client.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it does.
    pub pattern: Pattern,
    /// How often.
    pub transactions: u32,
    /// How often its busy handler retries (0: busy timeout 0).
    pub busy_retries: u32,
    /// Mean pause between transactions.
    pub think_ns: u64,
}

/// Which bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    Pending,
    Reserved,
    PendingAndReserved,
    Shared,
    AllOfMain,
    Dms,
    Mark,
    WalWrite,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A lock call; refused means SQLITE_BUSY, unless `retry` says that SQLite starts to read again by itself.
    Lock {
        bytes: Bytes,
        kind: LockKind,
        retry: bool,
    },
    /// Moves an old read mark; whatever the answer, go on.
    TryMoveMark,
    Unlock(Bytes),
    /// Reads the WAL header: the snapshot of the transaction.
    ReadHeader,
    /// Compares the header after the mark is held; changed: let go and read again.
    CheckHeader,
    /// WAL: a writer with an old snapshot gets SQLITE_BUSY_SNAPSHOT.
    CheckSnapshot,
    Work {
        mean_ns: u64,
    },
    Sleep {
        ns: u64,
    },
    Starve {
        ns: u64,
    },
    Commit,
    Close,
    Think,
}

fn lock(bytes: Bytes, kind: LockKind) -> Step {
    Step::Lock { bytes, kind, retry: false }
}

/// The steps of connecting in WAL mode: SHARED and DMS stay held.
pub fn connect(journal: Journal) -> Vec<Step> {
    use LockKind::Read;
    match journal {
        Journal::Rollback => vec![],
        Journal::Wal => vec![
            lock(Bytes::Pending, Read),
            lock(Bytes::Shared, Read),
            Step::Unlock(Bytes::Pending),
            Step::Work { mean_ns: 50_000 },
            lock(Bytes::Dms, Read),
        ],
    }
}

/// The steps of transaction number `number`.
pub fn transaction(journal: Journal, pattern: Pattern, number: u32) -> Vec<Step> {
    const SHORT: Step = Step::Work { mean_ns: 400_000 };
    let mut steps = match pattern {
        Pattern::Insert => write(journal, &[Step::Work { mean_ns: 5_000 }], SHORT),
        Pattern::ReadModifyWrite => write(journal, &[Step::Work { mean_ns: 500_000 }], SHORT),
        Pattern::Select { read_ns } => read(journal, read_ns),
        Pattern::LongWrite { work_ns } => {
            write(journal, &[Step::Work { mean_ns: 5_000 }], Step::Work { mean_ns: work_ns })
        }
        Pattern::SelectThenInsert { reads } if number % (reads + 1) == reads => {
            write(journal, &[Step::Work { mean_ns: 5_000 }], SHORT)
        }
        Pattern::SelectThenInsert { .. } => read(journal, 100_000),
        Pattern::Dawdle { pause_ns } => write(journal, &[Step::Sleep { ns: pause_ns }], SHORT),
        Pattern::StarvedBefore { pause_ns } => write(journal, &[Step::Starve { ns: pause_ns }], SHORT),
        Pattern::StarvedWrite { pause_ns } => {
            write(journal, &[Step::Work { mean_ns: 5_000 }], Step::Starve { ns: pause_ns })
        }
        Pattern::Reconnect => {
            let mut steps = if number == 0 { vec![] } else { connect(journal) };
            steps.extend(write(journal, &[Step::Work { mean_ns: 5_000 }], SHORT));
            steps.push(Step::Close);
            steps
        }
    };
    steps.push(Step::Think);
    steps
}

fn read_start(journal: Journal) -> Vec<Step> {
    use LockKind::Read;
    match journal {
        Journal::Rollback => {
            vec![lock(Bytes::Pending, Read), lock(Bytes::Shared, Read), Step::Unlock(Bytes::Pending)]
        }
        Journal::Wal => vec![
            Step::ReadHeader,
            Step::TryMoveMark,
            Step::Lock { bytes: Bytes::Mark, kind: Read, retry: true },
            Step::CheckHeader,
        ],
    }
}

fn read_end(journal: Journal) -> Step {
    match journal {
        Journal::Rollback => Step::Unlock(Bytes::AllOfMain),
        Journal::Wal => Step::Unlock(Bytes::Mark),
    }
}

fn read(journal: Journal, read_ns: u64) -> Vec<Step> {
    let mut steps = read_start(journal);
    steps.push(Step::Work { mean_ns: read_ns });
    steps.push(read_end(journal));
    steps
}

fn write(journal: Journal, before: &[Step], work: Step) -> Vec<Step> {
    use LockKind::{Read, Write};
    let mut steps = read_start(journal);
    steps.extend(before);
    match journal {
        Journal::Rollback => steps.extend([
            lock(Bytes::Reserved, Write),
            work,
            lock(Bytes::Pending, Write),
            lock(Bytes::Shared, Write),
            Step::Work { mean_ns: 300_000 },
            Step::Commit,
            lock(Bytes::Shared, Read),
            Step::Unlock(Bytes::PendingAndReserved),
        ]),
        Journal::Wal => steps.extend([
            lock(Bytes::WalWrite, Write),
            Step::CheckSnapshot,
            work,
            Step::Commit,
            Step::Unlock(Bytes::WalWrite),
        ]),
    }
    steps.push(read_end(journal));
    steps
}
