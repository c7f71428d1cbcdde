//! How long a lock takes from one process to the next when many want it. Called by [`crate::main`].

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cases::Journal;
use crate::crew::{Crew, check_interrupt};
use crate::holder::{Queued, Queueing};
use crate::peers::{Peer, Peers};
use crate::results::WaitersPoint;
use crate::sqlite_client;
use crate::statistics::percentile;

/// What each transaction stays open for: the holder sleeps, so that hand-overs alone need the processors.
const HOLD_MS: u64 = 2;
/// Longer than a process may be away and keep its turn.
const AWAY_MS: u64 = 3;

/// Hand-overs with more and more processes in line.
///
/// # Errors
/// If a client fails for a reason that is not contention, or at Ctrl-C.
pub fn waiters(peers: &Peers, quick: bool) -> Result<Vec<WaitersPoint>> {
    let counts: &[u64] = if quick { &[10, 100] } else { &[10, 50, 200, 1_000, 2_000] };
    counts.iter().map(|waiters| point(peers, *waiters, if quick { 2.0 } else { 8.0 })).collect()
}

fn point(peers: &Peers, waiters: u64, seconds: f64) -> Result<WaitersPoint> {
    let path = peers.path(Peer::Mount, "queue.db");
    sqlite_client::remove(&path)?;
    sqlite_client::create(&path, Journal::WalNormal)?;
    let spec = Queueing { path, hold_ms: HOLD_MS, away_ms: AWAY_MS, seconds };
    let mut crew = Crew::ready("queue", &vec![spec; usize::try_from(waiters)?])?;
    let idle = peers.memory()?;
    let begun = Instant::now();
    crew.go()?;
    // The first third fills the queue, and takes the look at the daemon, which disturbs.
    let warm_up = Duration::from_secs_f64(seconds / 3.0);
    let expected = waiters - waiters.div_ceil(5);
    while peers.status("waiters")? < expected && begun.elapsed() < warm_up {
        check_interrupt()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let waiting = peers.memory()?;
    let all: Vec<Queued> = crew.reports()?;
    crew.dismiss()?;
    let point = summarise(waiters, &all, warm_up, seconds);
    eprintln!(
        "waiters: {waiters:>5}: {} hand-overs, p50 {:.0} p99 {:.0} max {:.0} us, {} errors, RSS {} KiB",
        point.hand_overs,
        point.p50_us,
        point.p99_us,
        point.max_us,
        point.errors.values().sum::<u64>(),
        waiting.rss_kib()
    );
    Ok(WaitersPoint { idle, waiting, ..point })
}

/// From each COMMIT to the next grant, where another process gets it, once the queue is full and before it empties.
fn summarise(waiters: u64, all: &[Queued], warm_up: Duration, seconds: f64) -> WaitersPoint {
    let mut turns: Vec<(u64, u64, usize)> = all
        .iter()
        .enumerate()
        .flat_map(|(process, queued)| queued.turns.iter().map(move |(granted, commit)| (*granted, *commit, process)))
        .collect();
    turns.sort_unstable();
    let first_ns = turns.first().map_or(0, |turn| turn.0);
    let from_ns = first_ns + u64::try_from(warm_up.as_nanos()).unwrap_or(u64::MAX);
    let to_ns = first_ns + (seconds * 1e9) as u64;
    let pairs = turns.windows(2).filter(|pair| pair[0].2 != pair[1].2);
    let timed = pairs.filter(|pair| pair[0].0 >= from_ns && pair[1].0 < to_ns);
    let mut hand_overs: Vec<u64> = timed.map(|pair| pair[1].0.saturating_sub(pair[0].1)).collect();
    hand_overs.sort_unstable();
    let us = |part| percentile(&hand_overs, part).unwrap_or_default() as f64 / 1e3;
    let mut point = WaitersPoint {
        waiters,
        hand_overs: hand_overs.len() as u64,
        p50_us: us(0.5),
        p99_us: us(0.99),
        max_us: us(1.0),
        errors: Default::default(),
        idle: Default::default(),
        waiting: Default::default(),
    };
    for refusal in all.iter().flat_map(|queued| &queued.refusals) {
        *point.errors.entry(refusal.clone()).or_default() += 1;
    }
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hand_overs_to_others_count_while_the_queue_is_full() {
        const US: u64 = 1_000;
        let queued = |turns: &[(u64, u64)]| Queued {
            turns: turns.iter().map(|(granted, commit)| (granted * US, commit * US)).collect(),
            refusals: vec!["SQLITE_BUSY".to_owned()],
        };
        // In the warm-up, then from the first to the second and back, then twice the same, then after the end.
        let all = [
            queued(&[(0, 50), (1_000, 1_100), (1_300, 1_400), (1_450, 1_500)]),
            queued(&[(1_120, 1_200), (9_000, 9_001)]),
        ];
        let point = summarise(2, &all, Duration::from_micros(500), 0.005);
        assert_eq!((point.hand_overs, point.p50_us, point.max_us), (2, 20.0, 100.0));
        assert_eq!(point.errors["SQLITE_BUSY"], 2);
    }
}
