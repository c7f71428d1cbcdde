//! The record table of one file.

use super::{ByteRange, LockKind, Pid};

/// A record that stands in the way of a request, as `F_GETLK` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Bytes of the record.
    pub range: ByteRange,
    /// Kind of the record.
    pub kind: LockKind,
    /// Process of the record, 0 if unknown.
    pub pid: Pid,
}
