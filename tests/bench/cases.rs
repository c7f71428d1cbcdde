//! What is measured: each case with its work, its processes and its end. Called by [`crate::run`] and the report.

use serde::{Deserialize, Serialize};

use crate::peers::Peer;

/// How a database keeps its transactions; PostgreSQL gets the same durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Journal {
    /// `journal_mode=WAL, synchronous=NORMAL`: a crash of the machine may lose the last commits.
    WalNormal,
    /// `journal_mode=WAL, synchronous=FULL`: each commit is on the disk.
    WalFull,
    /// `journal_mode=DELETE, synchronous=FULL`: SQLite's default; each commit is on the disk.
    DeleteFull,
}

impl Journal {
    /// SQLite's name of the journal mode.
    pub fn mode(self) -> &'static str {
        if self == Self::DeleteFull { "delete" } else { "wal" }
    }

    /// SQLite's name of the synchronous setting.
    pub fn synchronous(self) -> &'static str {
        if self == Self::WalNormal { "NORMAL" } else { "FULL" }
    }

    /// Whether a commit waits for the disk.
    pub fn is_durable(self) -> bool {
        self != Self::WalNormal
    }
}

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// One row by its key, autocommit.
    Select,
    /// One row, autocommit.
    Insert,
    /// BEGIN IMMEDIATE, one row, COMMIT.
    WriteTransaction,
    /// Nine times of ten a [`Work::Select`], else a [`Work::Insert`].
    Mixed,
    /// BEGIN IMMEDIATE, ten rows read and ten written in turn, COMMIT.
    TenAndTen,
    /// 100,000 rows written in one transaction.
    Bulk,
    /// 200 MB of rows read.
    Scan,
    /// Connect, one row by its key, disconnect.
    Open,
    /// The same by the command-line shell, a process of its own.
    Shell,
}

impl Work {
    /// Whether an operation that is not mixed writes.
    pub fn writes(self) -> bool {
        matches!(self, Self::Insert | Self::WriteTransaction | Self::TenAndTen | Self::Bulk)
    }
}

/// When a client stops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// At the first operation that would begin later.
    Seconds(f64),
    /// After as many, failed ones included.
    Operations(u64),
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// As `--only` and the results name it.
    pub name: &'static str,
    /// For readers of the report.
    pub about: &'static str,
    /// Of its database.
    pub journal: Journal,
    /// What its processes do.
    pub work: Work,
    /// How many do it, one run of the case each.
    pub processes: Vec<u32>,
    /// How many others only read.
    pub readers: u32,
    /// Between operations.
    pub think_ms: u64,
    /// When each stops.
    pub end: End,
    /// Rounds, each with every peer.
    pub rounds: u32,
    /// Whether the file is evicted from the page cache before.
    pub cold: bool,
    /// Those that take part.
    pub peers: &'static [Peer],
}

/// A wait for a lock cannot happen, so the busy timeout does not matter.
const ALONE: &[Peer] = &[Peer::Mount, Peer::Disk, Peer::Postgres];
/// Both busy timeouts.
const CONTENDED: &[Peer] = &[Peer::Mount, Peer::MountAtOnce, Peer::Disk, Peer::DiskAtOnce, Peer::Postgres];
/// PostgreSQL has a cache of its own, which only a restart empties.
const FILES: &[Peer] = &[Peer::Mount, Peer::Disk];

/// All cases of a run.
pub fn all(quick: bool) -> Vec<Case> {
    [alone(quick), contended(quick)].concat()
}

