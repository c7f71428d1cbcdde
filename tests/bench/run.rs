//! Runs the cases: round by round, each with every peer in another order. Called by [`crate::main`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::cases::{Case, Work};
use crate::client::{self, Report, Spec, Tally};
use crate::crew::Crew;
use crate::peers::{Peer, Peers};
use crate::results::{CaseResult, Class, Sample};

/// Runs one case with each of its numbers of processes.
///
/// # Errors
/// If a peer fails for a reason that is not contention, or at Ctrl-C.
pub fn case(peers: &Peers, case: &Case) -> Result<Vec<CaseResult>> {
    let taking_part: Vec<Peer> = case.peers.iter().copied().filter(|peer| peers.has(*peer)).collect();
    let mut results = Vec::new();
    // What is only read, and takes long to make, is made once.
    let is_kept = case.work == Work::Scan;
    for peer in taking_part.iter().filter(|_| is_kept) {
        peers.create(*peer, case)?;
    }
    for processes in &case.processes {
        let mut rounds: BTreeMap<Peer, Vec<Sample>> = BTreeMap::new();
        for round in 0..case.rounds {
            let mut order = taking_part.clone();
            order.rotate_left(round as usize % taking_part.len().max(1));
            for peer in order {
                if !is_kept {
                    peers.create(peer, case)?;
                }
                let sample = sample(peers, peer, case, *processes)
                    .with_context(|| format!("{} by {peer:?}, {processes} processes", case.name))?;
                tell(case, *processes, round, peer, &sample);
                rounds.entry(peer).or_default().push(sample);
            }
        }
        results.extend(rounds.into_iter().map(|(peer, rounds)| CaseResult {
            case: case.name.to_owned(),
            processes: processes + case.readers,
            peer,
            rounds,
        }));
    }
    for peer in taking_part {
        peers.remove(peer, case)?;
    }
    Ok(results)
}

fn sample(peers: &Peers, peer: Peer, case: &Case, processes: u32) -> Result<Sample> {
    let target = peers.target(peer, case.name, case.journal)?;
    let works = [(case.work, processes), (Work::Select, case.readers)];
    let works = works.into_iter().flat_map(|(work, count)| (0..count).map(move |_| work));
    let specs: Vec<Spec> = works
        .enumerate()
        .map(|(number, work)| Spec {
            target: target.clone(),
            work,
            end: case.end,
            think_ms: case.think_ms,
            number: number as u64,
        })
        .collect();
    measure(peers, peer, &specs, || if case.cold { peers.evict(peer, case.name) } else { Ok(()) })
}

/// Runs clients of one peer; `prepare` is done when all are connected.
///
/// # Errors
/// If one fails for a reason that is not contention, or at Ctrl-C.
pub fn measure(peers: &Peers, peer: Peer, specs: &[Spec], prepare: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let mut crew = Crew::ready("client", specs)?;
    prepare()?;
    let server_before = peers.server_cpu_s(peer)?;
    crew.go()?;
    let reports = crew.reports()?;
    let server_cpu_s = peers.server_cpu_s(peer)? - server_before;
    crew.dismiss()?;
    summarise(&reports, server_cpu_s)
}

/// Adds the reports of all clients of one run up.
///
/// # Errors
/// If a report is impossible.
pub fn summarise(reports: &[Report], server_cpu_s: f64) -> Result<Sample> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    Ok(Sample {
        elapsed_s: reports.iter().map(|report| seconds(report.elapsed_ns)).fold(0.0, f64::max),
        reads: class(reports.iter().map(|report| (&report.reads, seconds(report.elapsed_ns))))?,
        writes: class(reports.iter().map(|report| (&report.writes, seconds(report.elapsed_ns))))?,
        clients_cpu_s: reports.iter().map(|report| seconds(report.cpu_ns)).sum(),
        server_cpu_s,
    })
}

fn class<'a>(tallies: impl Iterator<Item = (&'a Tally, f64)>) -> Result<Class> {
    let mut all = client::histogram()?;
    let mut class = Class::default();
    for (tally, elapsed_s) in tallies {
        let operations = tally.buckets.iter().map(|(_, count)| count).sum::<u64>();
        for (ns, count) in &tally.buckets {
            all.record_n(*ns, *count)?;
        }
        for (error, count) in &tally.errors {
            *class.errors.entry(error.clone()).or_default() += count;
        }
        if operations > 0 || !tally.errors.is_empty() {
            class.by_process.push(operations);
            class.operations += operations;
            class.per_second += operations as f64 / elapsed_s;
        }
    }
    if !all.is_empty() {
        let us = |ns: u64| ns as f64 / 1e3;
        class.mean_us = all.mean() / 1e3;
        (class.p50_us, class.p99_us) = (us(all.value_at_quantile(0.5)), us(all.value_at_quantile(0.99)));
        class.max_us = us(all.max());
    }
    Ok(class)
}

fn tell(case: &Case, processes: u32, round: u32, peer: Peer, sample: &Sample) {
    let class = |name: &str, class: &Class| {
        if class.by_process.is_empty() {
            return String::new();
        }
        let Class { operations, p50_us, p99_us, max_us, .. } = class;
        let failures = class.failures();
        format!("  {name} {operations} p50 {p50_us:.1} p99 {p99_us:.1} max {max_us:.0} us, {failures} errors")
    };
    eprintln!(
        "{:<24} {:>2} processes, round {}: {:<12}{}{}",
        case.name,
        processes + case.readers,
        round + 1,
        format!("{peer:?}"),
        class("reads", &sample.reads),
        class("writes", &sample.writes)
    );
}
