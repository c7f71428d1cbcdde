//! Open file handles: one descriptor of the backing file each, so that every client gets its own fsync errors.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::shares::{self, Opener, Shares, Told};
use crate::handover::{HandleRecord, HandleTable, Memory, Word};
use crate::lock::FileId;

/// One open file description.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) node: u64,
    pub(super) file: FileId,
    pub(super) fd: OwnedFd,
    pub(super) read_only: bool,
    pub(super) no_flush: bool,
    pub(super) opener: Opener,
}

/// All open handles.
#[derive(Debug)]
pub(super) struct Handles {
    memory: Memory,
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    kept: HandleTable,
    open: HashMap<u64, (usize, Arc<OpenFile>)>,
    /// Handles of a process before this one by the request that opened them; forgotten after a while.
    opened_by: HashMap<u64, u64>,
    /// Whose they are, while they are many.
    shares: Option<Shares>,
    told: Told,
}

impl Handles {
    /// As the process before this one left them.
    pub(super) fn new(memory: &Memory) -> Self {
        let (kept, records) = HandleTable::open(memory);
        let (mut open, mut opened_by) = (HashMap::new(), HashMap::new());
        for (slot, record) in records {
            opened_by.insert(record.opened_by, record.handle);
            let file = OpenFile {
                node: record.node,
                file: FileId { dev: record.dev, ino: record.ino },
                // SAFETY: the process that opened the descriptor is dead, and the table names each one once.
                fd: unsafe { OwnedFd::from_raw_fd(record.fd) },
                read_only: record.read_only,
                no_flush: record.no_flush,
                opener: Opener::thread(record.opener),
            };
            open.insert(record.handle, (slot, Arc::new(file)));
        }
        let tables = Tables { kept, open, opened_by, shares: None, told: Told::default() };
        Self { memory: memory.share(), tables: Mutex::new(tables) }
    }

    /// Nothing changes any more: whoever wants to waits for ever.
    pub(super) fn freeze(&self) {
        std::mem::forget(self.tables());
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an open file and names it; `opened_by` is the request.
    ///
    /// # Errors
    /// ENFILE if the table is full.
    pub(super) fn insert(&self, file: OpenFile, opened_by: u64) -> io::Result<u64> {
        let mut tables = self.tables();
        let last = self.memory.word(Word::LastHandle);
        let handle = last.load(Relaxed) + 1;
        last.store(handle, Release);
        let record = HandleRecord {
            handle,
            node: file.node,
            dev: file.file.dev,
            ino: file.file.ino,
            opened_by,
            fd: file.fd.as_raw_fd(),
            read_only: file.read_only,
            no_flush: file.no_flush,
            opener: file.opener.pid,
        };
        let slot = tables.kept.insert(&record).map_err(|_| Errno::NFILE)?;
        if let Some(shares) = &mut tables.shares {
            shares.add(handle, file.opener);
        }
        tables.open.insert(handle, (slot, Arc::new(file)));
        Ok(handle)
    }

    /// Whether a thread may open one more of at most `limit`, and who it is.
    ///
    /// # Errors
    /// ENFILE at the limit; EMFILE near it, for whoever has more than a share of it.
    pub(super) fn may_open(&self, tid: u32, limit: u64) -> io::Result<Opener> {
        let open = self.len() as u64;
        if open >= limit {
            return Err(Errno::NFILE.into());
        }
        if !shares::are_counted(open, limit) {
            if shares::are_few(open, limit) {
                let unused = self.tables().shares.take();
                drop(unused);
            }
            return Ok(Opener::thread(tid));
        }
        self.count_shares();
        let opener = Opener::of(tid);
        let mut tables = self.tables();
        let used = tables.shares.as_ref().and_then(|shares| shares.used_up(opener, open, limit));
        let Some(used) = used else { return Ok(opener) };
        tables.told.tell(opener, used, limit);
        Err(Errno::MFILE.into())
    }

    /// Begins to count, with the openers of all handles so far.
    fn count_shares(&self) {
        let tables = self.tables();
        if tables.shares.is_some() {
            return;
        }
        let threads: BTreeSet<u32> = tables.open.values().map(|(_, file)| file.opener.pid).collect();
        drop(tables);
        // /proc is read outside of the mutex.
        let openers: HashMap<u32, Opener> = threads.into_iter().map(|tid| (tid, Opener::of(tid))).collect();
        let mut tables = self.tables();
        let mut shares = Shares::default();
        for (handle, (_, file)) in &tables.open {
            shares.add(*handle, openers.get(&file.opener.pid).copied().unwrap_or(file.opener));
        }
        tables.shares = Some(shares);
    }

    pub(super) fn get(&self, handle: u64) -> Option<Arc<OpenFile>> {
        self.tables().open.get(&handle).map(|(_, file)| Arc::clone(file))
    }

    /// The handle that a request opened for which the process before this one could not answer.
    pub(super) fn opened_by(&self, request: u64) -> Option<(u64, Arc<OpenFile>)> {
        let tables = self.tables();
        let handle = *tables.opened_by.get(&request)?;
        tables.open.get(&handle).map(|(_, file)| (handle, Arc::clone(file)))
    }

    /// Forgets which requests will not come again.
    pub(super) fn forget_left(&self) {
        self.tables().opened_by = HashMap::new();
    }

    /// The nodes of all open files, one for each handle.
    pub(super) fn nodes(&self) -> Vec<u64> {
        self.tables().open.values().map(|(_, file)| file.node).collect()
    }

    pub(super) fn remove(&self, handle: u64) -> Option<Arc<OpenFile>> {
        let mut tables = self.tables();
        let (slot, file) = tables.open.remove(&handle)?;
        tables.kept.remove(slot);
        if let Some(shares) = &mut tables.shares {
            shares.remove(handle);
        }
        Some(file)
    }

    pub(super) fn len(&self) -> usize {
        self.tables().open.len()
    }
}
