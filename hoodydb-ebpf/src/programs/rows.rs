//! Counts of one process on one role of one file. Called when a call ends and when a lock ends.

use aya_ebpf::helpers::bpf_get_current_comm;
use hoodydb_ebpf::{BUCKETS, Row, RowKey, count};

use crate::atomic::add;
use crate::maps::{NO_ROW, OVERFLOW, ROWS, count_one};

/// The row of a key, made if it is not there; the overflow's where there is no room.
#[inline(always)]
pub(crate) fn row(key: &RowKey) -> Option<*mut Row> {
    if let Some(row) = ROWS.get_ptr_mut(key) {
        return Some(row);
    }
    if let Some(empty) = NO_ROW.get_ptr(0) {
        // SAFETY: a value of a map that nobody writes.
        let empty: &Row = unsafe { &*empty };
        let _ = ROWS.insert(key, empty, 0);
    }
    ROWS.get_ptr_mut(key).or_else(|| {
        count_one(count::LOST_ROWS);
        OVERFLOW.get_ptr_mut(key.role)
    })
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Granted,
    Refused,
    Interrupted,
    Failed,
    Unlocked,
}

/// Who made a call, and when it ended.
pub(crate) struct Caller {
    pub(crate) pid: u32,
    pub(crate) cgroup: u64,
    pub(crate) now: u64,
}

/// Counts a call that ended; `wait` is none where its begin was not seen.
///
/// # Safety
/// `row` is a value of a map.
#[inline(always)]
pub(crate) unsafe fn count_call(row: *mut Row, ending: Ending, wait: Option<u64>, caller: &Caller) {
    // SAFETY: as above, for the whole function. Counts are added to atomically; the rest is the last caller's.
    unsafe {
        if ending == Ending::Unlocked {
            add(&raw mut (*row).unlocks, 1);
        } else {
            add(&raw mut (*row).calls, 1);
            match ending {
                Ending::Granted => add(&raw mut (*row).granted, 1),
                Ending::Refused => add(&raw mut (*row).refused, 1),
                Ending::Interrupted => add(&raw mut (*row).interrupted, 1),
                Ending::Failed | Ending::Unlocked => (),
            }
            if let Some(wait) = wait {
                add(&raw mut (*row).wait_ns_total, wait);
                raise(&raw mut (*row).wait_ns_max, wait);
                bump((&raw mut (*row).waits).cast(), wait);
            }
        }
        (*row).changed_ns = caller.now;
        (*row).cgroup = caller.cgroup;
        if caller.pid != 0 {
            (*row).pid = caller.pid;
        }
        if let Ok(comm) = bpf_get_current_comm() {
            (*row).comm = comm;
        }
    }
}

/// Counts a lock that is held no more.
///
/// # Safety
/// As for [`count_call`].
#[inline(always)]
pub(crate) unsafe fn count_hold(row: *mut Row, held: u64, now: u64) {
    // SAFETY: as above.
    unsafe {
        add(&raw mut (*row).held_ns_total, held);
        raise(&raw mut (*row).held_ns_max, held);
        bump((&raw mut (*row).holds).cast(), held);
        (*row).changed_ns = now;
    }
}

/// Two threads of one process that raise it in the same instant may leave the smaller one: nothing worth a lock.
#[inline(always)]
unsafe fn raise(max: *mut u64, value: u64) {
    // SAFETY: the caller's.
    unsafe {
        if *max < value {
            *max = value;
        }
    }
}

#[inline(always)]
unsafe fn bump(buckets: *mut u64, duration: u64) {
    let bucket = (63 - (duration | 1).leading_zeros()) as usize;
    let bucket = if bucket < BUCKETS { bucket } else { BUCKETS - 1 };
    // SAFETY: the caller's, and the index is below BUCKETS.
    unsafe { add(buckets.add(bucket), 1) };
}
