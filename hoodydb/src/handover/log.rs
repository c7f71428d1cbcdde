//! The record of the lock manager: its whole state from time to time, and every event since. Bytes to this room.
//!
//! # Layout
//! The generation g (0: no state was kept yet). Two halves of the log: the tail in words, then entries, each a length in bytes and
//! the bytes, filled up to whole words. Two checkpoints: length and bytes. Half and checkpoint `g % 2` count. A new generation is
//! written beside the old one and begins to count with one store.

use super::Memory;

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room in the log or in the checkpoint")]
pub struct LogFull;

/// Checkpoints longer than this give their pages back when they are replaced.
const DISCARD_WORDS: usize = 128 * 1024;

/// The log; its caller has a mutex around it.
#[derive(Debug)]
pub struct Log {
    memory: Memory,
    generation: u64,
    tail: usize,
    capacity: usize,
}

impl Log {
    /// The log as it was left.
    pub fn open(memory: &Memory) -> Self {
        let capacity = memory.layout().limits.log_bytes / 8;
        let mut log = Self { memory: memory.share(), generation: memory.get(memory.layout().log), tail: 0, capacity };
        log.tail = usize::try_from(memory.get(log.half())).unwrap_or(capacity).min(capacity);
        log
    }

    fn half(&self) -> usize {
        self.half_of(self.generation)
    }

    fn half_of(&self, generation: u64) -> usize {
        self.memory.layout().log + 1 + usize::from(generation % 2 == 1) * (1 + self.capacity)
    }

    fn checkpoint_of(&self, generation: u64) -> usize {
        let words = self.memory.layout().limits.checkpoint_bytes / 8;
        self.memory.layout().checkpoints + usize::from(generation % 2 == 1) * (1 + words)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// If the half is full.
    pub fn append(&mut self, entry: &[u8]) -> Result<(), LogFull> {
        let words = 1 + entry.len().div_ceil(8);
        if self.tail + words > self.capacity {
            return Err(LogFull);
        }
        let half = self.half();
        self.memory.put(half + 1 + self.tail, entry.len() as u64);
        self.memory.put_bytes(half + 2 + self.tail, entry);
        crate::fault::point();
        self.tail += words;
        self.memory.put(half, self.tail as u64);
        crate::fault::point();
        Ok(())
    }

    /// Whether half of the room is used.
    pub fn is_due(&self) -> bool {
        self.tail > self.capacity / 2
    }

    /// The entries since the last checkpoint, in order.
    pub fn entries(&self) -> Vec<Vec<u8>> {
        let half = self.half();
        let mut entries = Vec::new();
        let mut at = 0;
        while at < self.tail {
            let length = usize::try_from(self.memory.get(half + 1 + at)).unwrap_or(usize::MAX);
            let words = 1 + length.div_ceil(8);
            if words > self.tail - at {
                // Only a foreign hand can have written that.
                break;
            }
            entries.push(self.memory.get_bytes(half + 2 + at, length));
            at += words;
        }
        entries
    }

    /// The last state that was kept.
    pub fn state(&self) -> Option<Vec<u8>> {
        let start = self.checkpoint_of(self.generation);
        let length = usize::try_from(self.memory.get(start)).unwrap_or(0);
        let room = self.memory.layout().limits.checkpoint_bytes;
        (self.generation > 0).then(|| self.memory.get_bytes(start + 1, length.min(room)))
    }

    /// Keeps a state, and begins the log anew.
    ///
    /// # Errors
    /// If it does not fit; then nothing has changed.
    pub fn checkpoint(&mut self, state: &[u8]) -> Result<(), LogFull> {
        if state.len() > self.memory.layout().limits.checkpoint_bytes {
            return Err(LogFull);
        }
        let next = self.generation + 1;
        let start = self.checkpoint_of(next);
        self.memory.put_bytes(start + 1, state);
        self.memory.put(start, state.len() as u64);
        self.memory.put(self.half_of(next), 0);
        crate::fault::point();
        self.memory.put(self.memory.layout().log, next);
        crate::fault::point();
        let old = self.checkpoint_of(self.generation);
        let old_words = usize::try_from(self.memory.get(old)).unwrap_or(0) / 8;
        if old_words > DISCARD_WORDS {
            self.memory.discard(old + 1, old_words);
        }
        (self.generation, self.tail) = (next, 0);
        Ok(())
    }
}
