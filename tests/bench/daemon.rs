//! What /proc says of processor time and memory of the processes that serve. Called by [`crate::peers`] and the clients.

use std::fs;

use anyhow::{Context, Result};

use crate::results::Memory;

/// The unit of /proc/PID/stat, the same on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of a process, and of its children that ended and were waited for.
///
/// # Errors
/// If there is no such process.
pub fn cpu_s(pid: u32) -> Result<f64> {
    Ok(fields(pid)?.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

/// The children of a process that live.
pub fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Processor time of the children of this process that were waited for.
pub fn ended_children_cpu_ns() -> u64 {
    fields(std::process::id()).map_or(0, |[_, _, user, system]| (user + system) * 10_000_000)
}

/// utime, stime, cutime and cstime.
fn fields(pid: u32) -> Result<[u64; 4]> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in the second field may contain anything.
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    let words: Vec<u64> = rest.split(' ').skip(11).take(4).filter_map(|word| word.parse().ok()).collect();
    words.try_into().ok().with_context(|| format!("{path} is not as proc(5) says"))
}

/// Memory of the two processes of the daemon.
///
/// # Errors
/// If one is gone.
pub fn memory(worker: u32, keeper: u32) -> Result<Memory> {
    let (worker_rss_kib, worker_pss_kib) = rollup(worker)?;
    let (keeper_rss_kib, keeper_pss_kib) = rollup(keeper)?;
    Ok(Memory { worker_rss_kib, worker_pss_kib, keeper_rss_kib, keeper_pss_kib })
}

/// The largest resident memory that a process has had so far; none once it has ended.
pub fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn rollup(pid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number =
            line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.trim().parse().ok());
        number.with_context(|| format!("{path} does not tell {name}"))
    };
    Ok((field("Rss:")?, field("Pss:")?))
}
