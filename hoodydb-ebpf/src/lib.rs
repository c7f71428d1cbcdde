//! Records that the lock tracer's eBPF programs share with the daemon: what lies in their maps and in the ring buffer.
//!
//! The programs (`src/programs`) fill them in the kernel, `hoodydb::tracer` reads them. Neither knows a path: a file is its
//! inode number on the one mount that the programs watch.
//!
//! # Layout
//! Every record is `repr(C)`, without padding, in the byte order of the machine; its size is asserted below.
#![no_std]

/// Changes with the layout or the meaning of anything here: a daemon reads only what programs of its own version wrote.
pub const WIRE_VERSION: u64 = 1;

/// Buckets of a histogram: bucket `i` counts durations of `2^i <= ns < 2^(i + 1)`, the last one everything above.
pub const BUCKETS: usize = 40;

/// A plain record: every bit pattern is a value, and there is no padding.
///
/// # Safety
/// The implementor is `repr(C)` and made of integers only, with no padding between or behind them.
pub unsafe trait Record: Copy + 'static {}

/// What a range of bytes means to SQLite.
///
/// # Source
/// os.h (`PENDING_BYTE` ..), wal.c (`WAL_*_LOCK`), os_unix.c (`UNIX_SHM_BASE`, `UNIX_SHM_DMS`).
pub mod role {
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
}

/// First and last lock byte of a WAL index.
pub const WAL_INDEX: (u64, u64) = (120, 128);

/// Where the kernel that runs keeps what the programs read, in bytes from the start of each struct; the loader takes them
/// from the kernel's own type information.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `inode.i_sb`.
    pub inode_sb: u32,
    /// `inode.i_ino`.
    pub inode_ino: u32,
    /// `super_block.s_dev`.
    pub sb_dev: u32,
    /// `file_lock.c.flc_type`, `fl_type` before Linux 6.9.
    pub lock_type: u32,
    /// `file_lock.c.flc_flags`.
    pub lock_flags: u32,
    /// `file_lock.c.flc_file`.
    pub lock_file: u32,
    /// `file_lock.fl_start`.
    pub lock_start: u32,
    /// `file_lock.fl_end`.
    pub lock_end: u32,
    /// `file.f_path.dentry`.
    pub file_dentry: u32,
    /// `dentry.d_name.len`.
    pub dentry_len: u32,
    /// `dentry.d_name.name`.
    pub dentry_name: u32,
    /// `fuse_req.fm`.
    pub request_mount: u32,
    /// `fuse_mount.fc`.
    pub mount_connection: u32,
    /// `fuse_conn.dev`.
    pub connection_dev: u32,
    /// `fuse_req.in.h.opcode`.
    pub request_opcode: u32,
    /// `fuse_req.in.h.nodeid`.
    pub request_node: u32,
    /// `fuse_req.args`.
    pub request_args: u32,
    /// `fuse_args.in_args[0].value`.
    pub args_value: u32,
    /// The second argument of a system call in `pt_regs`; only without the FUSE tracepoints.
    pub regs_second: u32,
    /// 0.
    pub reserved: u32,
}

/// What to watch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The mount's device as the kernel writes it: `major << 20 | minor`.
    pub device: u32,
    /// 1: calls begin at the system call, as this kernel has no FUSE tracepoints; 0: at the FUSE request.
    pub by_system_call: u32,
    /// Offset of SQLite's PENDING byte.
    pub pending: u64,
    /// The number of fcntl(2).
    pub fcntl_number: u64,
}

/// Whose counts a [`Row`] has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Inode number that the mount shows; 0 where rows no longer fit.
    pub ino: u64,
    /// Process id as the kernel's first namespace has it; 0 for all processes that have ended.
    pub tgid: u32,
    /// One of [`role`].
    pub role: u32,
}

/// Counts of one process on one role of one file. They only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Lock calls that ended.
    pub calls: u64,
    /// Those that were granted.
    pub granted: u64,
    /// Those that ended with EAGAIN or EACCES.
    pub refused: u64,
    /// Those that a signal ended.
    pub interrupted: u64,
    /// Unlock calls.
    pub unlocks: u64,
    /// Sum of the waits.
    pub wait_ns_total: u64,
    /// The longest one.
    pub wait_ns_max: u64,
    /// Sum of the holds that ended.
    pub held_ns_total: u64,
    /// The longest one.
    pub held_ns_max: u64,
    /// CLOCK_MONOTONIC of the last change.
    pub changed_ns: u64,
    /// Cgroup of the last caller.
    pub cgroup: u64,
    /// Name of the last calling thread, ended by zeros.
    pub comm: [u8; 16],
    /// Process id in the daemon's namespace, 0 while it is not known.
    pub pid: u32,
    /// 0.
    pub reserved: u32,
    /// From the start of each call to its end.
    pub waits: [u64; BUCKETS],
    /// From each grant to its end.
    pub holds: [u64; BUCKETS],
}

