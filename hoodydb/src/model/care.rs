//! What the commands that care for databases answer: backup, restore, vacuum, check, db; and the manifest beside a backup.
//!
//! Filled by [`crate::cli`] and [`crate::archive`], drawn by [`crate::render`]. The same rules as for the rest of the schema.

use serde::{Deserialize, Serialize};

use super::ProcessName;

/// Answer of `hoodydb backup --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackupAnswer {
    /// What was backed up.
    pub backups: Vec<Backup>,
    /// What could not be.
    pub failed: Vec<FailedDatabase>,
}

/// One backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The file.
    pub file: String,
    /// What it is.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// From the first look at the database to the last rename.
    pub duration_ms: u64,
    /// The copying alone.
    pub copy_ms: u64,
    /// How often the copy began anew because somebody wrote.
    pub restarts: u32,
    /// How long writers were kept out.
    pub held_ms: u64,
    /// How long the disk was left to others, who wrote meanwhile.
    pub rested_ms: u64,
    /// Older backups that were removed.
    pub removed: Vec<String>,
}

/// A database with which it did not work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDatabase {
    /// Its path below the mount point.
    pub database: String,
    /// Why, in one line.
    pub error: String,
}

/// What a backup is: the file `BACKUP.json` beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: 1.
    pub version: u32,
    /// Where the database was mounted.
    pub mountpoint: String,
    /// Its path below the mount point.
    pub database: String,
    /// When it was copied, as `2026-11-23T16:04:05.123Z`.
    pub created: String,
    /// The same in milliseconds since 1970.
    pub created_ms: u64,
    /// The database, uncompressed.
    pub size_bytes: u64,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub pages: u64,
    /// SQLite's name of the journal mode.
    pub journal_mode: String,
    /// `none` or `zstd`.
    pub compression: String,
    /// The file as it lies there.
    pub file_bytes: u64,
    /// SHA-256 of the file as it lies there, in hexadecimal digits.
    pub sha256: String,
    /// What was checked before it was given its name: `full` (integrity_check), `quick` (quick_check) or `none`.
    pub verified: String,
    /// The SQLite that copied it.
    pub sqlite_version: String,
    /// The hoodydb that copied it.
    pub hoodydb_version: String,
}

/// Answer of `hoodydb restore --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreAnswer {
    /// The backup.
    pub file: String,
    /// The mount.
    pub mountpoint: String,
    /// The database below it.
    pub database: String,
    /// Its size now.
    pub size_bytes: u64,
    /// Pages of it.
    pub pages: u64,
    /// From the first look at the backup to the end.
    pub duration_ms: u64,
    /// Where a damaged database was put aside; null where the content was replaced in place.
    pub put_aside: Option<String>,
}

/// Answer of `hoodydb vacuum --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VacuumAnswer {
    /// What was vacuumed, or passed over.
    pub databases: Vec<Vacuumed>,
    /// What could not be.
    pub failed: Vec<FailedDatabase>,
}

/// One database that was vacuumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuumed {
    /// Its path below the mount point.
    pub database: String,
    /// Its size before.
    pub before_bytes: u64,
    /// Its size after, or that of the copy (`--into`).
    pub after_bytes: u64,
    /// Pages that were free before.
    pub free_pages: u64,
    /// All pages before.
    pub pages: u64,
    /// Room that it was found to need beside the database.
    pub needed_bytes: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The copy that was made instead (`--into`); else null.
    pub into: Option<String>,
    /// Whether it was passed over, as too little of it is free (`--if-free`).
    pub skipped: bool,
}

/// Answer of `hoodydb check --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// What was checked.
    pub databases: Vec<Checked>,
}

/// One database that was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Its path below the mount point.
    pub database: String,
    /// The worst finding: `sound`, `warning`, `damaged` or `unknown` (it could not be checked).
    pub verdict: String,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// Size of the file.
    pub size_bytes: u64,
    /// Size of its write-ahead log.
    pub wal_bytes: u64,
    /// Size of its rollback journal.
    pub journal_bytes: u64,
    /// SQLite's name of the journal mode.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub pages: u64,
    /// Pages that hold nothing.
    pub free_pages: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// Something that a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// `warning`, `damaged` or `unknown`.
    pub level: String,
    /// In words.
    pub what: String,
}

/// Answer of `hoodydb db list --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseList {
    /// One element per live mount.
    pub mounts: Vec<MountDatabases>,
}

/// The databases of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountDatabases {
    /// Where it is mounted.
    pub mountpoint: String,
    /// In the order of their paths.
    pub databases: Vec<DatabaseFacts>,
}

/// What `hoodydb db list` shows of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Its path below the mount point.
    pub path: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Size of its write-ahead log.
    pub wal_bytes: u64,
    /// SQLite's name of the journal mode; `unknown` where it cannot be read.
    pub journal_mode: String,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub pages: u64,
    /// Pages that hold nothing.
    pub free_pages: u64,
    /// Tables, without SQLite's own.
    pub tables: u64,
    /// When the file or its log was last written, in seconds since 1970.
    pub last_write_s: u64,
    /// The same as seconds before now.
    pub last_write_age_s: u64,
    /// Who has it open.
    pub users: Vec<ProcessName>,
    /// Why the rest is not known; null if it is.
    pub error: Option<String>,
}
