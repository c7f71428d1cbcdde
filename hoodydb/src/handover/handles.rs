//! The open handles.
//!
//! # Layout
//! 8 words (64 bytes): handle (0: the slot is free), node id, device, inode number, the request that opened it, descriptor,
//! flags (1: read only, 2: without flush), opener (0: not known). The handle is written last and cleared first.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Acquire;

use super::layout::HANDLE_WORDS;
use super::{Memory, TableFull, Word};

const READ_ONLY: u64 = 1;
const NO_FLUSH: u64 = 2;

/// One open handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleRecord {
    /// Its number, not 0.
    pub handle: u64,
    /// The node id of its file.
    pub node: u64,
    /// Device of the backing file.
    pub dev: u64,
    /// Inode number of the backing file.
    pub ino: u64,
    /// The request that opened it.
    pub opened_by: u64,
    /// The descriptor of the backing file.
    pub fd: RawFd,
    /// Opened without write access.
    pub read_only: bool,
    /// Its close() needs no FLUSH.
    pub no_flush: bool,
    /// The process or thread that opened it; 0 if it is not known.
    pub opener: u32,
}

/// The table of handles; its caller has a mutex around it.
#[derive(Debug)]
pub struct HandleTable {
    memory: Memory,
    free: Vec<usize>,
    unused: usize,
}

impl HandleTable {
    /// The table as it was left, and its handles with their slots.
    pub fn open(memory: &Memory) -> (Self, Vec<(usize, HandleRecord)>) {
        let limit = memory.layout().limits.handles;
        let used = usize::try_from(memory.word(Word::HandlesUsed).load(Acquire)).unwrap_or(limit).min(limit);
        let mut table = Self { memory: memory.share(), free: Vec::new(), unused: used };
        let mut records = Vec::new();
        for slot in 0..used {
            match table.read(slot) {
                Some(record) => records.push((slot, record)),
                None => table.free.push(slot),
            }
        }
        table.free.reverse();
        (table, records)
    }

    fn start(&self, slot: usize) -> usize {
        self.memory.layout().handles + slot * HANDLE_WORDS
    }

    fn read(&self, slot: usize) -> Option<HandleRecord> {
        let start = self.start(slot);
        let word = |index: usize| self.memory.get(start + index);
        let handle = word(0);
        (handle != 0).then(|| HandleRecord {
            handle,
            node: word(1),
            dev: word(2),
            ino: word(3),
            opened_by: word(4),
            fd: RawFd::try_from(word(5)).unwrap_or(-1),
            read_only: word(6) & READ_ONLY != 0,
            no_flush: word(6) & NO_FLUSH != 0,
            opener: u32::try_from(word(7)).unwrap_or(0),
        })
    }

    /// Adds a handle; gives its slot.
    ///
    /// # Errors
    /// If no slot is free.
    pub fn insert(&mut self, record: &HandleRecord) -> Result<usize, TableFull> {
        let limit = self.memory.layout().limits.handles;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.unused < limit => {
                self.memory.put(self.memory.layout().words + Word::HandlesUsed as usize, self.unused as u64 + 1);
                self.unused += 1;
                self.unused - 1
            }
            None => return Err(TableFull { table: "handles", slots: limit }),
        };
        let start = self.start(slot);
        let flags = u64::from(record.read_only) * READ_ONLY + u64::from(record.no_flush) * NO_FLUSH;
        let fd = u64::try_from(record.fd).unwrap_or(u64::MAX);
        let words = [record.node, record.dev, record.ino, record.opened_by, fd, flags, u64::from(record.opener)];
        for (index, word) in words.into_iter().enumerate() {
            self.memory.put(start + 1 + index, word);
        }
        crate::fault::point();
        self.memory.put(start, record.handle);
        crate::fault::point();
        Ok(slot)
    }

    /// Takes a handle out; its descriptor is closed afterwards.
    pub fn remove(&mut self, slot: usize) {
        crate::fault::point();
        self.memory.put(self.start(slot), 0);
        crate::fault::point();
        self.free.push(slot);
    }

    /// Bytes of one handle.
    pub const BYTES: usize = 8 * HANDLE_WORDS;
}
