//! The maps, and the single counts. Called by every program; their sizes are explained in the library.
//!
//! ROWS and HOLDS take memory as they are used, STARTS at once: its entries come and go with every call.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, RingBuf};
use hoodydb_ebpf::{
    EVENTS_BYTES, Fold, HOLDS_MAX, HoldKey, Holds, ROWS_MAX, Row, RowKey, STARTS_MAX, Start, count, role,
};

use crate::atomic;

/// Calls that have begun, by thread (`pid_tgid`).
#[map]
pub(crate) static STARTS: HashMap<u64, Start> = HashMap::with_max_entries(STARTS_MAX, 0);

/// Counts.
#[map]
pub(crate) static ROWS: HashMap<RowKey, Row> = HashMap::with_max_entries(ROWS_MAX, BPF_F_NO_PREALLOC);

/// Counts that found no row, by role.
#[map]
pub(crate) static OVERFLOW: Array<Row> = Array::with_max_entries(role::COUNT, 0);

/// Locks that are held.
#[map]
pub(crate) static HOLDS: HashMap<HoldKey, Holds> = HashMap::with_max_entries(HOLDS_MAX, BPF_F_NO_PREALLOC);

/// Single events.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// 1 while somebody wants single events.
#[map]
pub(crate) static SWITCH: Array<u32> = Array::with_max_entries(1, 0);

/// See `hoodydb_ebpf::count`.
#[map]
pub(crate) static COUNTS: Array<u64> = Array::with_max_entries(count::COUNT, 0);

/// The daemon's own: what it is about to fold together.
#[map]
static JOURNAL: Array<Fold> = Array::with_max_entries(1, 0);

/// A new row and new holds are copied from here: they are too large for the stack.
#[map]
pub(crate) static NO_ROW: Array<Row> = Array::with_max_entries(1, 0);

/// As [`NO_ROW`].
#[map]
pub(crate) static NO_HOLDS: Array<Holds> = Array::with_max_entries(1, 0);

/// Counts one of `hoodydb_ebpf::count`.
#[inline(always)]
pub(crate) fn count_one(index: u32) {
    if let Some(count) = COUNTS.get_ptr_mut(index) {
        // SAFETY: a value of the map.
        unsafe { atomic::add(count, 1) };
    }
}