impl Row {
    /// Nothing counted yet.
    pub const EMPTY: Self = Self {
        calls: 0,
        granted: 0,
        refused: 0,
        interrupted: 0,
        unlocks: 0,
        wait_ns_total: 0,
        wait_ns_max: 0,
        held_ns_total: 0,
        held_ns_max: 0,
        changed_ns: 0,
        cgroup: 0,
        comm: [0; 16],
        pid: 0,
        reserved: 0,
        waits: [0; BUCKETS],
        holds: [0; BUCKETS],
    };

    /// Takes in another row's counts; who it is stays.
    pub fn absorb(&mut self, other: &Self) {
        self.calls += other.calls;
        self.granted += other.granted;
        self.refused += other.refused;
        self.interrupted += other.interrupted;
        self.unlocks += other.unlocks;
        self.wait_ns_total += other.wait_ns_total;
        self.held_ns_total += other.held_ns_total;
        self.wait_ns_max = self.wait_ns_max.max(other.wait_ns_max);
        self.held_ns_max = self.held_ns_max.max(other.held_ns_max);
        self.changed_ns = self.changed_ns.max(other.changed_ns);
        for (mine, theirs) in self.waits.iter_mut().zip(other.waits) {
            *mine += theirs;
        }
        for (mine, theirs) in self.holds.iter_mut().zip(other.holds) {
            *mine += theirs;
        }
    }
}

/// Two rows that the daemon is about to make one: whoever finds this goes on with it, however far it had come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// 1 while it has to be done.
    pub is_due: u64,
    /// The row that goes.
    pub from: RowKey,
    /// The row that stays.
    pub into: RowKey,
    /// What it is then.
    pub sum: Row,
}

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
    /// As in [`RowKey`].
    pub tgid: u32,
    /// As in [`RowKey`].
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
    /// One of [`role`].
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

/// Most lock calls that wait at the same time and are timed: 96 bytes each, taken at once (1.5 MiB).
pub const STARTS_MAX: u32 = 16_384;

/// Most rows: about 850 bytes each, taken as they are used (53 MiB at most).
pub const ROWS_MAX: u32 = 65_536;

/// Most owners whose locks are followed: about 450 bytes each, taken as they are used (28 MiB at most).
pub const HOLDS_MAX: u32 = 65_536;

/// Bytes of the ring buffer: 10,000 events, which is a second of a busy mount.
pub const EVENTS_BYTES: u32 = 1 << 20;

macro_rules! records {
    ($($record:ty = $size:literal),* $(,)?) => {$(
        const _: () = assert!(size_of::<$record>() == $size);
        // SAFETY: repr(C) and integers only; the size leaves no room for padding.
        unsafe impl Record for $record {}
    )*};
}

records! {
    Offsets = 80,
    Target = 24,
    RowKey = 16,
    Row = 752,
    Fold = 792,
    Start = 40,
    HoldKey = 24,
    Hold = 40,
    Holds = 368,
    Event = 96,
    u32 = 4,
    u64 = 8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lock_byte_of_a_wal_index_has_a_name() {
        let bytes = (WAL_INDEX.1 - WAL_INDEX.0 + 1) as usize;
        assert_eq!(role::WRITE as usize + bytes, role::NAMES.len());
        assert_eq!(bytes, HOLD_SLOTS);
    }

    #[test]
    fn rows_add_up() {
        let mut waits = [0; BUCKETS];
        waits[3] = 2;
        let mut all = Row { calls: 2, wait_ns_max: 9, pid: 7, waits, ..Row::EMPTY };
        all.absorb(&Row { calls: 3, granted: 1, wait_ns_max: 5, held_ns_total: 4, pid: 8, waits, ..Row::EMPTY });
        assert_eq!((all.calls, all.granted, all.wait_ns_max, all.held_ns_total, all.pid), (5, 1, 9, 4, 7));
        assert_eq!(all.waits[3], 4);
    }
}
