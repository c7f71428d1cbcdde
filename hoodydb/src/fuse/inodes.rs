//! The inodes that the kernel remembers, and how each is reached in the backing directory.
//!
//! An inode is known by the (device, inode number) of its backing file and reached through an `O_PATH | O_NOFOLLOW`
//! descriptor, opened from its parent's descriptor by its last known name and verified. Those descriptors are a cache:
//! inodes whose last known name is gone keep theirs; others may lose it and get it again by name.
//!
//! Invariant: every step in the backing directory is one name below a descriptor; nothing follows a link.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::once::Once;
use crate::handover::{Effect, InodeRecord, InodeTable, Memory, Operation, Slot, Word};
use crate::lock::FileId;

/// The root's node id, fixed by the FUSE protocol.
pub(super) const ROOT: u64 = 1;

/// Node ids above this stand for backing files whose inode number cannot be a node id (1, or of another device).
const FIRST_ALIAS: u64 = 1 << 63;

/// So many other names of a file are kept; of more links than these the earliest are forgotten.
const MAX_OTHER_NAMES: usize = 16;

/// One inode that the kernel remembers.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) file: FileId,
    parent: u64,
    name: OsString,
    /// Lookups that the kernel has not forgotten.
    lookups: u64,
    /// Open handles.
    pub(super) opens: u32,
    /// Backing id of passthrough while handles are open; 0: none.
    pub(super) backing_id: u32,
    /// Opens go through the page cache of FUSE while any is open (passthrough was not possible).
    pub(super) cached_io: bool,
    /// Its last known name is gone: the descriptor is the only way to it.
    pub(super) nameless: bool,
    /// Other names of the file (hard links) that were made or looked up, the latest last: one of them takes the place of a
    /// name that goes. Without them each object that git stores (link, then unlink) would pin a descriptor.
    other_names: Vec<(u64, OsString)>,
    path_fd: Option<Arc<OwnedFd>>,
    /// Cut short since it was opened: a disk may flush the whole file at its last close then (ext4, XFS), which takes long.
    pub(super) was_cut: bool,
    /// Its place in the table that outlives this process; the root needs none.
    slot: Option<Slot>,
}

#[derive(Debug)]
struct Tables {
    kept: InodeTable,
    nodes: HashMap<u64, Inode>,
    aliases: HashMap<FileId, u64>,
    last_alias: u64,
    /// Nodes with a descriptor, oldest first; may name a node twice or one that is gone.
    cached: VecDeque<u64>,
    descriptors: usize,
}

/// All inodes of a mount.
#[derive(Debug)]
pub(super) struct Inodes {
    device: u64,
    max_descriptors: usize,
    memory: Memory,
    tables: Mutex<Tables>,
    /// Names change under the write side; descriptors are opened by name under the read side.
    names: RwLock<()>,
}

pub(super) fn file_id(stat: &Stat) -> FileId {
    FileId { dev: stat.st_dev, ino: stat.st_ino }
}

