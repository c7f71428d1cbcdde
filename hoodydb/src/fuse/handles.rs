//! Open file handles: one descriptor of the backing file each, so that every client gets its own fsync errors.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lock::FileId;

/// One open file description.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) node: u64,
    pub(super) file: FileId,
    pub(super) fd: OwnedFd,
}

/// All open handles.
#[derive(Debug, Default)]
pub(super) struct Handles {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    open: HashMap<u64, Arc<OpenFile>>,
    last: u64,
}

impl Handles {
    /// Nothing changes any more: whoever wants to waits for ever.
    pub(super) fn freeze(&self) {
        std::mem::forget(self.tables());
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an open file and names it.
    pub(super) fn insert(&self, file: OpenFile) -> u64 {
        let mut tables = self.tables();
        tables.last += 1;
        let handle = tables.last;
        tables.open.insert(handle, Arc::new(file));
        handle
    }

    pub(super) fn get(&self, handle: u64) -> Option<Arc<OpenFile>> {
        self.tables().open.get(&handle).cloned()
    }

    pub(super) fn remove(&self, handle: u64) -> Option<Arc<OpenFile>> {
        self.tables().open.remove(&handle)
    }

    pub(super) fn len(&self) -> usize {
        self.tables().open.len()
    }
}
