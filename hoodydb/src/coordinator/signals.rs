//! What /proc says of a thread's pending signals.
//!
//! Called by the reaper; it only reads files of /proc, and takes "could not read" for "nothing to see".
//!
//! # Source
//! proc(5): `/proc/PID/status` (SigPnd, ShdPnd, SigBlk, SigIgn, SigCgt).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The signal masks of one thread; bit n - 1 is signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    thread_pending: u64,
    process_pending: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

const SIGHUP: u64 = bit(1);
const SIGINT: u64 = bit(2);
const SIGQUIT: u64 = bit(3);
const SIGKILL: u64 = bit(9);
const SIGALRM: u64 = bit(14);
const SIGTERM: u64 = bit(15);
const SIGCHLD: u64 = bit(17);
const SIGCONT: u64 = bit(18);
const STOPS: u64 = bit(19) | bit(20) | bit(21) | bit(22);
const SIGURG: u64 = bit(23);
const SIGXCPU: u64 = bit(24);
const SIGWINCH: u64 = bit(28);
/// Signals that ask a process to end or to give up, handler or not.
const ENDING: u64 = SIGHUP | SIGINT | SIGQUIT | SIGALRM | SIGTERM | SIGXCPU;
/// Signals whose default is to do nothing, or to stop and go on: they never end a wait by themselves.
const HARMLESS: u64 = SIGCHLD | SIGCONT | SIGURG | SIGWINCH | STOPS;

impl Signals {
    /// Reads the masks of a thread from its status file, `None` if it is gone.
    pub(super) fn read(status: &File) -> Option<Self> {
        let mut text = [0u8; 4096];
        let read = status.read_at(&mut text, 0).ok()?;
        Some(Self::parse(&text[..read]))
    }

    fn parse(status: &[u8]) -> Self {
        let mut signals = Self::default();
        for line in status.split(|byte| *byte == b'\n') {
            let (field, name_length) = match line {
                [b'S', b'i', b'g', b'P', b'n', b'd', b':', ..] => (&mut signals.thread_pending, 7),
                [b'S', b'h', b'd', b'P', b'n', b'd', b':', ..] => (&mut signals.process_pending, 7),
                [b'S', b'i', b'g', b'B', b'l', b'k', b':', ..] => (&mut signals.blocked, 7),
                [b'S', b'i', b'g', b'I', b'g', b'n', b':', ..] => (&mut signals.ignored, 7),
                [b'S', b'i', b'g', b'C', b'g', b't', b':', ..] => (&mut signals.caught, 7),
                _ => continue,
            };
            let digits = std::str::from_utf8(&line[name_length..]).unwrap_or("").trim();
            *field = u64::from_str_radix(digits, 16).unwrap_or(0);
        }
        signals
    }

    fn deliverable(self) -> u64 {
        (self.thread_pending | self.process_pending) & !self.blocked & !self.ignored
    }

    /// Whether SIGKILL waits for the thread: it cannot die before its lock call is answered.
    pub(super) fn killed(self) -> bool {
        (self.thread_pending | self.process_pending) & SIGKILL != 0
    }

    /// Whether a pending signal ends an `F_SETLK` that the manager parked: one that kills, or that asks to end. Others
    /// (timers of profilers, SIGCHLD, SIGWINCH) are taken once the call is answered; failing the call would show
    /// "database is locked" to a program that was asked nothing.
    pub(super) fn ends_set_lock(self) -> bool {
        let fatal = !self.caught & !HARMLESS;
        self.deliverable() & (fatal | ENDING) != 0
    }

    /// Whether a pending signal interrupts an `F_SETLKW`, which is any that runs a handler or kills.
    ///
    /// A signal to the whole process is left to one thread; `only_thread` tells that no other call of it waits.
    ///
    /// # Source
    /// fcntl(2), F_SETLKW: "If a signal is caught while waiting, then the call is interrupted and [..] returns
    /// immediately".
    pub(super) fn interrupts_wait(self, only_thread: bool) -> bool {
        let interrupting = self.deliverable() & (self.caught | !HARMLESS);
        let here = if only_thread { u64::MAX } else { self.thread_pending };
        interrupting & here != 0 || self.ends_set_lock() && interrupting & !self.caught != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals(thread: u64, process: u64, caught: u64) -> Signals {
        Signals { thread_pending: thread, process_pending: process, blocked: 0, ignored: 0, caught }
    }

    #[test]
    fn masks_are_read_from_the_status_file() {
        let status = b"Name:\tx\nSigQ:\t1/2\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000004000\nSigBlk:\t01\nSigIgn:\t02\nSigCgt:\t04\n";
        let read = Signals::parse(status);
        let expected = Signals { thread_pending: SIGKILL, process_pending: SIGTERM, blocked: 1, ignored: 2, caught: 4 };
        assert_eq!(read, expected);
        assert!(read.killed());
    }

    #[test]
    fn signals_that_end_a_wait_and_signals_that_do_not() {
        assert!(signals(0, SIGTERM, 0).ends_set_lock(), "kills");
        assert!(signals(0, SIGINT, SIGINT).ends_set_lock(), "KeyboardInterrupt");
        assert!(signals(bit(10), 0, 0).ends_set_lock(), "SIGUSR1 without a handler kills");
        assert!(!signals(bit(10), 0, bit(10)).ends_set_lock(), "SIGUSR1 with a handler can be taken later");
        assert!(!signals(0, SIGCHLD | SIGWINCH | SIGCONT, SIGCHLD | SIGWINCH).ends_set_lock());
        assert!(!signals(0, STOPS, 0).ends_set_lock());
        let blocked = Signals { blocked: SIGTERM, ..signals(0, SIGTERM, 0) };
        assert!(!blocked.ends_set_lock());
    }

    #[test]
    fn a_waiting_call_is_interrupted_by_any_handler_but_only_once_per_process() {
        assert!(signals(bit(10), 0, bit(10)).interrupts_wait(false));
        assert!(!signals(0, bit(10), bit(10)).interrupts_wait(false), "another thread may take it");
        assert!(signals(0, bit(10), bit(10)).interrupts_wait(true));
        assert!(!signals(0, SIGCHLD, 0).interrupts_wait(true));
        assert!(signals(0, SIGTERM, 0).interrupts_wait(false), "kills the whole process");
    }
}
