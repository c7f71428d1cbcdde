//! Single events, and the counts of everything that found no room.

/// Kinds of [`Event`].
pub mod kind {
    /// A read lock.
    pub const READ: u8 = 0;
    /// A write lock.
    pub const WRITE: u8 = 1;
    /// An unlock.
    pub const UNLOCK: u8 = 2;
    /// A lock that ended by close or exit.
    pub const CLOSE: u8 = 3;
}

/// [`Event::flags`]: F_SETLKW.
pub const FLAG_WAITS: u8 = 1;
/// [`Event::flags`]: the owner is an open file description.
pub const FLAG_OF_DESCRIPTION: u8 = 2;

/// One lock call that ended, or one lock that ended by close or exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number: 1, 2, 3 .. for as long as the programs are loaded, also for those that found no room.
    pub number: u64,
    /// CLOCK_MONOTONIC of its end.
    pub ended_ns: u64,
    /// Inode number that the mount shows.
    pub ino: u64,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// From the start of the call to its end.
    pub wait_ns: u64,
    /// How long the lock that this ended was held; 0 if it ended none.
    pub held_ns: u64,
    /// Cgroup of the caller.
    pub cgroup: u64,
    /// Process id in the daemon's namespace, or in the kernel's first one where that is not known.
    pub pid: u32,
    /// Thread id in the kernel's first namespace; 0 with [`kind::CLOSE`].
    pub tid: u32,
    /// What fcntl(2) gives: 0, or a negative errno.
    pub result: i32,
    /// One of [`role`](crate::role).
    pub role: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// [`FLAG_WAITS`], [`FLAG_OF_DESCRIPTION`].
    pub flags: u8,
    /// 0.
    pub reserved: u8,
    /// Name of the calling thread.
    pub comm: [u8; 16],
}

/// Indexes into the array of counts.
pub mod count {
    /// Events so far.
    pub const EVENTS: u32 = 0;
    /// Events that found the ring buffer full.
    pub const LOST_EVENTS: u32 = 1;
    /// Counted changes whose row did not fit, and that stand in the rows of inode 0.
    pub const LOST_ROWS: u32 = 2;
    /// Lock calls whose start did not fit: counted, but not timed.
    pub const LOST_STARTS: u32 = 3;
    /// Grants whose end cannot be told, because there was no slot.
    pub const LOST_HOLDS: u32 = 4;
    /// How many there are.
    pub const COUNT: u32 = 8;
}
