//! The inodes that the kernel remembers.
//!
//! # Layout
//! 40 words (320 bytes):
//!
//! | word | field |
//! |---|---|
//! | 0 | node id; 0: the slot is free |
//! | 1, 2 | device and inode number of the backing file |
//! | 3 | node id of the directory of its last known name |
//! | 4 | lookups that the kernel has not forgotten |
//! | 5 | its O_PATH descriptor + 1; 0: none |
//! | 6 | backing id of passthrough; 0: none |
//! | 7 | flags, and the length of the name << 32 |
//! | 8..40 | the name |

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Acquire;

use super::layout::INODE_WORDS;
use super::operations::Operation;
use super::redo::Changes;
use super::{Memory, TableFull, Word};

/// Most bytes of a name (`NAME_MAX`).
const NAME_MAX: usize = 255;

const CACHED_IO: u64 = 1;
const NAMELESS: u64 = 2;

const PATH_FD: usize = 5;
const BACKING_ID: usize = 6;
const LOOKUPS: usize = 4;

/// The place of an inode in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

/// One inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InodeRecord {
    /// Its node id, not 0.
    pub node: u64,
    /// Device of the backing file.
    pub dev: u64,
    /// Inode number of the backing file.
    pub ino: u64,
    /// Node id of the directory of its last known name.
    pub parent: u64,
    /// Lookups that the kernel has not forgotten.
    pub lookups: u64,
    /// Its `O_PATH` descriptor.
    pub path_fd: Option<RawFd>,
    /// Backing id of passthrough; 0: none.
    pub backing_id: u32,
    /// Opens go through the page cache of FUSE.
    pub cached_io: bool,
    /// Its last known name is gone.
    pub nameless: bool,
    /// Its last known name, at most 255 bytes.
    pub name: Vec<u8>,
}

/// What a change of an inode means for a request at work.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// The inode was counted once for it.
    Counted(&'a Operation),
    /// The last inode that was counted for it was taken back.
    TakenBack(&'a Operation),
}

/// The table of inodes; its caller has a mutex around it.
#[derive(Debug)]
pub struct InodeTable {
    memory: Memory,
    free: Vec<usize>,
    /// Slots from here on were never used.
    unused: usize,
}

impl InodeRecord {
    fn words(&self) -> [u64; INODE_WORDS] {
        let name = &self.name[..self.name.len().min(NAME_MAX)];
        let flags = u64::from(self.cached_io) * CACHED_IO + u64::from(self.nameless) * NAMELESS;
        let mut words = [0; INODE_WORDS];
        words[..8].copy_from_slice(&[
            self.node,
            self.dev,
            self.ino,
            self.parent,
            self.lookups,
            self.path_fd.map_or(0, |fd| u64::try_from(fd + 1).unwrap_or(0)),
            self.backing_id.into(),
            flags | (name.len() as u64) << 32,
        ]);
        for (word, chunk) in words[8..].iter_mut().zip(name.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(bytes);
        }
        words
    }
}

impl InodeTable {
    /// The table as it was left, and its inodes.
    pub fn open(memory: &Memory) -> (Self, Vec<(Slot, InodeRecord)>) {
        let limit = memory.layout().limits.inodes;
        let used = usize::try_from(memory.word(Word::InodesUsed).load(Acquire)).unwrap_or(limit).min(limit);
        let mut table = Self { memory: memory.share(), free: Vec::new(), unused: used };
        let mut records = Vec::new();
        for slot in (0..used).map(Slot) {
            match table.read(slot) {
                Some(record) => records.push((slot, record)),
                None => table.free.push(slot.0),
            }
        }
        // The lowest are used first: what is in use stays together.
        table.free.reverse();
        (table, records)
    }

    fn start(&self, slot: Slot) -> usize {
        self.memory.layout().inodes + slot.0 * INODE_WORDS
    }

    fn read(&self, slot: Slot) -> Option<InodeRecord> {
        let start = self.start(slot);
        let word = |index: usize| self.memory.get(start + index);
        let node = word(0);
        let flags = word(7);
        (node != 0).then(|| InodeRecord {
            node,
            dev: word(1),
            ino: word(2),
            parent: word(3),
            lookups: word(LOOKUPS),
            path_fd: RawFd::try_from(word(PATH_FD)).ok().filter(|fd| *fd > 0).map(|fd| fd - 1),
            backing_id: u32::try_from(word(BACKING_ID)).unwrap_or(0),
            cached_io: flags & CACHED_IO != 0,
            nameless: flags & NAMELESS != 0,
            name: self.memory.get_bytes(start + 8, usize::try_from(flags >> 32).unwrap_or(0).min(NAME_MAX)),
        })
    }

    fn change(&self, slot: Slot, record: &InodeRecord, changes: &mut Changes) {
        let start = self.start(slot);
        for (index, word) in record.words().into_iter().enumerate() {
            changes.set(&self.memory, start + index, word);
        }
    }

    /// Adds an inode.
    ///
    /// # Errors
    /// If no slot is free.
    pub fn insert(&mut self, record: &InodeRecord, effect: Option<Effect>) -> Result<Slot, TableFull> {
        let limit = self.memory.layout().limits.inodes;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.unused < limit => {
                // Before the slot is used: the next worker looks no further than this.
                self.memory.put(self.memory.layout().words + Word::InodesUsed as usize, self.unused as u64 + 1);
                self.unused += 1;
                self.unused - 1
            }
            None => return Err(TableFull { table: "inodes", slots: limit }),
        };
        self.update(Slot(slot), record, effect);
        Ok(Slot(slot))
    }

    /// Changes an inode.
    pub fn update(&mut self, slot: Slot, record: &InodeRecord, effect: Option<Effect>) {
        let mut changes = Changes::default();
        self.change(slot, record, &mut changes);
        self.finish(changes, effect);
    }

    /// Takes an inode out.
    pub fn remove(&mut self, slot: Slot, effect: Option<Effect>) {
        let mut changes = Changes::default();
        changes.set(&self.memory, self.start(slot), 0);
        self.finish(changes, effect);
        self.free.push(slot.0);
    }

    /// An effect alone, on an inode that is gone.
    pub fn note(&mut self, effect: Effect) {
        self.finish(Changes::default(), Some(effect));
    }

    fn finish(&self, mut changes: Changes, effect: Option<Effect>) {
        match effect {
            None => (),
            Some(Effect::Counted(operation)) => operation.count(&self.memory, &mut changes),
            Some(Effect::TakenBack(operation)) => operation.take_back(&self.memory, &mut changes),
        }
        changes.commit(&self.memory);
    }

    /// Changes the count of lookups alone.
    pub fn set_lookups(&mut self, slot: Slot, lookups: u64) {
        self.memory.put(self.start(slot) + LOOKUPS, lookups);
        crate::fault::point();
    }

    /// Changes the descriptor alone. It is named before it is relied on, and struck out before it is closed.
    pub fn set_path_fd(&mut self, slot: Slot, fd: Option<RawFd>) {
        self.memory.put(self.start(slot) + PATH_FD, fd.map_or(0, |fd| u64::try_from(fd + 1).unwrap_or(0)));
        crate::fault::point();
    }

    /// Changes the backing id alone.
    pub fn set_backing_id(&mut self, slot: Slot, id: u32) {
        self.memory.put(self.start(slot) + BACKING_ID, id.into());
        crate::fault::point();
    }

    /// Bytes of one inode.
    pub const BYTES: usize = 8 * INODE_WORDS;
}
