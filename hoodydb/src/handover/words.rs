//! Single words with a name, and the counters.

use std::sync::atomic::AtomicU64;

use super::Memory;

/// How many counters there are.
pub const COUNTERS: usize = 64;

/// A word that both processes know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Workers started so far.
    Generation,
    /// The last worker that began to change the tables.
    Serving,
    /// The last worker that answers requests.
    Ready,
    /// Process id of the keeper.
    KeeperPid,
    /// Process id of the worker.
    WorkerPid,
    /// Grows while the worker lives.
    Heartbeat,
    /// Workers that were replaced.
    Restarts,
    /// When the last one ended: nanoseconds of CLOCK_MONOTONIC.
    EndedAt,
    /// From then until its successor was ready, in nanoseconds.
    StallNs,
    /// What the keeper, or a user, wants of the worker.
    Wish,
    /// What the worker wants of the keeper.
    Request,
    /// Descriptor of the program to go over to.
    Binary,
    /// `st_dev` of the mount.
    MountDevice,
    /// When the mount was made: nanoseconds of CLOCK_MONOTONIC.
    StartedAt,
    /// How far the unmount is.
    Phase,
    /// Whether reads and writes bypass the daemon: 0 not decided, 1 yes, 2 no.
    Passthrough,
    /// The last handle that was given out.
    LastHandle,
    /// The last node id that was made up.
    LastAlias,
    /// Fault points until the crash that a test asked for; 0: none.
    CrashAt,
    /// Slots of the table of inodes that were ever used.
    InodesUsed,
    /// Slots of the table of handles that were ever used.
    HandlesUsed,
    /// What the lock tracer's descriptors are, in the tracer's words; 0: there are none.
    TracerVersion,
}

/// Descriptors of the lock tracer.
pub const TRACER_DESCRIPTORS: usize = 8;

/// Their first word, behind all named ones.
const TRACER: usize = 40;

const _: () = assert!((Word::TracerVersion as usize) < TRACER);

impl Memory {
    /// A named word.
    pub fn word(&self, word: Word) -> &AtomicU64 {
        self.at(self.layout().words + word as usize)
    }

    /// A descriptor of the lock tracer, -1 for none; good while [`Word::TracerVersion`] is not 0.
    ///
    /// # Panics
    /// If there is no such one.
    pub fn tracer_descriptor(&self, index: usize) -> &AtomicU64 {
        assert!(index < TRACER_DESCRIPTORS, "descriptor {index}");
        self.at(self.layout().words + TRACER + index)
    }

    /// One of the counters, which only grow.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn counter(&self, index: usize) -> &AtomicU64 {
        assert!(index < COUNTERS, "counter {index}");
        self.at(self.layout().counters + index)
    }
}
