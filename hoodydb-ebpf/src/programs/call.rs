//! The end of a lock call, and its begin where only the system call can be seen.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use hoodydb_ebpf::{Event, FLAG_OF_DESCRIPTION, FLAG_WAITS, Hold, RowKey, Start, count, kind};

use crate::events;
use crate::holds::{self, Ends, Place, Range};
use crate::kernel::{FileLock, Inode, Registers, by_system_call, fcntl_number};
use crate::maps::{STARTS, count_one};
use crate::rows::{self, Caller, Ending};

/// `F_RDLCK`, `F_UNLCK` of the uapi header fcntl.h; the third kind is `F_WRLCK`.
const F_RDLCK: u8 = 0;
const F_UNLCK: u8 = 2;

/// `FL_OFDLCK` of the kernel's filelock.h.
const FL_OFDLCK: u32 = 1024;

/// A call of fcntl(2) has begun; whose file it is for shows at its end.
#[inline(always)]
pub(crate) fn system_call(registers: Registers, number: u64) {
    // SAFETY: asks for the time.
    let begun_ns = unsafe { bpf_ktime_get_ns() };
    if number != fcntl_number() {
        return;
    }
    // F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW.
    let command = registers.second() as u32;
    if matches!(command, 6 | 7 | 37 | 38) {
        let start = Start { begun_ns, waits: u32::from(matches!(command, 7 | 38)), ..Start::default() };
        let _ = STARTS.insert(bpf_get_current_pid_tgid(), start, 0);
    }
}

/// A lock call has ended.
#[inline(always)]
pub(crate) fn ended(inode: Inode, lock: FileLock, result: i32) {
    let thread = bpf_get_current_pid_tgid();
    if by_system_call() && !inode.is_watched() {
        let _ = STARTS.remove(thread);
        return;
    }
    if !inode.is_watched() || lock.is_none() {
        return;
    }
    // SAFETY: asks for the time.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: only this thread changes its own entry, and it is here.
    let start = unsafe { STARTS.get(thread) }.copied();
    if start.is_some() {
        let _ = STARTS.remove(thread);
    } else if is_kernels_own(result) {
        return;
    } else {
        count_one(count::LOST_STARTS);
    }
    let call = Call { thread, now, result, ino: inode.number(), of_description: lock.flags() & FL_OFDLCK != 0 };
    let range = Range::of(&lock);
    match lock.kind() {
        F_UNLCK => call.unlock(&range, start),
        kind => call.lock(&range, kind != F_RDLCK, start),
    }
}

/// Errors that the kernel gives before it asks the file system: EBADF, EFAULT, EINVAL, EOVERFLOW.
#[inline(always)]
fn is_kernels_own(result: i32) -> bool {
    matches!(result, -9 | -14 | -22 | -75)
}

struct Call {
    thread: u64,
    now: u64,
    result: i32,
    ino: u64,
    of_description: bool,
}

impl Call {
    #[inline(always)]
    fn tgid(&self) -> u32 {
        (self.thread >> 32) as u32
    }

    /// EAGAIN and EACCES; EINTR, and ERESTARTSYS, which becomes EINTR or another try on the way out.
    #[inline(always)]
    fn ending(&self) -> Ending {
        match self.result {
            0 => Ending::Granted,
            -11 | -13 => Ending::Refused,
            -4 | -512 => Ending::Interrupted,
            _ => Ending::Failed,
        }
    }

    #[inline(always)]
    fn lock(&self, range: &Range, writes: bool, start: Option<Start>) {
        let role = range.role(writes);
        let ending = self.ending();
        self.count(role, ending, start);
        if ending == Ending::Granted
            && let Some(start) = start
            && start.node != 0
        {
            self.begin(range, writes, &start);
        }
        self.tell(range, if writes { kind::WRITE } else { kind::READ }, role, 0, start);
    }

    #[inline(always)]
    fn begin(&self, range: &Range, writes: bool, start: &Start) {
        let key = holds::key_of(start, range.place, self.of_description);
        let Some(holds) = holds::holds(&key) else {
            count_one(count::LOST_HOLDS);
            return;
        };
        let hold = Hold {
            since_ns: self.now,
            start: range.start,
            end: range.end,
            handle: start.handle,
            tgid: self.tgid(),
            role: 0,
        };
        // SAFETY: a value of the map.
        unsafe {
            (*holds).ino = self.ino;
            holds::begin(holds, range, writes, hold);
        }
    }

    #[inline(always)]
    fn unlock(&self, range: &Range, start: Option<Start>) {
        let mut ended = holds::Ended::default();
        if self.result == 0
            && let Some(start) = start
        {
            let key = holds::key_of(&start, range.place, self.of_description);
            if let Some(holds) = crate::maps::HOLDS.get_ptr_mut(key) {
                // SAFETY: a value of the map.
                ended = unsafe { holds::end_some(holds, Ends::Within(range.start, range.end), self.now, |_, _| ()) };
            }
        }
        let role = if ended.any && range.place != Place::WalIndex { ended.role } else { range.role(false) };
        self.count(role, Ending::Unlocked, start);
        self.tell(range, kind::UNLOCK, role, ended.held_ns, start);
    }

    #[inline(always)]
    fn count(&self, role: u32, ending: Ending, start: Option<Start>) {
        let Some(row) = rows::row(&RowKey { ino: self.ino, tgid: self.tgid(), role }) else { return };
        let caller = Caller {
            pid: start.map_or(0, |start| start.pid),
            // SAFETY: asks for a number.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            now: self.now,
        };
        let wait = start.map(|start| self.now.wrapping_sub(start.begun_ns));
        // SAFETY: a value of a map.
        unsafe { rows::count_call(row, ending, wait, &caller) };
    }

    #[inline(always)]
    fn tell(&self, range: &Range, kind: u8, role: u32, held_ns: u64, start: Option<Start>) {
        if !events::are_wanted() {
            return;
        }
        let start = start.unwrap_or(Start { begun_ns: self.now, ..Start::default() });
        let flags = if start.waits == 1 { FLAG_WAITS } else { 0 };
        let flags = if self.of_description { flags | FLAG_OF_DESCRIPTION } else { flags };
        events::tell(Event {
            number: 0,
            ended_ns: self.now,
            ino: self.ino,
            start: range.start,
            end: range.end,
            wait_ns: self.now.wrapping_sub(start.begun_ns),
            held_ns,
            // SAFETY: asks for a number.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            pid: if start.pid == 0 { self.tgid() } else { start.pid },
            tid: self.thread as u32,
            result: self.result,
            role: role as u8,
            kind,
            flags,
            reserved: 0,
            comm: bpf_get_current_comm().unwrap_or_default(),
        });
    }
}
