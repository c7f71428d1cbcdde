//! What a range of bytes means to SQLite.
//!
//! # Source
//! os.h (`PENDING_BYTE` ..), wal.c (`WAL_*_LOCK`), os_unix.c (`UNIX_SHM_BASE`, `UNIX_SHM_DMS`).

/// Bytes that mean nothing to SQLite.
pub const BYTES: u32 = 0;
/// `r PENDING`: a transaction begins.
pub const OPENING: u32 = 1;
/// `r SHARED`.
pub const SHARED: u32 = 2;
/// `w RESERVED`.
pub const RESERVED: u32 = 3;
/// `w PENDING`.
pub const PENDING: u32 = 4;
/// `w SHARED`.
pub const EXCLUSIVE: u32 = 5;
/// Byte 120 of a WAL index; the other eight follow.
pub const WRITE: u32 = 6;
/// How many there are.
pub const COUNT: u32 = 15;

/// The names, as `hoodydb locks` shows them.
pub const NAMES: [&str; COUNT as usize] = [
    "BYTES",
    "OPENING",
    "SHARED",
    "RESERVED",
    "PENDING",
    "EXCLUSIVE",
    "WRITE",
    "CKPT",
    "RECOVER",
    "READ0",
    "READ1",
    "READ2",
    "READ3",
    "READ4",
    "DMS",
];

/// First and last lock byte of a WAL index.
pub const WAL_INDEX: (u64, u64) = (120, 128);
