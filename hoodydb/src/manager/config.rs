//! Times and limits of the manager.

use serde::{Deserialize, Serialize};

use crate::sqlite::LockBytes;

use super::Policy;

/// Times and limits; each has its reason beside its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Where SQLite's lock bytes lie.
    pub lock_bytes: LockBytes,
    /// Policy of databases that have none of their own.
    pub policy: Policy,
    /// Longest wait of a call that did not ask to wait: a stuck holder must show up.
    pub max_wait_ns: u64,
    /// T: how long after its read start a transaction may show that it writes. 2 ms gave errors on a loaded machine.
    pub intent_ns: u64,
    /// Longest intent of a thread that computes: what a writer may be delayed by an unknown reader.
    pub intent_max_ns: u64,
    /// Longest intent of a thread that cannot go on: on a loaded machine its write comes late through no fault of its own.
    pub starved_max_ns: u64,
    /// How long the answer to a probe is waited for before a reader is let in.
    pub probe_ns: u64,
    /// The same before a turn is taken away, which may cost its owner an error: on a loaded machine the daemon's own thread
    /// comes late too.
    pub turn_probe_ns: u64,
    /// How long a writer that comes straight back keeps its turn: buys throughput back from strict FIFO.
    pub quantum_ns: u64,
    /// What "straight back" means.
    pub gap_ns: u64,
    /// The same for a domain that has not written: SQLite loads the schema, or retries a read, in between.
    pub retry_gap_ns: u64,
    /// WAL: longest hold of a domain that may be a reader, per blocking transaction.
    pub reader_hold_ns: u64,
    /// How long a refused writer keeps its place: SQLite's busy handler sleeps 100 ms at most.
    pub claim_ns: u64,
    /// How long a cycle through different threads of a process is only a suspicion.
    pub suspicion_ns: u64,
    /// Records per holder and file; SQLite needs four.
    pub max_records_per_holder: usize,
    /// Records of all files: bounds the memory to about 128 MB.
    pub max_records: usize,
    /// Records of one process on all files, once three quarters of all are taken.
    pub max_records_per_process: usize,
    /// Parked calls per process, i.e. threads of it that stand still.
    pub max_waiters_per_process: usize,
    /// Parked calls per container: one container cannot take all places.
    pub max_waiters_per_group: usize,
    /// Parked calls of all processes.
    pub max_waiters: usize,
}

const MS: u64 = 1_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            lock_bytes: LockBytes::default(),
            policy: Policy::Turn,
            max_wait_ns: 30_000 * MS,
            intent_ns: 25 * MS,
            intent_max_ns: 100 * MS,
            starved_max_ns: 1_000 * MS,
            probe_ns: 5 * MS,
            turn_probe_ns: 100 * MS,
            quantum_ns: 8 * MS,
            gap_ns: MS,
            retry_gap_ns: 2 * MS,
            reader_hold_ns: 100 * MS,
            claim_ns: 250 * MS,
            suspicion_ns: 100 * MS,
            max_records_per_holder: 8_192,
            max_records: 1_000_000,
            max_records_per_process: 65_536,
            max_waiters_per_process: 1_024,
            max_waiters_per_group: 16_384,
            max_waiters: 65_536,
        }
    }
}
