//! The reaper: ends the waits of threads that have a signal to take.
//!
//! A thread whose lock call is parked stands in the kernel's `request_wait_answer` and cannot be killed before the answer.
//! The kernel would tell of signals by FUSE_INTERRUPT, which the fuser crate declines, so the pending masks of threads
//! that have waited for a while are read instead. It runs outside the mutex and costs about 20 us per waiter and scan.

use std::collections::BTreeMap;
use std::sync::{PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::lock::{Pid, Tid};
use crate::manager::{Event, Ticket};

use super::signals::Signals;
use super::{Coordinator, Reply};

/// Waits shorter than this are left alone: they end soon by themselves.
const PATIENCE_NS: u64 = 20_000_000;
/// A signal that another thread of the process takes is gone after this; one that is left is this thread's.
const SECOND_LOOK: Duration = Duration::from_millis(2);
/// Least time between two scans.
const INTERVAL: Duration = Duration::from_millis(15);
/// A scan may take one part in this many of the time.
const DUTY: u32 = 50;
/// While nobody waits, a look once a second is enough to notice the end.
const IDLE: Duration = Duration::from_secs(1);

struct Candidate {
    ticket: Ticket,
    pid: Pid,
    tid: Tid,
    wait: bool,
}

pub(super) fn run<R: Reply>(weak: &Weak<Coordinator<R>>) {
    let mut pause = INTERVAL;
    while let Some(this) = weak.upgrade() {
        let mut state = this.lock();
        if state.ended {
            return;
        }
        state.reaper_idle = state.parked.is_empty();
        let sleep = if state.reaper_idle { IDLE } else { pause };
        let (state, _) = this.reaper.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner);
        let now = this.now();
        let old = |since| now.since(since) >= PATIENCE_NS;
        let parked = state.parked.iter().filter(|(_, parked)| old(parked.since));
        let candidates: Vec<Candidate> = parked
            .map(|(ticket, parked)| Candidate { ticket: *ticket, pid: parked.pid, tid: parked.tid, wait: parked.wait })
            .collect();
        drop(state);
        if candidates.is_empty() {
            // Somebody may wait, but not for long enough yet.
            std::thread::sleep(INTERVAL);
            continue;
        }
        let begun = Instant::now();
        let mut signalled = with_signals(candidates);
        if signalled.iter().any(|(_, killed)| !killed) {
            std::thread::sleep(SECOND_LOOK);
            signalled = with_signals(signalled.into_iter().map(|(candidate, _)| candidate).collect());
        }
        for (candidate, _) in signalled {
            this.happened(Event::Cancel(candidate.ticket));
        }
        pause = INTERVAL.max(begun.elapsed() * DUTY);
    }
}

/// Those whose wait a pending signal ends, and whether it is SIGKILL.
fn with_signals(candidates: Vec<Candidate>) -> Vec<(Candidate, bool)> {
    let mut first_of: BTreeMap<Pid, Tid> = BTreeMap::new();
    for candidate in &candidates {
        let first = first_of.entry(candidate.pid).or_insert(candidate.tid);
        // The main thread is the kernel's first choice for a signal to the process (signal.c, complete_signal).
        if candidate.tid.0 == candidate.pid.0 {
            *first = candidate.tid;
        }
    }
    let ends = |candidate: Candidate| {
        let signals = Signals::of(candidate.tid)?;
        let chosen = first_of.get(&candidate.pid) == Some(&candidate.tid);
        let ends = if candidate.wait { signals.interrupts_wait(chosen) } else { signals.ends_set_lock() };
        (ends || signals.killed()).then_some((candidate, signals.killed()))
    };
    candidates.into_iter().filter_map(ends).collect()
}
