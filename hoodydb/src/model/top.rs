//! From two looks at a mount to rates and percentiles: the only place where they are made.
//!
//! Called by [`crate::cli`] (and by [`super::history`] for its minutes); drawn by [`crate::render`]. It has no clock: the time
//! between the looks is handed in. Counts that went down began anew, with a worker that replaced another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{RefusalCounts, percentile_us, since};
use super::sample::{Histogram, SampleRow};
use super::{Container, Counters, DatabaseObservation, Holder, Observation, ProcessName, Waiter};

/// Answer of `hoodydb top --once --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// One element per live mount, in the order of their paths.
    pub mounts: Vec<MountTop>,
}

/// One mount between two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountTop {
    /// Where it is mounted.
    pub mountpoint: String,
    /// The daemon.
    pub pid: u32,
    /// `serving`, `draining` or `detached`.
    pub phase: String,
    /// Between the two looks; 0 while there was only one, and then no rate is known.
    pub interval_ms: u64,
    /// Why the tracer's fields are null, and how to get it; null where it runs.
    pub tracer_missing: Option<String>,
    /// Events that the tracer had no room for since it started.
    pub tracer_lost: u64,
    /// The most contended one first.
    pub databases: Vec<DatabaseTop>,
}

/// One database between two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseTop {
    /// Its path below the mount point.
    pub path: String,
    /// Its inode number: the same while names change.
    pub inode: u64,
    /// As in `status`.
    pub journal_mode: String,
    /// As in `status`.
    pub policy: String,
    /// Who stands in the way: the writer, else the oldest transaction; null where none runs.
    pub holder: Option<Holder>,
    /// Since when it has held its lock.
    pub hold_age_ms: Option<u64>,
    /// Who holds what, transactions first; not all of very many.
    pub holders: Vec<Holder>,
    /// How many locks are held.
    pub holders_total: u64,
    /// Who waits, the next one first; not all of very many.
    pub waiters: Vec<Waiter>,
    /// How many lock calls wait.
    pub waiters_total: u64,
    /// Lock calls that were granted.
    pub acquisitions_per_s: f64,
    /// Lock calls that had to wait.
    pub waits_per_s: f64,
    /// Lock calls that were refused.
    pub refusals_per_s: f64,
    /// Granted since the mount was made.
    pub granted: u64,
    /// Waited since the mount was made.
    pub waited: u64,
    /// Of the waits that ended between the looks, in powers of two.
    pub wait_p50_us: u64,
    /// 95 of 100 were not longer.
    pub wait_p95_us: u64,
    /// 99 of 100 were not longer.
    pub wait_p99_us: u64,
    /// The longest one, those that still wait included.
    pub wait_max_us: u64,
    /// Element i counts the waits of 2^i to 2^(i+1) microseconds that ended between the looks.
    pub wait_us_log2: Vec<u64>,
    /// 99 of 100 holds that ended between the looks were not longer; null without the tracer, and where none ended.
    pub hold_p99_us: Option<u64>,
    /// Since the mount was made.
    pub refusals: Refusals,
    /// Size of the -wal file; null where there is none.
    pub wal_bytes: Option<u64>,
    /// The oldest reader whose mark keeps the WAL from starting over.
    pub wal_pinned_by: Option<Pinned>,
}

/// Refused lock calls by cause, since the mount was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refusals {
    /// As in `status`.
    #[serde(flatten)]
    pub causes: RefusalCounts,
    /// Of these, those of the lock that recovers a WAL; null without the tracer.
    pub recovery: Option<u64>,
}

/// A reader that a checkpoint must leave its part of the WAL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// Who.
    #[serde(flatten)]
    pub process: ProcessName,
    /// Its container.
    pub container: Option<Container>,
    /// READ0 to READ4.
    pub role: String,
    /// Since when.
    pub age_ms: u64,
}

/// What happened at a mount from one look to the next, `elapsed` later; without a look before there are no rates.
pub fn top(previous: Option<&Observation>, current: &Observation, elapsed: Duration) -> MountTop {
    let before: BTreeMap<u64, &DatabaseObservation> =
        previous.iter().flat_map(|look| &look.databases).filter_map(|one| Some((key_of(one)?, one))).collect();
    let rows_before = previous.and_then(|look| look.tracer.as_ref()).map(|sample| by_lock(&sample.rows));
    let rows = current.tracer.as_ref().map(|sample| by_lock(&sample.rows));
    let seconds = if previous.is_some() { elapsed.as_secs_f64() } else { 0.0 };
    let mut databases: Vec<DatabaseTop> = current
        .databases
        .iter()
        .map(|database| {
            let was = key_of(database).and_then(|key| before.get(&key).copied());
            let mut one = one_database(was, database, seconds);
            if let Some(rows) = &rows {
                add_traced(&mut one, &database.inodes, rows_before.as_ref(), rows);
            }
            one
        })
        .filter(is_worth_a_row)
        .collect();
    databases.sort_by(|one, other| other.heat().total_cmp(&one.heat()).then_with(|| one.path.cmp(&other.path)));
    MountTop {
        mountpoint: current.mountpoint.clone(),
        pid: current.pid,
        phase: current.phase.clone(),
        interval_ms: if previous.is_some() { u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) } else { 0 },
        tracer_missing: current.tracer_missing.clone(),
        tracer_lost: current.tracer.as_ref().map_or(0, |sample| sample.lost_events),
        databases,
    }
}

