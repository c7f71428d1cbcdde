//! What the kernel asks the daemon for: the begin of lock calls, and the ends of locks that no unlock ends.
//!
//! A process that exits closes its files in a kernel thread: whose locks end is in the request, not in the current task.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use hoodydb_ebpf::{ANY_HANDLE, Event, Hold, HoldKey, OF_DESCRIPTION, RowKey, Start, count, kind};

use crate::events;
use crate::holds::{self, Ends};
use crate::kernel::Request;
use crate::maps::{HOLDS, ROWS, STARTS, count_one};

/// FUSE operations (the uapi header fuse.h).
const FUSE_RELEASE: u32 = 18;
const FUSE_FLUSH: u32 = 25;
const FUSE_SETLK: u32 = 32;
const FUSE_SETLKW: u32 = 33;

/// A lock of flock(2).
const FUSE_LK_FLOCK: u32 = 1;

/// `struct fuse_lk_in`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LockBody {
    handle: u64,
    owner: u64,
    start: u64,
    end: u64,
    kind: u32,
    pid: u32,
    flags: u32,
    padding: u32,
}

/// `struct fuse_flush_in`, and the same bytes of `struct fuse_release_in`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CloseBody {
    handle: u64,
    flags: u32,
    more_flags: u32,
    owner: u64,
}

/// A request is on its way to the daemon.
#[inline(always)]
pub(crate) fn or_begin(request: Request) {
    if !request.is_watched() {
        return;
    }
    match request.opcode() {
        opcode @ (FUSE_SETLK | FUSE_SETLKW) => begin(&request, opcode == FUSE_SETLKW),
        FUSE_FLUSH => flush(&request),
        FUSE_RELEASE => release(&request),
        _ => (),
    }
}

#[inline(always)]
fn begin(request: &Request, waits: bool) {
    // SAFETY: asks for the time.
    let begun_ns = unsafe { bpf_ktime_get_ns() };
    let Some(body) = request.body::<LockBody>() else { return };
    if body.flags & FUSE_LK_FLOCK != 0 {
        return;
    }
    let start = Start {
        begun_ns,
        node: request.node(),
        handle: body.handle,
        owner: body.owner,
        pid: body.pid,
        waits: u32::from(waits),
    };
    if STARTS.insert(bpf_get_current_pid_tgid(), start, 0).is_err() {
        count_one(count::LOST_STARTS);
    }
}

/// close(2), by whomever: an exit as well.
#[inline(always)]
fn flush(request: &Request) {
    let Some(body) = request.body::<CloseBody>() else { return };
    let node = request.node();
    let of_process = HoldKey { node, owner: body.owner, handle: ANY_HANDLE };
    close(&of_process, Ends::ClosedBy(body.handle));
    let of_handle = HoldKey { node, owner: body.owner, handle: body.handle };
    close(&of_handle, Ends::All);
}

/// The last descriptor of an open file description is gone.
#[inline(always)]
fn release(request: &Request) {
    let Some(body) = request.body::<CloseBody>() else { return };
    close(&HoldKey { node: request.node(), owner: OF_DESCRIPTION, handle: body.handle }, Ends::All);
}

#[inline(always)]
fn close(key: &HoldKey, which: Ends) {
    let Some(holds) = HOLDS.get_ptr_mut(key) else { return };
    // SAFETY: asks for the time.
    let now = unsafe { bpf_ktime_get_ns() };
    let wanted = events::are_wanted();
    let tell_each = |hold: &Hold, ino: u64| {
        if wanted {
            tell(hold, ino, now);
        }
    };
    // SAFETY: a value of the map.
    let ended = unsafe { holds::end_some(holds, which, now, tell_each) };
    if !ended.left {
        let _ = HOLDS.remove(key);
    }
}

#[inline(always)]
fn tell(hold: &Hold, ino: u64, now: u64) {
    let key = RowKey { ino, tgid: hold.tgid, role: hold.role };
    let row = ROWS.get_ptr(key);
    let (pid, cgroup, comm) = match row {
        // SAFETY: a value of the map; its name and cgroup are whole words that may be those of two callers.
        Some(row) => unsafe { ((*row).pid, (*row).cgroup, (*row).comm) },
        None => (0, 0, [0; 16]),
    };
    events::tell(Event {
        number: 0,
        ended_ns: now,
        ino,
        start: hold.start,
        end: hold.end,
        wait_ns: 0,
        held_ns: now.wrapping_sub(hold.since_ns),
        cgroup,
        pid: if pid == 0 { hold.tgid } else { pid },
        tid: 0,
        result: 0,
        role: hold.role as u8,
        kind: kind::CLOSE,
        flags: 0,
        reserved: 0,
        comm,
    });
}
