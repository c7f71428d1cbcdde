//! Calls at work, and locks that are held.

/// A lock call that has begun, by the thread that makes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// CLOCK_MONOTONIC.
    pub begun_ns: u64,
    /// The file as FUSE names it; 0 if the call was seen as a system call only.
    pub node: u64,
    /// The open handle.
    pub handle: u64,
    /// The lock owner as FUSE names it.
    pub owner: u64,
    /// Process id in the daemon's namespace; 0 with an unlock.
    pub pid: u32,
    /// 1 with F_SETLKW.
    pub waits: u32,
}

/// Whose locks a [`Holds`] has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldKey {
    /// The file as FUSE names it.
    pub node: u64,
    /// The lock owner as FUSE names it, [`OF_DESCRIPTION`] for a lock of an open file description.
    pub owner: u64,
    /// The open handle, [`ANY_HANDLE`] where the locks are the process's.
    pub handle: u64,
}

/// [`HoldKey::owner`] of OFD locks, which the handle owns.
pub const OF_DESCRIPTION: u64 = u64::MAX;

/// [`HoldKey::handle`] of locks that a process may let go of through any descriptor.
pub const ANY_HANDLE: u64 = u64::MAX;

/// A lock that is held.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// CLOCK_MONOTONIC of the grant; 0 for a free slot.
    pub since_ns: u64,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// The handle that it was taken through.
    pub handle: u64,
    /// As in [`RowKey`](crate::RowKey).
    pub tgid: u32,
    /// As in [`RowKey`](crate::RowKey).
    pub role: u32,
}

/// Slots of [`Holds`].
pub const HOLD_SLOTS: usize = 9;

/// The first slot for bytes that mean nothing to SQLite.
pub const FIRST_PLAIN_SLOT: usize = 3;

/// The locks of one owner on one file.
///
/// # Layout
/// Database: PENDING, RESERVED, SHARED, then six ranges of other bytes. WAL index: one slot per lock byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Inode number that the mount shows.
    pub ino: u64,
    /// The locks.
    pub slots: [Hold; HOLD_SLOTS],
}
