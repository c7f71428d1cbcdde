//! Questions that the report asks of a run: one figure over all rounds, and ratios of two peers. It measures nothing.

use crate::peers::Peer;
use crate::results::{CaseResult, Class, GrowthPoint, Results, Sample};
use crate::statistics::Spread;

/// A figure of one round.
pub type Figure = fn(&Sample) -> f64;

/// The class that a sample has: what it writes if it does both or writes only.
pub fn main_class(sample: &Sample) -> &Class {
    if sample.writes.by_process.is_empty() { &sample.reads } else { &sample.writes }
}

/// Half of the operations took no longer.
pub fn p50(sample: &Sample) -> f64 {
    main_class(sample).p50_us
}

/// 99 of 100 took no longer.
pub fn p99(sample: &Sample) -> f64 {
    main_class(sample).p99_us
}

/// The longest took so long.
pub fn longest(sample: &Sample) -> f64 {
    sample.reads.max_us.max(sample.writes.max_us)
}

/// All operations per second.
pub fn per_second(sample: &Sample) -> f64 {
    sample.reads.per_second + sample.writes.per_second
}

/// Failed operations.
pub fn failures(sample: &Sample) -> u64 {
    sample.reads.failures() + sample.writes.failures()
}

/// Processor time per operation that succeeded, of clients and server together.
pub fn cpu_us(sample: &Sample) -> f64 {
    let operations = sample.reads.operations + sample.writes.operations;
    (sample.clients_cpu_s + sample.server_cpu_s) * 1e6 / operations as f64
}

/// One case by one peer.
pub fn find<'a>(results: &'a Results, case: &str, processes: u32, peer: Peer) -> Option<&'a CaseResult> {
    results.cases.iter().find(|one| one.case == case && one.processes == processes && one.peer == peer)
}

/// A figure over the rounds.
pub fn spread(rounds: &[Sample], figure: Figure) -> Option<Spread> {
    Spread::of(rounds.iter().map(figure))
}

/// One peer's figure by another's, round by round.
pub fn ratio(results: &Results, case: &str, processes: u32, peers: [Peer; 2], figure: Figure) -> Option<Spread> {
    let [ours, theirs] = peers.map(|peer| find(results, case, processes, peer));
    Spread::of_ratios(ours?.rounds.iter().map(figure), theirs?.rounds.iter().map(figure))
}

/// One point of a growing quantity.
pub fn point(points: &[GrowthPoint], at: u64, peer: Peer) -> Option<&GrowthPoint> {
    points.iter().find(|point| point.at == at && point.peer == peer)
}

/// What each further database takes of the daemon's memory, in KiB: resident, and with what both processes share counted once.
///
/// Only the first round tells: memory that was used once stays with a process.
pub fn kib_per_database(points: &[GrowthPoint], at: u64) -> Option<(f64, f64)> {
    let first = |at| point(points, at, Peer::Mount).and_then(|point| point.memory.first());
    let (one, many) = (first(1)?, first(at)?);
    let further = at.checked_sub(1).filter(|further| *further > 0)? as f64;
    let each = |many: u64, one: u64| (many as f64 - one as f64) / further;
    Some((each(many.rss_kib(), one.rss_kib()), each(many.pss_kib(), one.pss_kib())))
}
