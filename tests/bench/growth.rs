//! What the mount costs as things grow: databases, files, handles. Called by [`crate::main`], each with a fresh daemon,
//! whose memory then holds nothing of what was before.

use std::path::Path;

use anyhow::Result;

use crate::cases::{End, Journal, Work};
use crate::client::Spec;
use crate::crew::{Crew, check_interrupt};
use crate::holder::{Held, idle_database};
use crate::peers::{Peer, Peers};
use crate::results::{GrowthPoint, HandlesPoint, Sample};
use crate::{run, sparse, sqlite_client};

/// Those that grow in turn.
const GROWING: [Peer; 2] = [Peer::Mount, Peer::Disk];
/// Databases or handles of one process: far below what the daemon lets one have when descriptors become scarce.
const PER_HOLDER: u64 = 250;

/// Latency and memory with many databases open.
///
/// # Errors
/// If something cannot be opened, or at Ctrl-C.
pub fn databases(peers: &Peers, quick: bool) -> Result<Vec<GrowthPoint>> {
    let counts: &[u64] = if quick { &[1, 100, 1_000] } else { &[1, 100, 1_000, 3_000] };
    let most = counts.iter().max().copied().unwrap_or_default();
    for peer in GROWING {
        let directory = peers.path(peer, "idle");
        std::fs::create_dir(&directory)?;
        create_idle(&directory, most)?;
    }
    let point = |peers: &Peers, peer: Peer, at: u64, point: &mut GrowthPoint| {
        let path = peers.path(peer, "busy.db");
        sqlite_client::remove(&path)?;
        sqlite_client::create(&path, Journal::WalNormal)?;
        let directory = peers.path(peer, "idle");
        let idle = at - 1;
        let held = (0..idle).step_by(PER_HOLDER as usize).map(|first| Held::Databases {
            directory: directory.clone(),
            first,
            count: PER_HOLDER.min(idle - first),
        });
        let holders = Crew::ready("hold", &held.collect::<Vec<_>>())?;
        measure(peers, peer, "busy.db", quick, point)?;
        if peer.is_mount() {
            point.memory.push(peers.memory()?);
        }
        holders.dismiss()
    };
    grow(peers, "databases", counts, if quick { 1 } else { 5 }, point)
}

/// Latency with files of many sizes.
///
/// # Errors
/// If one cannot be made, or at Ctrl-C.
pub fn sizes(peers: &Peers, quick: bool) -> Result<Vec<GrowthPoint>> {
    const MB: u64 = 1_000_000;
    let sizes: &[u64] = if quick { &[MB, 1_000 * MB] } else { &[MB, 20 * MB, 400 * MB, 4_000 * MB, 20_000 * MB] };
    for size in sizes {
        for peer in GROWING {
            sparse::create(&peers.path(peer, &sparse_name(*size)), *size, Journal::WalNormal)?;
        }
    }
    let point = |peers: &Peers, peer: Peer, at: u64, point: &mut GrowthPoint| {
        measure(peers, peer, &sparse_name(at), quick, point)
    };
    grow(peers, "sizes", sizes, if quick { 1 } else { 5 }, point)
}

/// The daemon's memory with many handles of one file open.
///
/// # Errors
/// If one cannot be opened, or at Ctrl-C.
pub fn handles(peers: &Peers, quick: bool) -> Result<Vec<HandlesPoint>> {
    let counts: &[u64] = if quick { &[0, 1_000, 4_000] } else { &[0, 1_000, 4_000, 8_000] };
    let path = peers.path(Peer::Mount, "handles");
    std::fs::write(&path, "one file")?;
    let mut points = Vec::new();
    for handles in counts {
        let held = (0..*handles)
            .step_by(PER_HOLDER as usize)
            .map(|first| Held::Handles { path: path.clone(), count: PER_HOLDER.min(handles - first) });
        let holders = Crew::ready("hold", &held.collect::<Vec<_>>())?;
        let memory = peers.memory()?;
        eprintln!("handles: {handles} open, RSS {} KiB", memory.rss_kib());
        points.push(HandlesPoint { handles: *handles, memory });
        holders.dismiss()?;
    }
    Ok(points)
}

/// Measures each point in each round by each peer, so that what disturbs one point disturbs its neighbours.
fn grow(
    peers: &Peers,
    name: &str,
    points: &[u64],
    rounds: u32,
    measure: impl Fn(&Peers, Peer, u64, &mut GrowthPoint) -> Result<()>,
) -> Result<Vec<GrowthPoint>> {
    let new = |(at, peer)| GrowthPoint { at, peer, select: Vec::new(), insert: Vec::new(), memory: Vec::new() };
    let mut grown: Vec<GrowthPoint> = points.iter().flat_map(|at| GROWING.map(|peer| (*at, peer))).map(new).collect();
    for round in 0..rounds {
        for point in &mut grown {
            measure(peers, point.peer, point.at, point)?;
            let p50 = |samples: &[Sample], class: fn(&Sample) -> f64| samples.last().map_or(0.0, class);
            eprintln!(
                "{name}: {:>11} round {}: {:<12} SELECT p50 {:.1} us, INSERT p50 {:.1} us",
                point.at,
                round + 1,
                format!("{:?}", point.peer),
                p50(&point.select, |sample| sample.reads.p50_us),
                p50(&point.insert, |sample| sample.writes.p50_us),
            );
        }
    }
    Ok(grown)
}

/// Point SELECTs, then INSERTs, by one process.
fn measure(peers: &Peers, peer: Peer, name: &str, quick: bool, point: &mut GrowthPoint) -> Result<()> {
    let operations = if quick { 1_000 } else { 5_000 };
    let sample = |work| {
        let target = peers.target(peer, name, Journal::WalNormal)?;
        let spec = Spec { target, work, end: End::Operations(operations), think_ms: 0, number: 1 };
        run::measure(peers, peer, &[spec], || Ok(()))
    };
    point.select.push(sample(Work::Select)?);
    point.insert.push(sample(Work::Insert)?);
    Ok(())
}

fn sparse_name(size: u64) -> String {
    format!("sparse-{size}.db")
}

/// Small databases in WAL mode, copied from one.
fn create_idle(directory: &Path, count: u64) -> Result<()> {
    let first = idle_database(directory, 0);
    let connection = rusqlite::Connection::open(&first)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1);")?;
    connection.close().map_err(|(_, error)| error)?;
    for number in 1..count {
        check_interrupt()?;
        std::fs::copy(&first, idle_database(directory, number))?;
    }
    Ok(())
}
