//! What the next worker does first.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::SeqCst;

use super::{HandleTable, InodeTable, Log, Memory, TRACER_DESCRIPTORS, Word, redo};

impl Memory {
    /// Carries out what the last worker had written down and not carried out. Only while no worker lives.
    pub fn recover(&self) {
        redo::carry_out(self);
    }

    /// The descriptors that the tables name, in ascending order. Only while no worker lives.
    pub fn table_descriptors(&self) -> Vec<RawFd> {
        self.recover();
        let inodes = InodeTable::open(self).1.into_iter().filter_map(|(_, inode)| inode.path_fd);
        let handles = HandleTable::open(self).1.into_iter().map(|(_, handle)| handle.fd);
        let mut descriptors: Vec<RawFd> = inodes.chain(handles).chain(self.tracer_descriptors()).collect();
        descriptors.sort_unstable();
        descriptors
    }

    fn tracer_descriptors(&self) -> Vec<RawFd> {
        if self.word(Word::TracerVersion).load(SeqCst) == 0 {
            return Vec::new();
        }
        let numbers = (0..TRACER_DESCRIPTORS).map(|index| self.tracer_descriptor(index).load(SeqCst));
        numbers.filter_map(|number| RawFd::try_from(number.cast_signed()).ok()).filter(|fd| *fd >= 0).collect()
    }

    /// The state of the lock manager that was kept last.
    pub fn saved_locks(&self) -> Option<Vec<u8>> {
        Log::open(self).state()
    }
}
