//! The tables that outlive a worker: shared memory (a memfd) that the next worker, or the next program, finds as the last one
//! left it, killed at whatever instruction.
//!
//! Knows bytes and records, nothing of FUSE, locks or SQLite. One worker lives at a time; each table has one writer at a time
//! (its caller's mutex), and is read by the next worker only.
//!
//! ```text
//!   memory      the map, word by word; what a store leaves behind when the process dies after it
//!   redo        several words at once: all or none
//!   inodes      320 bytes each         operations  what runs now and must take effect once, 2,176 bytes each
//!   handles      64 bytes each         log         events of the lock manager, and its whole state from time to time
//! ```
//! # Why this survives SIGKILL
//! The kernel keeps the pages; a killed process leaves the stores that it executed, in program order. Every store is an atomic
//! one with release order, so the compiler keeps that order too. What must change together goes through [`redo`].

mod blobs;
mod handles;
mod inodes;
mod layout;
mod log;
mod memory;
mod operations;
mod redo;
mod takeover;
#[cfg(test)]
mod tests;
mod words;

pub use handles::{HandleRecord, HandleTable};
pub use inodes::{Effect, InodeRecord, InodeTable, Slot};
pub use layout::{LAYOUT_VERSION, LayoutError, Limits};
pub use log::{Log, LogFull};
pub use memory::Memory;
pub use operations::{MAX_COUNTED, Operation, Operations};
pub use words::{COUNTERS, TRACER_DESCRIPTORS, Word};

/// A table has no free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of {table} is full ({slots} slots)")]
pub struct TableFull {
    /// Which table.
    pub table: &'static str,
    /// How many slots it has.
    pub slots: usize,
}
