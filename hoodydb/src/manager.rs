//! The lock manager: events in, decisions out.

pub mod view;

use serde::{Deserialize, Serialize};

/// How the requests for one database are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Writers take turns; readers pass (the default).
    #[default]
    Turn,
    /// One transaction at a time, readers included.
    Serial,
    /// No queue: every conflict is answered at once, as on any POSIX file system.
    Posix,
}

/// Nanoseconds on a monotonic clock of the caller's choice; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// One request that waits for its answer: the `unique` of the FUSE request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What one lock call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockCall {
    /// The file.
    pub file: FileId,
    /// The kernel's lock owner.
    pub owner: LockOwner,
    /// The open file description it came through.
    pub handle: Handle,
    /// The process (0 in unlocks).
    pub pid: Pid,
    /// The calling thread.
    pub tid: Tid,
    /// The bytes.
    pub range: ByteRange,
    /// Read or write; `None` unlocks.
    pub kind: Option<LockKind>,
    /// `F_SETLKW`: the caller is ready to wait without limit.
    pub wait: bool,
}
use crate::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
