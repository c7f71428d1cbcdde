//! Records that the lock tracer's eBPF programs share with the daemon: what lies in their maps and in the ring buffer.
//!
//! The programs (`src/programs`) fill them in the kernel, `hoodydb::tracer` reads them. Neither knows a path: a file is its
//! inode number on the one mount that the programs watch.
//!
//! # Layout
//! Every record is `repr(C)`, without padding, in the byte order of the machine; its size is asserted below.
#![no_std]

mod events;
mod holds;
pub mod role;
mod rows;

pub use events::{Event, FLAG_OF_DESCRIPTION, FLAG_WAITS, count, kind};
pub use holds::{ANY_HANDLE, FIRST_PLAIN_SLOT, HOLD_SLOTS, Hold, HoldKey, Holds, OF_DESCRIPTION, Start};
pub use role::WAL_INDEX;
pub use rows::{BUCKETS, Fold, Row, RowKey};

/// Changes with the layout or the meaning of anything here: a daemon reads only what programs of its own version wrote.
pub const WIRE_VERSION: u64 = 1;

/// A plain record: every bit pattern is a value, and there is no padding.
///
/// # Safety
/// The implementor is `repr(C)` and made of integers only, with no padding between or behind them.
pub unsafe trait Record: Copy + 'static {}

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
}
