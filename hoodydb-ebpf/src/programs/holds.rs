//! Which locks are held since when: begun by a grant, ended by an unlock, a close or an exit.
//!
//! Called when a call ends and when a file is closed. Like SQLite, and like the daemon: a lock of a WAL index belongs to the
//! handle that it was taken through, any other lock to the process.

use hoodydb_ebpf::{
    ANY_HANDLE, FIRST_PLAIN_SLOT, HOLD_SLOTS, Hold, HoldKey, Holds, OF_DESCRIPTION, RowKey, Start, WAL_INDEX, count,
    role,
};

use crate::kernel;
use crate::maps::{HOLDS, NO_HOLDS, count_one};
use crate::rows;

/// Slots of a database.
const PENDING: usize = 0;
const RESERVED: usize = 1;
const SHARED: usize = 2;

/// A range of bytes, both ends included, and what it means.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) place: Place,
}

/// Where a range lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Database,
    WalIndex,
    Elsewhere,
}

impl Range {
    #[inline(always)]
    pub(crate) fn of(lock: &kernel::FileLock) -> Self {
        let (start, end) = (lock.start(), lock.end());
        let pending = kernel::pending();
        let place = if start >= pending && end < pending + 512 {
            Place::Database
        } else if start <= WAL_INDEX.1 && end >= WAL_INDEX.0 && lock.is_wal_index() {
            Place::WalIndex
        } else {
            Place::Elsewhere
        };
        Self { start, end, place }
    }

    /// What a call for this range asks for.
    #[inline(always)]
    pub(crate) fn role(&self, writes: bool) -> u32 {
        match self.place {
            Place::Elsewhere => role::BYTES,
            Place::WalIndex if self.start < WAL_INDEX.0 || self.end > WAL_INDEX.1 => role::BYTES,
            Place::WalIndex => role::WRITE + (self.start - WAL_INDEX.0) as u32,
            Place::Database if self.covers(SHARED) => slot_role(SHARED, writes),
            Place::Database if self.covers(PENDING) => slot_role(PENDING, writes),
            Place::Database => slot_role(RESERVED, writes),
        }
    }

    /// Whether the range touches what a database's slot stands for.
    #[inline(always)]
    fn covers(&self, slot: usize) -> bool {
        let pending = kernel::pending();
        match slot {
            PENDING => self.start <= pending,
            RESERVED => self.start <= pending + 1 && self.end > pending,
            _ => self.end >= pending + 2,
        }
    }
}

#[inline(always)]
fn slot_role(slot: usize, writes: bool) -> u32 {
    match (slot, writes) {
        (PENDING, true) => role::PENDING,
        (PENDING, false) => role::OPENING,
        (RESERVED, _) => role::RESERVED,
        (_, true) => role::EXCLUSIVE,
        (_, false) => role::SHARED,
    }
}

/// Whose locks a call changes.
#[inline(always)]
pub(crate) fn key_of(start: &Start, place: Place, of_description: bool) -> HoldKey {
    let owner = if of_description { OF_DESCRIPTION } else { start.owner };
    let by_handle = of_description || place == Place::WalIndex;
    HoldKey { node: start.node, owner, handle: if by_handle { start.handle } else { ANY_HANDLE } }
}

/// Locks of an owner, made if they are not there.
#[inline(always)]
pub(crate) fn holds(key: &HoldKey) -> Option<*mut Holds> {
    if let Some(holds) = HOLDS.get_ptr_mut(key) {
        return Some(holds);
    }
    if let Some(empty) = NO_HOLDS.get_ptr(0) {
        // SAFETY: a value of a map that nobody writes.
        let empty: &Holds = unsafe { &*empty };
        let _ = HOLDS.insert(key, empty, 0);
    }
    HOLDS.get_ptr_mut(key)
}

