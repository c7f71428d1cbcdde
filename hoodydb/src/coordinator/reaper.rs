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
const PATIENCE_NS: u64 = 40_000_000;
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
    // Tickets that had a signal in the last scan: a thread that is about to take it by itself is gone by the next.
    let mut marked: Vec<Ticket> = Vec::new();
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
            marked.clear();
            // Somebody may wait, but not for long enough yet.
            std::thread::sleep(INTERVAL);
            continue;
        }
        let begun = Instant::now();
        let (cancelled, next_marked) = scan(&candidates, &marked);
        marked = next_marked;
        for ticket in cancelled {
            this.handle(this.lock(), Event::Cancel(ticket));
        }
        pause = INTERVAL.max(begun.elapsed() * DUTY);
    }
}

/// The tickets to answer now, and those to answer if the next scan sees the same.
fn scan(candidates: &[Candidate], marked: &[Ticket]) -> (Vec<Ticket>, Vec<Ticket>) {
    let mut waits_of: BTreeMap<Pid, (usize, Tid)> = BTreeMap::new();
    for candidate in candidates {
        let entry = waits_of.entry(candidate.pid).or_insert((0, candidate.tid));
        entry.0 += 1;
        // The main thread is the kernel's first choice for a signal to the process (signal.c, complete_signal).
        if candidate.tid.0 == candidate.pid.0 {
            entry.1 = candidate.tid;
        }
    }
    let (mut now, mut next) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let Some(signals) = Signals::of(candidate.tid) else { continue };
        let chosen = waits_of.get(&candidate.pid).is_some_and(|(_, first)| *first == candidate.tid);
        let ends = if candidate.wait { signals.interrupts_wait(chosen) } else { signals.ends_set_lock() };
        if signals.killed() || ends && marked.contains(&candidate.ticket) {
            now.push(candidate.ticket);
        } else if ends {
            next.push(candidate.ticket);
        }
    }
    (now, next)
}
