//! What a run measured, as it is kept in JSON: the report is made from this and from nothing else.
//!
//! Filled by [`crate::run`] and [`crate::growth`]; it knows no report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::peers::Peer;

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Where it ran.
    pub machine: Machine,
    /// Whether it was a short run, whose figures are rough.
    pub quick: bool,
    /// How long it took.
    pub took_s: f64,
    /// One element per case, number of processes and peer.
    pub cases: Vec<CaseResult>,
    /// Latency and memory against the number of open databases.
    pub databases: Vec<GrowthPoint>,
    /// Latency against the size of the database in bytes.
    pub sizes: Vec<GrowthPoint>,
    /// Hand-overs against the number of waiting processes, on the mount.
    pub waiters: Vec<WaitersPoint>,
    /// The daemon's memory against the number of open handles of one file.
    pub handles: Vec<HandlesPoint>,
    /// Keys and values over HTTP, one element per round.
    #[serde(default)]
    pub http: Vec<HttpRound>,
}

/// One case by one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its name in [`crate::cases`].
    pub case: String,
    /// Client processes, readers and writers together.
    pub processes: u32,
    /// Who did it.
    pub peer: Peer,
    /// One element per round.
    pub rounds: Vec<Sample>,
}

/// One case by one peer in one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// From the word to go until the last process was done.
    pub elapsed_s: f64,
    /// Operations that read.
    pub reads: Class,
    /// Operations that write.
    pub writes: Class,
    /// Processor time of the clients.
    pub clients_cpu_s: f64,
    /// Processor time of the daemon (keeper and worker) or of PostgreSQL; resolution 10 ms.
    pub server_cpu_s: f64,
}

/// The operations of one class over all processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Class {
    /// Those that succeeded.
    pub operations: u64,
    /// The sum over all processes of their operations per second of their own time.
    pub per_second: f64,
    /// Those that failed, by the error's text.
    pub errors: BTreeMap<String, u64>,
    /// Operations of each process of this class.
    pub by_process: Vec<u64>,
    /// Mean latency of those that succeeded.
    pub mean_us: f64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Class {
    /// Failed operations.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Operations of the slowest process by those of the fastest; none for a single process.
    pub fn fairness(&self) -> Option<f64> {
        let (slowest, fastest) = (self.by_process.iter().min()?, self.by_process.iter().max()?);
        (self.by_process.len() > 1 && *fastest > 0).then(|| *slowest as f64 / *fastest as f64)
    }

    /// Operations of the slowest process by the mean of all; none for a single process.
    pub fn slowest_by_mean(&self) -> Option<f64> {
        let slowest = *self.by_process.iter().min()? as f64;
        let mean = self.by_process.iter().sum::<u64>() as f64 / self.by_process.len() as f64;
        (self.by_process.len() > 1 && mean > 0.0).then(|| slowest / mean)
    }
}

/// Both everyday operations at one point of a growing quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrowthPoint {
    /// Databases, or bytes.
    pub at: u64,
    /// Who did it.
    pub peer: Peer,
    /// Point SELECTs, one element per round.
    pub select: Vec<Sample>,
    /// Single-row INSERTs, one element per round.
    pub insert: Vec<Sample>,
    /// The daemon at that point, one element per round; none for other peers.
    pub memory: Vec<Memory>,
}

/// Resident memory of the daemon's processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Of the worker, what it shares with the keeper included.
    pub worker_rss_kib: u64,
    /// Of the worker, with its part of what is shared.
    pub worker_pss_kib: u64,
    /// As for the worker.
    pub keeper_rss_kib: u64,
    /// As for the worker.
    pub keeper_pss_kib: u64,
}

impl Memory {
    /// Resident memory of both, what they share counted twice.
    pub fn rss_kib(&self) -> u64 {
        self.worker_rss_kib + self.keeper_rss_kib
    }

    /// Resident memory of both, what they share counted once.
    pub fn pss_kib(&self) -> u64 {
        self.worker_pss_kib + self.keeper_pss_kib
    }
}

/// Processes that all want to write one database on the mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WaitersPoint {
    /// Processes.
    pub waiters: u64,
    /// Hand-overs from one process to another that were timed.
    pub hand_overs: u64,
    /// From the holder's COMMIT call to the return of the next one's BEGIN IMMEDIATE: half took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Failed operations by the error's text.
    pub errors: BTreeMap<String, u64>,
    /// The daemon while all have the database open and nobody waits.
    pub idle: Memory,
    /// The daemon while all wait.
    pub waiting: Memory,
}

/// Open handles of one file on the mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandlesPoint {
    /// Open descriptors of clients.
    pub handles: u64,
    /// The daemon.
    pub memory: Memory,
}

/// Keys and values over HTTP and natively, in WAL mode with `synchronous=FULL`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpRound {
    /// Autocommit writes of one native connection.
    pub native_per_second: f64,
    /// GET of one key by [`crate::http::CONNECTIONS`] connections.
    pub get: Load,
    /// PUT of one key by as many.
    pub set: Load,
}

/// What a load of requests met.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// Requests answered.
    pub per_second: f64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Answers other than 200, and connections that failed.
    pub errors: u64,
}
