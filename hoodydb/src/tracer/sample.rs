//! From the kernel's rows to a [`Sample`], and rows of the dead folded together. Called by [`super::Tracer`].
//!
//! Every count that was ever made is in exactly one row: of its process, of all ended processes of the file (process 0), or of
//! all files together (inode 0). So sums never go back, whatever is killed when.

use std::collections::{BTreeMap, HashSet};

use aya::maps::MapError;
use hoodydb_ebpf::{Fold, Row, RowKey, count, role};

use super::Missing;
use super::load::{Maps, Plain, refused};
use crate::model::{Histogram, Sample, SampleRow};

/// Rows of ended processes are folded on; files not seen for the longest time are, when so much of the table is used.
const CROWDED: usize = 3;
const OF: usize = 4;

fn unread(error: MapError) -> Missing {
    refused("read the tables", &error)
}

/// Everything so far.
pub(super) fn sample(maps: &Maps, device: u64) -> Result<Sample, Missing> {
    let taken_ns = now_ns();
    let mut rows = Vec::new();
    for (key, row) in all_rows(maps)? {
        rows.push(shown(&key, &row, device));
    }
    for (index, row) in maps.overflow.iter().enumerate() {
        let Plain(row) = row.map_err(unread)?;
        if row.changed_ns != 0 {
            let role = u32::try_from(index).unwrap_or(role::BYTES);
            // The last of many callers is none to name.
            let row = Row { comm: [0; 16], pid: 0, cgroup: 0, ..row };
            rows.push(shown(&RowKey { ino: 0, tgid: 0, role }, &row, device));
        }
    }
    let count = |index| maps.counts.get(&index, 0).map_err(unread);
    Ok(Sample {
        taken_ns,
        rows,
        lost_rows: count(count::LOST_ROWS)?,
        lost_events: count(count::LOST_EVENTS)?,
        lost_starts: count(count::LOST_STARTS)?,
        lost_holds: count(count::LOST_HOLDS)?,
    })
}

/// All rows; one that is removed meanwhile is left out, and a key that comes again while the table changes is taken once.
fn all_rows(maps: &Maps) -> Result<BTreeMap<RowKey, Row>, Missing> {
    let mut rows = BTreeMap::new();
    for entry in maps.rows.iter() {
        let (Plain(key), Plain(row)) = entry.map_err(unread)?;
        rows.insert(key, row);
    }
    Ok(rows)
}

fn shown(key: &RowKey, row: &Row, device: u64) -> SampleRow {
    let name = row.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    SampleRow {
        dev: device,
        ino: key.ino,
        pid: pid_of(key, row),
        comm: String::from_utf8_lossy(name).into_owned(),
        cgroup: row.cgroup,
        role: role::NAMES.get(key.role as usize).copied().unwrap_or("BYTES").to_owned(),
        calls: row.calls,
        granted: row.granted,
        refused: row.refused,
        interrupted: row.interrupted,
        unlocks: row.unlocks,
        wait_ns_total: row.wait_ns_total,
        wait_ns_max: row.wait_ns_max,
        waits: Histogram(row.waits.to_vec()),
        held_ns_total: row.held_ns_total,
        held_ns_max: row.held_ns_max,
        holds: Histogram(row.holds.to_vec()),
    }
}

/// The process in this namespace; a row of unlocks only does not know it.
fn pid_of(key: &RowKey, row: &Row) -> u32 {
    if row.pid == 0 { key.tgid } else { row.pid }
}

/// Folds the rows of processes that have ended into one per file and role; where the table is crowded all the same, those of
/// files into one per role. `ended` are the processes that had ended the last time, and are those that have now: the kernel
/// closes the files of a process that exits a moment later, and what it counts then must not fall between two looks at a row.
pub(super) fn fold(maps: &mut Maps, ended: &mut HashSet<u32>, is_alive: impl Fn(u32) -> bool) -> Result<(), Missing> {
    let rows = all_rows(maps)?;
    let pids: HashSet<u32> = rows.iter().filter(|(key, _)| key.tgid != 0).map(|(key, row)| pid_of(key, row)).collect();
    let before = std::mem::replace(ended, pids.into_iter().filter(|pid| !is_alive(*pid)).collect());
    for (key, row) in rows.iter().filter(|(key, _)| key.tgid != 0) {
        let pid = pid_of(key, row);
        if before.contains(&pid) && ended.contains(&pid) {
            fold_one(maps, *key, RowKey { tgid: 0, ..*key })?;
        }
    }
    let most = maps.rows_max() / OF * CROWDED;
    if rows.len() <= most {
        return Ok(());
    }
    let rows = all_rows(maps)?;
    let over = rows.len().saturating_sub(most);
    let mut files: Vec<(u64, RowKey)> = rows
        .into_iter()
        .filter(|(key, _)| key.tgid == 0 && key.ino != 0)
        .map(|(key, row)| (row.changed_ns, key))
        .collect();
    files.sort_unstable();
    for (_, key) in files.into_iter().take(over) {
        fold_one(maps, key, RowKey { ino: 0, ..key })?;
    }
    Ok(())
}

/// Makes two rows one. What will be is written down first: whoever finds it goes on with it.
fn fold_one(maps: &mut Maps, from: RowKey, into: RowKey) -> Result<(), Missing> {
    let get = |maps: &Maps, key| match maps.rows.get(&Plain(key), 0) {
        Ok(Plain(row)) => Ok(Some(row)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(unread(error)),
    };
    let Some(row) = get(maps, from)? else { return Ok(()) };
    let nobody = Row { comm: [0; 16], pid: 0, cgroup: 0, ..Row::EMPTY };
    let mut sum = get(maps, into)?.unwrap_or(nobody);
    sum.absorb(&row);
    maps.journal.set(0, Plain(Fold { is_due: 1, from, into, sum }), 0).map_err(unread)?;
    finish_fold(maps);
    Ok(())
}

/// Carries out what is written down, from wherever it stopped.
pub(super) fn finish_fold(maps: &mut Maps) {
    let Ok(Plain(fold)) = maps.journal.get(&0, 0) else { return };
    if fold.is_due != 1 {
        return;
    }
    let _ = maps.rows.remove(&Plain(fold.from));
    // The row that went has left a place.
    let _ = maps.rows.insert(Plain(fold.into), Plain(fold.sum), 0);
    let _ = maps.journal.set(0, Plain(Fold { is_due: 0, ..fold }), 0);
}

/// Whether a process lives. One that may not be asked does.
pub(super) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// CLOCK_MONOTONIC, as the programs have it.
pub(super) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