/// One process: a fixed number of operations each.
fn alone(quick: bool) -> Vec<Case> {
    use Journal::{DeleteFull, WalFull, WalNormal};
    let case = |name, about, journal, work, operations: u64| Case {
        name,
        about,
        journal,
        work,
        processes: vec![1],
        readers: 0,
        think_ms: 0,
        end: End::Operations(if quick { operations.div_ceil(5) } else { operations }),
        rounds: if quick { 2 } else { 5 },
        cold: false,
        peers: ALONE,
    };
    let scan = case("scan-warm", "200 MB read by one query, file in the page cache", DeleteFull, Work::Scan, 4);
    let shell_wal = case("shell-wal", "`sqlite3 DB 'SELECT ..'` (PostgreSQL: psql), WAL", WalNormal, Work::Shell, 150);
    vec![
        case("select-wal", "one row by its key, autocommit, WAL", WalNormal, Work::Select, 20_000),
        case("select-delete", "one row by its key, autocommit, rollback journal", DeleteFull, Work::Select, 20_000),
        case("insert-wal-normal", "one row, autocommit", WalNormal, Work::Insert, 10_000),
        case("insert-wal-full", "one row, autocommit", WalFull, Work::Insert, 2_000),
        case("insert-delete-full", "one row, autocommit", DeleteFull, Work::Insert, 1_000),
        case("mixed-wal-normal", "nine SELECTs to one INSERT, autocommit", WalNormal, Work::Mixed, 20_000),
        case("ten-and-ten", "BEGIN IMMEDIATE, 10 SELECTs and 10 INSERTs, COMMIT", WalNormal, Work::TenAndTen, 2_000),
        case("bulk-wal-normal", "100,000 rows in one transaction", WalNormal, Work::Bulk, 3),
        case("bulk-delete-full", "100,000 rows in one transaction", DeleteFull, Work::Bulk, 3),
        scan.clone(),
        Case {
            name: "scan-cold",
            about: "200 MB read by one query, file not in the page cache",
            end: End::Operations(1),
            cold: true,
            peers: FILES,
            ..scan
        },
        case("open-wal", "connect, one row, disconnect, by library call, WAL", WalNormal, Work::Open, 500),
        case("open-delete", "connect, one row, disconnect, by library call, rollback", DeleteFull, Work::Open, 500),
        shell_wal.clone(),
        Case {
            name: "shell-delete",
            about: "`sqlite3 DB 'SELECT ..'` (PostgreSQL: psql), rollback journal",
            journal: DeleteFull,
            ..shell_wal
        },
    ]
}

/// Several processes on one database: a fixed time each.
fn contended(quick: bool) -> Vec<Case> {
    use Journal::{DeleteFull, WalFull, WalNormal};
    let counts: &[u32] = if quick { &[1, 8] } else { &[1, 2, 4, 8, 32] };
    let case = |name, about, journal, work| Case {
        name,
        about,
        journal,
        work,
        processes: counts.to_vec(),
        readers: 0,
        think_ms: 0,
        end: End::Seconds(if quick { 0.4 } else { 1.5 }),
        rounds: if quick { 2 } else { 3 },
        cold: false,
        peers: CONTENDED,
    };
    let many = |case: Case| Case { processes: case.processes.into_iter().filter(|count| *count > 1).collect(), ..case };
    let select = case("select-wal", "one row by its key, autocommit, WAL", WalNormal, Work::Select);
    let mixed = case("mixed-wal-normal", "nine SELECTs to one INSERT, autocommit", WalNormal, Work::Mixed);
    let think = |name, journal| Case {
        processes: vec![8],
        think_ms: 10,
        end: End::Seconds(if quick { 0.6 } else { 2.0 }),
        rounds: if quick { 2 } else { 5 },
        ..case(name, "BEGIN IMMEDIATE, one INSERT, COMMIT, then a pause of 10 ms", journal, Work::WriteTransaction)
    };
    let both = |name, journal| Case {
        processes: vec![2],
        readers: 4,
        rounds: if quick { 2 } else { 5 },
        ..case(name, "4 processes SELECT, 2 BEGIN IMMEDIATE, INSERT, COMMIT", journal, Work::WriteTransaction)
    };
    let writers = |name, journal| Case {
        rounds: if quick { 2 } else { 5 },
        ..case(name, "BEGIN IMMEDIATE, one INSERT, COMMIT, without a pause", journal, Work::WriteTransaction)
    };
    vec![
        Case { peers: ALONE, ..many(select) },
        many(mixed),
        writers("writers-wal-normal", WalNormal),
        writers("writers-wal-full", WalFull),
        writers("writers-delete-full", DeleteFull),
        think("think-wal-normal", WalNormal),
        think("think-wal-full", WalFull),
        think("think-delete-full", DeleteFull),
        both("readers-writers-wal", WalNormal),
        both("readers-writers-delete", DeleteFull),
    ]
}

/// What a case is, for readers.
pub fn about(name: &str) -> &'static str {
    all(false).iter().find(|case| case.name == name).map_or("", |case| case.about)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_case_is_measured_twice() {
        for quick in [false, true] {
            let mut seen = BTreeSet::new();
            for case in all(quick) {
                for processes in &case.processes {
                    assert!(seen.insert((case.name, *processes)), "{} with {processes} processes", case.name);
                }
            }
        }
    }
}