/// Opens one name below a directory without following anything.
pub(super) fn open_path(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

impl Inode {
    /// A file has this name too.
    fn is_also(&mut self, parent: u64, name: &OsStr) {
        if self.nameless {
            (self.parent, self.name, self.nameless) = (parent, name.to_owned(), false);
        } else if (self.parent, self.name.as_os_str()) != (parent, name) {
            self.other_names.retain(|(of, other)| (*of, other.as_os_str()) != (parent, name));
            if self.other_names.len() == MAX_OTHER_NAMES {
                self.other_names.remove(0);
            }
            self.other_names.push((parent, name.to_owned()));
        }
    }

    /// A file has lost this name; says whether that was the one that it was known by.
    fn is_no_longer(&mut self, parent: u64, name: &OsStr) -> bool {
        self.other_names.retain(|(of, other)| (*of, other.as_os_str()) != (parent, name));
        let was_known_by_it = (self.parent, self.name.as_os_str()) == (parent, name);
        if was_known_by_it {
            match self.other_names.pop() {
                Some((parent, name)) => (self.parent, self.name) = (parent, name),
                None => self.nameless = true,
            }
        }
        was_known_by_it
    }

    fn record(&self, node: u64) -> InodeRecord {
        InodeRecord {
            node,
            dev: self.file.dev,
            ino: self.file.ino,
            parent: self.parent,
            lookups: self.lookups,
            path_fd: self.path_fd.as_ref().map(|fd| fd.as_raw_fd()),
            backing_id: self.backing_id,
            cached_io: self.cached_io,
            nameless: self.nameless,
            name: self.name.as_bytes().to_vec(),
        }
    }

    fn restored(slot: Slot, record: InodeRecord) -> Self {
        // SAFETY: the process that opened the descriptor is dead, and the table names each one once.
        let own = |fd| Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
        Self {
            file: FileId { dev: record.dev, ino: record.ino },
            parent: record.parent,
            name: OsString::from_vec(record.name),
            lookups: record.lookups,
            opens: 0,
            backing_id: record.backing_id,
            cached_io: record.cached_io,
            nameless: record.nameless,
            other_names: Vec::new(),
            path_fd: record.path_fd.map(own),
            was_cut: true,
            slot: Some(slot),
        }
    }
}

impl Inodes {
    /// The root, and what the process before this one left; at most about `max_descriptors` are kept for inodes that could be
    /// reached by name.
    pub(super) fn new(root: OwnedFd, max_descriptors: usize, memory: &Memory) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&root)?;
        let (kept, records) = InodeTable::open(memory);
        let mut tables = Tables {
            kept,
            nodes: HashMap::new(),
            aliases: HashMap::new(),
            last_alias: memory.word(Word::LastAlias).load(Relaxed).max(FIRST_ALIAS),
            cached: VecDeque::new(),
            descriptors: 1,
        };
        let root = Inode {
            file: file_id(&stat),
            parent: ROOT,
            name: OsString::new(),
            lookups: 1,
            opens: 1,
            backing_id: 0,
            cached_io: false,
            nameless: false,
            other_names: Vec::new(),
            path_fd: Some(Arc::new(root)),
            was_cut: false,
            slot: None,
        };
        tables.aliases.insert(root.file, ROOT);
        tables.nodes.insert(ROOT, root);
        for (slot, record) in records {
            let node = record.node;
            let inode = Inode::restored(slot, record);
            if node >= FIRST_ALIAS {
                tables.aliases.insert(inode.file, node);
            }
            if inode.path_fd.is_some() {
                tables.cached.push_back(node);
                tables.descriptors += 1;
            }
            tables.nodes.insert(node, inode);
        }
        Ok(Self {
            device: stat.st_dev,
            max_descriptors,
            memory: memory.share(),
            tables: Mutex::new(tables),
            names: RwLock::new(()),
        })
    }

    /// After all handles are counted: what nobody uses any more, because the process before this one died in the middle of
    /// letting it go. Gives the backing ids that are to be closed.
    pub(super) fn let_go_of_unused(&self) -> Vec<u32> {
        let mut tables = self.tables();
        let unused: Vec<u64> =
            tables.nodes.iter().filter(|(_, inode)| inode.opens == 0).map(|(node, _)| *node).collect();
        let mut ids = Vec::new();
        for node in unused {
            if let Some(inode) = tables.nodes.get_mut(&node)
                && (inode.backing_id != 0 || inode.cached_io)
            {
                ids.extend((inode.backing_id != 0).then_some(inode.backing_id));
                (inode.backing_id, inode.cached_io) = (0, false);
                tables.keep(node, None);
            }
            drop(tables.remove_if_unused(node, None));
        }
        ids
    }

    /// Inodes without a name that nobody has open: node id and lookups.
    pub(super) fn nameless_unused(&self) -> Vec<(u64, u64)> {
        let tables = self.tables();
        let unused = tables.nodes.iter().filter(|(node, inode)| **node != ROOT && inode.nameless && inode.opens == 0);
        unused.map(|(node, inode)| (*node, inode.lookups)).collect()
    }

    /// The backing ids in use.
    pub(super) fn backing_ids(&self) -> HashSet<u32> {
        self.tables().nodes.values().map(|inode| inode.backing_id).filter(|id| *id != 0).collect()
    }

    /// Nothing changes any more: whoever wants to waits for ever.
    pub(super) fn freeze(&self) {
        std::mem::forget(self.tables());
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` while no descriptor is being opened by name: renames, unlinks.
    pub(super) fn changing_names<T>(&self, change: impl FnOnce() -> T) -> T {
        let _names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        change()
    }

    /// Counts one lookup of a file found as `name` in `parent` for a request, and gives its node id.
    ///
    /// # Errors
    /// ENFILE if the table is full.
    pub(super) fn remember(
        &self,
        parent: u64,
        name: &OsStr,
        stat: &Stat,
        path_fd: Option<OwnedFd>,
        once: &mut Once,
    ) -> io::Result<u64> {
        let file = file_id(stat);
        let operation = once.operation()?;
        let mut tables = self.tables();
        let node = self.node_of(&mut tables, file);
        operation.about_to_count(node);
        let inode = tables.nodes.entry(node).or_insert_with(|| Inode {
            file,
            parent,
            name: name.to_owned(),
            lookups: 0,
            opens: 0,
            backing_id: 0,
            cached_io: false,
            nameless: false,
            other_names: Vec::new(),
            path_fd: None,
            was_cut: false,
            slot: None,
        });
        inode.lookups += 1;
        inode.is_also(parent, name);
        let has_new_fd = inode.path_fd.is_none() && path_fd.is_some();
        if has_new_fd {
            inode.path_fd = path_fd.map(Arc::new);
        }
        if !tables.keep(node, Some(Effect::Counted(operation))) {
            drop(tables.forget_new(node, file));
            return Err(Errno::NFILE.into());
        }
        if has_new_fd {
            tables.keep_descriptor(node, self.max_descriptors);
        }
        Ok(node)
    }

    /// Takes back the last inode that was counted for a request; gives what must be dropped outside.
    pub(super) fn take_back(&self, operation: &Operation) -> Option<Arc<OwnedFd>> {
        let node = operation.last_counted()?;
        let mut tables = self.tables();
        let effect = Effect::TakenBack(operation);
        let Some(inode) = tables.nodes.get_mut(&node).filter(|inode| inode.slot.is_some()) else {
            tables.kept.note(effect);
            return None;
        };
        inode.lookups = inode.lookups.saturating_sub(1);
        if inode.lookups == 0 && inode.opens == 0 {
            return tables.remove_if_unused(node, Some(effect));
        }
        tables.keep(node, Some(effect));
        None
    }

    fn node_of(&self, tables: &mut Tables, file: FileId) -> u64 {
        if file.dev == self.device && file.ino > ROOT && file.ino < FIRST_ALIAS {
            // The root's own inode number must not become a second node of it.
            return tables.aliases.get(&file).copied().unwrap_or(file.ino);
        }
        if let Some(node) = tables.aliases.get(&file) {
            return *node;
        }
        tables.last_alias += 1;
        let node = tables.last_alias;
        self.memory.word(Word::LastAlias).store(node, Release);
        tables.aliases.insert(file, node);
        node
    }

    /// The node id of a file that the kernel remembers.
    pub(super) fn node(&self, file: FileId) -> Option<u64> {
        let mut tables = self.tables();
        let node = self.node_of(&mut tables, file);
        tables.nodes.contains_key(&node).then_some(node)
    }

    /// Reads or changes one inode.
    ///
    /// # Errors
    /// ESTALE if the kernel has forgotten it.
    pub(super) fn with<T>(&self, node: u64, look: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        self.tables().nodes.get_mut(&node).map(look).ok_or_else(|| Errno::STALE.into())
    }

    /// Takes back `count` lookups. Returns what must be dropped outside: closing the last descriptor of a deleted file
    /// may take the disk long.
    pub(super) fn forget(&self, node: u64, count: u64) -> Option<Arc<OwnedFd>> {
        let mut tables = self.tables();
        let inode = tables.nodes.get_mut(&node)?;
        inode.lookups = inode.lookups.saturating_sub(count);
        let (lookups, slot) = (inode.lookups, inode.slot);
        if let Some(slot) = slot.filter(|_| lookups > 0) {
            tables.kept.set_lookups(slot, lookups);
        }
        tables.remove_if_unused(node, None)
    }

    /// Counts one handle more; the first one decides how the file is open. `register` asks the kernel for a backing id; none if
    /// that cannot be.
    ///
    /// # Errors
    /// ESTALE if the kernel has forgotten the inode.
    pub(super) fn opened(
        &self,
        node: u64,
        register: impl FnOnce() -> Option<Option<u32>>,
    ) -> io::Result<(FileId, u32)> {
        let mut tables = self.tables();
        let inode = tables.nodes.get_mut(&node).ok_or(Errno::STALE)?;
        inode.opens += 1;
        // One kind of open per inode at a time: the kernel answers EIO to a mixture (fs/fuse/iomode.c).
        let mut has_changed = false;
        if !inode.cached_io && inode.backing_id == 0 {
            match register() {
                Some(Some(id)) => (inode.backing_id, has_changed) = (id, true),
                Some(None) => (inode.cached_io, has_changed) = (true, true),
                None => (),
            }
        }
        let opened = (inode.file, inode.backing_id);
        if has_changed {
            tables.keep(node, None);
        }
        Ok(opened)
    }

    /// The handle of a process before this one.
    pub(super) fn count_restored_handle(&self, node: u64) {
        if let Some(inode) = self.tables().nodes.get_mut(&node) {
            inode.opens += 1;
        }
    }

    /// Counts one handle less; with the last one gives the backing id that is to be closed, 0 for none.
    pub(super) fn closed(&self, node: u64) -> (u32, Option<Arc<OwnedFd>>) {
        let mut tables = self.tables();
        let Some(inode) = tables.nodes.get_mut(&node) else { return (0, None) };
        inode.opens = inode.opens.saturating_sub(1);
        if inode.opens > 0 {
            return (0, None);
        }
        inode.was_cut = false;
        let backing_id = std::mem::take(&mut inode.backing_id);
        let has_changed = backing_id != 0 || std::mem::take(&mut inode.cached_io);
        if has_changed {
            // Struck out before it is closed: the next worker must not believe in it.
            tables.keep(node, None);
        }
        (backing_id, tables.remove_if_unused(node, None))
    }

    /// The cached descriptor of an inode, without any system call.
    pub(super) fn cached_path_fd(&self, node: u64) -> Option<Arc<OwnedFd>> {
        self.tables().nodes.get(&node)?.path_fd.clone()
    }

    /// The `O_PATH` descriptor of an inode, opened by name below its parent's if need be.
    ///
    /// # Errors
    /// ESTALE if the name leads to another file now (it cannot, unless the backing directory was changed from outside);
    /// the errors of openat(2).
    pub(super) fn path_fd(&self, node: u64) -> io::Result<Arc<OwnedFd>> {
        if let Some(fd) = self.cached_path_fd(node) {
            return Ok(fd);
        }
        let _names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        self.open_by_name(node, 0)
    }

    fn open_by_name(&self, node: u64, depth: usize) -> io::Result<Arc<OwnedFd>> {
        // A path longer than PATH_MAX of one-letter names is no path that anybody can have opened.
        const MAX_DEPTH: usize = 2048;
        let (parent, name, file) = self.with(node, |inode| (inode.parent, inode.name.clone(), inode.file))?;
        if let Some(fd) = self.cached_path_fd(node) {
            return Ok(fd);
        }
        if depth >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG.into());
        }
        let parent = self.open_by_name(parent, depth + 1)?;
        let fd = open_path(&parent, &name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Errno::STALE.into(),
            _ => error,
        })?;
        if file_id(&rustix::fs::fstat(&fd)?) != file {
            return Err(Errno::STALE.into());
        }
        let fd = Arc::new(fd);
        let mut tables = self.tables();
        if let Some(inode) = tables.nodes.get_mut(&node) {
            if let Some(other) = &inode.path_fd {
                return Ok(other.clone());
            }
            inode.path_fd = Some(fd.clone());
            tables.name_descriptor(node);
            tables.keep_descriptor(node, self.max_descriptors);
        }
        Ok(fd)
    }

    /// What a name means, and its node id if the kernel remembers that file. Takes hold of its descriptor then: the name is about
    /// to go, and the inode number must not be used again before the kernel forgets it.
    ///
    /// # Errors
    /// Those of fstatat(2), but for ENOENT.
    pub(super) fn pin_before_removal(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> io::Result<(Option<FileId>, Option<u64>)> {
        let file = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => file_id(&stat),
            Err(Errno::NOENT) => return Ok((None, None)),
            Err(error) => return Err(error.into()),
        };
        let node = self.node(file);
        if let Some(node) = node.filter(|node| self.cached_path_fd(*node).is_none())
            && let Ok(fd) = open_path(parent, name)
        {
            let mut tables = self.tables();
            if let Some(inode) = tables.nodes.get_mut(&node).filter(|inode| inode.path_fd.is_none()) {
                inode.path_fd = Some(Arc::new(fd));
                tables.name_descriptor(node);
                tables.keep_descriptor(node, usize::MAX);
            }
        }
        Ok((Some(file), node))
    }

    /// The name that a node was last known by is gone.
    pub(super) fn removed(&self, node: u64, parent: u64, name: &OsStr) {
        let mut tables = self.tables();
        if let Some(inode) = tables.nodes.get_mut(&node)
            && inode.is_no_longer(parent, name)
        {
            tables.keep(node, None);
        }
    }

    /// A node has a new name in place of an old one.
    pub(super) fn renamed(&self, node: u64, from: (u64, &OsStr), (parent, name): (u64, &OsStr)) {
        let mut tables = self.tables();
        if let Some(inode) = tables.nodes.get_mut(&node) {
            inode.is_no_longer(from.0, from.1);
            (inode.parent, inode.name, inode.nameless) = (parent, name.to_owned(), false);
            tables.keep(node, None);
        }
    }

    /// The last known path of a file below the root.
    pub(super) fn path_of(&self, file: FileId) -> Option<PathBuf> {
        let mut node = self.node(file)?;
        let tables = self.tables();
        let mut names = Vec::new();
        while node != ROOT {
            let inode = tables.nodes.get(&node).filter(|inode| !inode.nameless)?;
            names.push(inode.name.as_os_str());
            node = inode.parent;
        }
        Some(names.into_iter().rev().collect())
    }

    /// Name and parent of a node.
    pub(super) fn name_of(&self, node: u64) -> Option<(u64, OsString)> {
        self.tables().nodes.get(&node).map(|inode| (inode.parent, inode.name.clone()))
    }

    /// Inodes remembered, and descriptors held for them.
    pub(super) fn counts(&self) -> (usize, usize) {
        let tables = self.tables();
        (tables.nodes.len(), tables.descriptors)
    }
}

impl Tables {
    /// Writes an inode into the table that outlives this process; false if that is full.
    fn keep(&mut self, node: u64, effect: Option<Effect>) -> bool {
        let Some(inode) = self.nodes.get_mut(&node) else { return true };
        let record = inode.record(node);
        match (inode.slot, node) {
            (Some(slot), _) => self.kept.update(slot, &record, effect),
            (None, ROOT) => {
                if let Some(effect) = effect {
                    self.kept.note(effect);
                }
            }
            (None, _) => match self.kept.insert(&record, effect) {
                Ok(slot) => inode.slot = Some(slot),
                Err(_) => return false,
            },
        }
        true
    }

    /// Writes down the descriptor of an inode.
    fn name_descriptor(&mut self, node: u64) {
        if let Some(Inode { slot: Some(slot), path_fd, .. }) = self.nodes.get(&node) {
            self.kept.set_path_fd(*slot, path_fd.as_ref().map(|fd| fd.as_raw_fd()));
        }
    }

    /// An inode that found no room in the table.
    fn forget_new(&mut self, node: u64, file: FileId) -> Option<Inode> {
        if node >= FIRST_ALIAS {
            self.aliases.remove(&file);
        }
        self.nodes.remove(&node)
    }

    fn remove_if_unused(&mut self, node: u64, effect: Option<Effect>) -> Option<Arc<OwnedFd>> {
        let inode = self.nodes.get(&node)?;
        if node == ROOT || inode.lookups > 0 || inode.opens > 0 {
            return None;
        }
        let inode = self.nodes.remove(&node)?;
        if let Some(slot) = inode.slot {
            self.kept.remove(slot, effect);
        }
        if node >= FIRST_ALIAS {
            self.aliases.remove(&inode.file);
        }
        self.descriptors -= usize::from(inode.path_fd.is_some());
        inode.path_fd
    }

    /// Counts a new descriptor, and lets go of the oldest that can be opened again by name while there are too many.
    fn keep_descriptor(&mut self, node: u64, max: usize) {
        self.cached.push_back(node);
        self.descriptors += 1;
        // Pinned ones go round; a bounded number of tries keeps this constant time.
        for _ in 0..8 {
            if self.descriptors <= max {
                return;
            }
            let Some(oldest) = self.cached.pop_front() else { return };
            let Some(inode) = self.nodes.get_mut(&oldest).filter(|inode| inode.path_fd.is_some()) else { continue };
            if oldest == ROOT || inode.nameless || oldest == node {
                self.cached.push_back(oldest);
            } else {
                // Struck out before it is closed: its number may be another file's the next moment.
                let closing = inode.path_fd.take();
                self.name_descriptor(oldest);
                drop(closing);
                self.descriptors -= 1;
            }
        }
    }
}

/// Constants of `st_mode`.
pub(super) mod libc_mode {
    /// The bits of the file type.
    pub(in crate::fuse) const S_IFMT: u32 = 0o170_000;
    /// A regular file.
    pub(in crate::fuse) const S_IFREG: u32 = 0o100_000;
    /// A directory.
    pub(in crate::fuse) const S_IFDIR: u32 = 0o040_000;
    /// A symbolic link.
    pub(in crate::fuse) const S_IFLNK: u32 = 0o120_000;
}
