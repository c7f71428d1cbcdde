//! Byte-range records of one file, exactly as POSIX describes them: the words that every room shares, and the table.
//!
//! Called by [`crate::manager`]; it knows ranges, owners and kinds, and never SQLite, time or a queue.

use serde::{Deserialize, Serialize};

mod range;
pub(crate) mod small_map;
mod table;

pub use range::ByteRange;
pub use table::{Conflict, Holder, LockTable, Origin, Record};

/// A file, by the identity of its backing file (`st_dev`, `st_ino`): hard links and renames do not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// `st_dev` of the backing file.
    pub dev: u64,
    /// `st_ino` of the backing file; also the inode number that the mount shows.
    pub ino: u64,
}

/// The kernel's lock owner: one per descriptor table (`fuse_lk_in.owner`, a hash of `current->files`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LockOwner(pub u64);

/// An open file description on the mount (`fh` of FUSE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(pub u64);

/// A process (thread group) id in the daemon's pid namespace; 0 where the kernel does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid(pub u32);

/// A thread id in the daemon's pid namespace (the FUSE header's `pid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tid(pub u32);

/// What a record does to others: `F_RDLCK` or `F_WRLCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LockKind {
    /// `F_RDLCK`: shared with other read locks.
    Read,
    /// `F_WRLCK`: alone.
    Write,
}