impl DatabaseTop {
    /// What the rows are sorted by at first: contention far above mere use.
    pub fn heat(&self) -> f64 {
        let contention = self.waits_per_s + self.refusals_per_s + self.waiters_total as f64;
        contention * 1e6 + self.acquisitions_per_s
    }
}

/// A database that nobody uses now, and nobody used since the look before, would only hide the others.
fn is_worth_a_row(database: &DatabaseTop) -> bool {
    database.holders_total > 0 || database.waiters_total > 0 || database.heat() > 0.0
}

fn key_of(database: &DatabaseObservation) -> Option<u64> {
    database.inodes.first().copied()
}

fn one_database(was: Option<&DatabaseObservation>, now: &DatabaseObservation, seconds: f64) -> DatabaseTop {
    let nothing = Counters::default();
    let counters = &now.counters;
    // Without a look before, everything so far would pass for what happened just now.
    let new = if seconds > 0.0 { since(counters, was.map_or(&nothing, |was| &was.counters)) } else { nothing };
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let longest_us = new.wait_max_ns.div_ceil(1000);
    let percentile = |percent| percentile_us(&new.wait_us_log2, percent).min(longest_us);
    let holder = main_holder(now);
    DatabaseTop {
        path: now.path.clone(),
        inode: key_of(now).unwrap_or(0),
        journal_mode: now.journal_mode.clone(),
        policy: now.policy.clone(),
        hold_age_ms: holder.map(|holder| holder.age_ms),
        holder: holder.cloned(),
        holders: now.holders.clone(),
        holders_total: now.holders_total,
        waiters: now.waiters.clone(),
        waiters_total: now.waiters_total,
        acquisitions_per_s: per_second(new.granted),
        waits_per_s: per_second(new.waited),
        refusals_per_s: per_second(RefusalCounts::from(&new).total()),
        granted: counters.granted,
        waited: counters.waited,
        wait_p50_us: percentile(50),
        wait_p95_us: percentile(95),
        wait_p99_us: percentile(99),
        wait_max_us: longest_us.max(now.oldest_wait_ms.saturating_mul(1000)),
        wait_us_log2: new.wait_us_log2.to_vec(),
        hold_p99_us: None,
        refusals: Refusals { causes: RefusalCounts::from(counters), recovery: None },
        wal_bytes: now.wal_bytes,
        wal_pinned_by: pinned_by(now),
    }
}

/// Who stands in the way: the writer, else the oldest transaction.
fn main_holder(database: &DatabaseObservation) -> Option<&Holder> {
    let running = || database.holders.iter().filter(|holder| holder.is_transaction(&database.journal_mode));
    let writer = running().filter(|holder| holder.is_writer()).max_by_key(|holder| holder.age_ms);
    writer.or_else(|| running().max_by_key(|holder| holder.age_ms))
}

/// # Source
/// wal.c (`walCheckpoint`, `walRestartLog`): the log starts over only when no reader is on a mark but READ0, and its pages are
/// copied into the database only up to the oldest mark.
fn pinned_by(database: &DatabaseObservation) -> Option<Pinned> {
    database.wal_bytes.filter(|bytes| *bytes > 0)?;
    let readers = database.holders.iter().filter(|holder| holder.role.starts_with("READ"));
    let oldest = readers.max_by_key(|holder| holder.age_ms)?;
    Some(Pinned {
        process: oldest.process.clone(),
        container: oldest.container.clone(),
        role: oldest.role.clone(),
        age_ms: oldest.age_ms,
    })
}

/// What only the tracer knows of one lock of one file, over all processes: rows of those that end are folded into one, so a sum
/// of all never goes back, and a single row does.
#[derive(Default)]
struct Traced {
    holds: Histogram,
    held_ns_max: u64,
    refused: u64,
}

/// By inode and role.
type TracedLocks<'a> = BTreeMap<u64, BTreeMap<&'a str, Traced>>;

fn by_lock(rows: &[SampleRow]) -> TracedLocks<'_> {
    let mut locks = TracedLocks::new();
    for row in rows {
        let traced = locks.entry(row.ino).or_default().entry(row.role.as_str()).or_default();
        traced.holds.add_since(&row.holds, None);
        traced.held_ns_max = traced.held_ns_max.max(row.held_ns_max);
        traced.refused += row.refused;
    }
    locks
}

fn add_traced(database: &mut DatabaseTop, inodes: &[u64], before: Option<&TracedLocks<'_>>, now: &TracedLocks<'_>) {
    let mut holds = Histogram::default();
    let (mut longest_ns, mut recovery) = (0, 0);
    for (ino, locks) in inodes.iter().filter_map(|ino| now.get_key_value(ino)) {
        for (role, traced) in locks {
            if *role == "RECOVER" {
                recovery += traced.refused;
            }
            longest_ns = longest_ns.max(traced.held_ns_max);
            if let Some(before) = before {
                let was = before.get(ino).and_then(|locks| locks.get(role));
                holds.add_since(&traced.holds, was.map(|traced| &traced.holds));
            }
        }
    }
    database.refusals.recovery = Some(recovery);
    database.hold_p99_us = holds.percentile_ns(99).map(|ns| ns.min(longest_ns).div_ceil(1000));
}

#[cfg(test)]
mod tests;
