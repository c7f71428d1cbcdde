//! Requests that must take effect once: while one is at work a slot tells what it has done so far, so that the next worker, to
//! whom the kernel sends it once more, can go on or begin anew.
//!
//! # Layout
//! 272 words (2,176 bytes): the request's number (0: the slot is free), kind, six arguments, how many inodes were counted for it,
//! and their node ids in order. The number is written last and cleared first; the counted inodes change only together with the
//! inodes themselves.

use std::sync::{Arc, Mutex, PoisonError};

use super::layout::OPERATION_WORDS;
use super::redo::Changes;
use super::{Memory, TableFull};

/// Most inodes that one request counts: entries of one READDIRPLUS answer.
pub const MAX_COUNTED: usize = 256;

const KIND: usize = 1;
const ARGUMENTS: usize = 2;
const COUNT: usize = 8;
const NODES: usize = 9;

/// The slots.
#[derive(Debug)]
pub struct Operations {
    memory: Memory,
    free: Mutex<Vec<usize>>,
}

/// One request at work; its slot is free again when this is dropped, which is after the reply.
#[derive(Debug)]
pub struct Operation {
    operations: Arc<Operations>,
    slot: usize,
    /// The node that the change in progress counts.
    node: u64,
}

impl Operations {
    /// The slots as they were left, and the requests that were at work, by their numbers.
    pub fn open(memory: &Memory) -> (Arc<Self>, Vec<(u64, Operation)>) {
        let slots = memory.layout().limits.operations;
        let operations = Arc::new(Self { memory: memory.share(), free: Mutex::default() });
        let mut left = Vec::new();
        let mut free = Vec::new();
        for slot in (0..slots).rev() {
            match memory.get(operations.start(slot)) {
                0 => free.push(slot),
                unique => left.push((unique, Operation { operations: Arc::clone(&operations), slot, node: 0 })),
            }
        }
        *operations.free.lock().unwrap_or_else(PoisonError::into_inner) = free;
        (operations, left)
    }

    fn start(&self, slot: usize) -> usize {
        self.memory.layout().operations + slot * OPERATION_WORDS
    }

    /// Takes a slot for a request.
    ///
    /// # Errors
    /// If none is free: more requests are at work than there are threads for.
    pub fn begin(self: &Arc<Self>, unique: u64, kind: u64, arguments: [u64; 6]) -> Result<Operation, TableFull> {
        let slot = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let full = TableFull { table: "requests at work", slots: self.memory.layout().limits.operations };
        let slot = slot.ok_or(full)?;
        let start = self.start(slot);
        self.memory.put(start + KIND, kind);
        for (index, argument) in arguments.into_iter().enumerate() {
            self.memory.put(start + ARGUMENTS + index, argument);
        }
        self.memory.put(start + COUNT, 0);
        self.memory.put(start, unique);
        crate::fault::point();
        Ok(Operation { operations: Arc::clone(self), slot, node: 0 })
    }
}

impl Operation {
    fn word(&self, index: usize) -> u64 {
        self.operations.memory.get(self.operations.start(self.slot) + index)
    }

    /// What kind of request it is.
    pub fn kind(&self) -> u64 {
        self.word(KIND)
    }

    /// Its arguments.
    pub fn arguments(&self) -> [u64; 6] {
        std::array::from_fn(|index| self.word(ARGUMENTS + index))
    }

    /// The last node that was counted for it.
    pub fn last_counted(&self) -> Option<u64> {
        let count = usize::try_from(self.word(COUNT)).unwrap_or(0).min(MAX_COUNTED);
        count.checked_sub(1).map(|last| self.word(NODES + last))
    }

    #[cfg(test)]
    pub(super) fn counted_at(&self, index: usize) -> u64 {
        self.word(NODES + index)
    }

    /// How many inodes were counted for it.
    pub fn counted(&self) -> usize {
        usize::try_from(self.word(COUNT)).unwrap_or(0)
    }

    /// Names the node that the next [`super::Effect::Counted`] counts.
    pub fn about_to_count(&mut self, node: u64) {
        self.node = node;
    }

    pub(super) fn count(&self, memory: &Memory, changes: &mut Changes) {
        let start = self.operations.start(self.slot);
        let count = self.counted();
        assert!(count < MAX_COUNTED, "a request counts more than {MAX_COUNTED} inodes");
        changes.set(memory, start + NODES + count, self.node);
        changes.set(memory, start + COUNT, count as u64 + 1);
    }

    pub(super) fn take_back(&self, memory: &Memory, changes: &mut Changes) {
        let start = self.operations.start(self.slot);
        changes.set(memory, start + COUNT, (self.counted() as u64).saturating_sub(1));
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        crate::fault::point();
        self.operations.memory.put(self.operations.start(self.slot), 0);
        crate::fault::point();
        self.operations.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}
