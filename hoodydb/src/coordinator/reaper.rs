//! The reaper: ends the waits of threads that have a signal to take.
//!
//! A thread whose lock call is parked stands in the kernel's `request_wait_answer` and cannot be killed before the answer.
//! The kernel would tell of signals by FUSE_INTERRUPT, which the fuser crate declines, so the pending masks of threads
//! that have waited for a while are read instead, outside of the mutex.
//!
//! ```text
//!   parked, by ticket:  |--slice--|--slice--|--slice--|--slice--|  then from the start; one slice per TICK,
//!                                                                 later where it took the processor for more than TICK / 4
//! ```
//!
//! A look at a file of /proc that stays open costs 3 to 4 us, half of what it costs to open it for each look. Such a file
//! stays the thread's own: after its end it reads nothing, whoever has its number then.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::lock::{Pid, Tid};
use crate::manager::{Event, Ticket, Timestamp};

use super::signals::Signals;
use super::{Coordinator, Reply, State};

/// Waits shorter than this are left alone: they end soon by themselves.
const PATIENCE_NS: u64 = 20_000_000;
/// A signal that another thread of the process takes is gone after this; one that is left is this thread's.
const SECOND_LOOK: Duration = Duration::from_millis(2);
/// Least time from one slice to the next.
const TICK: Duration = Duration::from_millis(10);
/// Every waiter is in one of so many slices.
const SLICES: usize = 4;
/// Smaller slices are not worth waking for.
const SLICE_MIN: usize = 64;
/// After so many looks another thread may have the processor: whoever was woken on this one to answer a lock call would else wait
/// for the rest of the slice (3 ms), even while other processors idle (kernel/sched/fair.c, `sched_balance_newidle()`).
const LOOKS_AT_ONCE: usize = 8;
/// At most one part in so many of a processor is taken.
const DUTY: u32 = 4;
/// While nobody waits, a look once a second is enough to notice the end.
const IDLE: Duration = Duration::from_secs(1);
/// Most files of /proc that stay open; those of further waiters are opened for each look.
const MOST_FILES: u64 = 1_024;

/// Descriptors that the reaper may hold where the limit of all is `limit`.
pub fn descriptors_of_waits(limit: u64) -> u64 {
    (limit / 16).min(MOST_FILES)
}

struct Candidate {
    ticket: Ticket,
    pid: Pid,
    tid: Tid,
    wait: bool,
}

/// What the reaper remembers from one slice to the next.
#[derive(Default)]
struct Rounds {
    /// /proc/TID/status of threads that were looked at before.
    files: HashMap<Ticket, File>,
    /// The last waiter of the slice before; none at the start of a round.
    last: Option<Ticket>,
}

pub(super) fn run<R: Reply>(weak: &Weak<Coordinator<R>>) {
    let mut rounds = Rounds::default();
    let mut pause = TICK;
    while let Some(this) = weak.upgrade() {
        let mut state = this.lock();
        if state.ended {
            return;
        }
        state.reaper_idle = state.parked.is_empty();
        let sleep = if state.reaper_idle { IDLE } else { pause };
        let (state, _) = this.reaper.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner);
        let begun = processor_time();
        let candidates = rounds.next_slice(&state, this.now());
        let left = rounds.files_of_others(&state);
        drop(state);
        drop(left);
        let mut signalled = rounds.with_signals(&this, candidates);
        if signalled.iter().any(|(_, killed)| !killed) {
            std::thread::sleep(SECOND_LOOK);
            signalled = rounds.with_signals(&this, signalled.into_iter().map(|(candidate, _)| candidate).collect());
        }
        for (candidate, _) in signalled {
            this.happened(Event::Cancel(candidate.ticket));
        }
        let took = processor_time().saturating_sub(begun);
        pause = TICK.saturating_sub(took).max(took * (DUTY - 1));
    }
}

/// Not the time of the clock: on a busy machine most of that would be others'.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Rounds {
    /// The next waiters in the order of their tickets, but for those that came just now.
    fn next_slice<R>(&mut self, state: &State<R>, now: Timestamp) -> Vec<Candidate> {
        let size = state.parked.len().div_ceil(SLICES).max(SLICE_MIN);
        let start = self.last.map_or(Unbounded, Excluded);
        let slice = || state.parked.range((start, Unbounded)).take(size);
        let last = slice().last().map(|(ticket, _)| *ticket);
        self.last = last.filter(|last| state.parked.last_key_value().is_some_and(|(end, _)| end != last));
        let patient = slice().filter(|(_, parked)| now.since(parked.since) >= PATIENCE_NS);
        patient
            .map(|(ticket, parked)| Candidate { ticket: *ticket, pid: parked.pid, tid: parked.tid, wait: parked.wait })
            .collect()
    }

    /// Takes out the files of those that wait no more, once a round.
    fn files_of_others<R>(&mut self, state: &State<R>) -> Vec<File> {
        if self.last.is_some() {
            return Vec::new();
        }
        let left = self.files.extract_if(|ticket, _| !state.parked.contains_key(ticket));
        left.map(|(_, file)| file).collect()
    }

    /// Those whose wait a pending signal ends, and whether it is SIGKILL.
    fn with_signals<R: Reply>(&mut self, of: &Coordinator<R>, candidates: Vec<Candidate>) -> Vec<(Candidate, bool)> {
        let mut ends = |candidate: Candidate| {
            let signals = self.look(&candidate)?;
            let ends = match candidate.wait {
                // Whose the signal is, is asked only where it matters.
                true => {
                    signals.interrupts_wait(false) || signals.interrupts_wait(true) && is_chosen(&of.lock(), &candidate)
                }
                false => signals.ends_set_lock(),
            };
            (ends || signals.killed()).then_some((candidate, signals.killed()))
        };
        let mut found = Vec::new();
        for (looked, candidate) in candidates.into_iter().enumerate() {
            if looked % LOOKS_AT_ONCE == LOOKS_AT_ONCE - 1 {
                std::thread::yield_now();
            }
            found.extend(ends(candidate));
        }
        found
    }

    fn look(&mut self, candidate: &Candidate) -> Option<Signals> {
        if let Some(file) = self.files.get(&candidate.ticket) {
            return Signals::read(file);
        }
        let file = File::open(format!("/proc/{}/status", candidate.tid.0)).ok()?;
        let signals = Signals::read(&file);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        if (self.files.len() as u64) < descriptors_of_waits(limit) {
            self.files.insert(candidate.ticket, file);
        }
        signals
    }
}

/// Whether a signal to the whole process is left to this one of its waiting threads.
fn is_chosen<R>(state: &State<R>, candidate: &Candidate) -> bool {
    let mut threads = state.parked.values().filter(|parked| parked.pid == candidate.pid).map(|parked| parked.tid);
    let first = threads.next();
    // The main thread is the kernel's first choice for a signal to the process (signal.c, complete_signal).
    let chosen = first.into_iter().chain(threads).find(|tid| tid.0 == candidate.pid.0).or(first);
    chosen == Some(candidate.tid)
}