/// A grant begins a hold in every slot that its range stands for; one that was held in another role ends.
///
/// # Safety
/// `holds` is a value of the map.
#[inline(always)]
pub(crate) unsafe fn begin(holds: *mut Holds, range: &Range, writes: bool, mut hold: Hold) {
    // SAFETY: as above, for the whole function; every index is below HOLD_SLOTS.
    unsafe {
        let ino = (*holds).ino;
        let slots = (&raw mut (*holds).slots).cast::<Hold>();
        match range.place {
            Place::Database => {
                for index in 0..FIRST_PLAIN_SLOT {
                    if range.covers(index) {
                        hold.role = slot_role(index, writes);
                        set(slots.add(index), ino, &hold);
                    }
                }
            }
            Place::WalIndex => {
                for index in 0..HOLD_SLOTS {
                    let byte = WAL_INDEX.0 + index as u64;
                    if range.start <= byte && byte <= range.end {
                        hold.role = role::WRITE + index as u32;
                        hold.start = byte;
                        hold.end = byte;
                        set(slots.add(index), ino, &hold);
                    }
                }
            }
            Place::Elsewhere => {
                let mut free = HOLD_SLOTS;
                for index in FIRST_PLAIN_SLOT..HOLD_SLOTS {
                    let slot = slots.add(index);
                    if (*slot).since_ns == 0 {
                        free = index;
                    } else if (*slot).start == range.start && (*slot).end == range.end {
                        return;
                    }
                }
                if free >= HOLD_SLOTS {
                    count_one(count::LOST_HOLDS);
                    return;
                }
                hold.role = role::BYTES;
                set(slots.add(free), ino, &hold);
            }
        }
    }
}

#[inline(always)]
unsafe fn set(slot: *mut Hold, ino: u64, hold: &Hold) {
    // SAFETY: the caller's.
    unsafe {
        if (*slot).since_ns != 0 {
            if (*slot).role == hold.role {
                return;
            }
            end(slot, ino, hold.since_ns);
        }
        *slot = *hold;
    }
}

/// Which locks of an owner end.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    /// Those inside of a range.
    Within(u64, u64),
    /// All.
    All,
    /// SQLite's that were taken through this handle, and all others: close(2) of any descriptor ends those.
    ClosedBy(u64),
}

/// What ended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ended {
    /// The role of the last one, which is the strongest.
    pub(crate) role: u32,
    pub(crate) held_ns: u64,
    /// Whether there was any.
    pub(crate) any: bool,
    /// Whether any is left.
    pub(crate) left: bool,
}

/// Ends locks of an owner; `each` sees every one before it goes.
///
/// # Safety
/// As for [`begin`].
#[inline(always)]
pub(crate) unsafe fn end_some(holds: *mut Holds, which: Ends, now: u64, each: impl Fn(&Hold, u64)) -> Ended {
    let mut ended = Ended::default();
    // SAFETY: as above.
    unsafe {
        let ino = (*holds).ino;
        let slots = (&raw mut (*holds).slots).cast::<Hold>();
        for index in 0..HOLD_SLOTS {
            let slot = slots.add(index);
            if (*slot).since_ns == 0 {
                continue;
            }
            let goes = match which {
                Ends::Within(start, last) => start <= (*slot).start && (*slot).end <= last,
                Ends::All => true,
                Ends::ClosedBy(handle) => (*slot).role == role::BYTES || (*slot).handle == handle,
            };
            if goes {
                each(&*slot, ino);
                ended.any = true;
                ended.role = (*slot).role;
                ended.held_ns = end(slot, ino, now);
            } else {
                ended.left = true;
            }
        }
    }
    ended
}

#[inline(always)]
unsafe fn end(slot: *mut Hold, ino: u64, now: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe {
        let held = now.wrapping_sub((*slot).since_ns);
        let key = RowKey { ino, tgid: (*slot).tgid, role: (*slot).role };
        (*slot).since_ns = 0;
        if let Some(row) = rows::row(&key) {
            rows::count_hold(row, held, now);
        }
        held
    }
}
