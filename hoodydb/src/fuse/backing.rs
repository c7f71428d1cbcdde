//! The state of a mount and its way into the backing directory: lookups, opening and closing of files.
//!
//! Nothing here knows a request or a reply; the file system above translates. Sibling files add the operations on names,
//! contents, directories and extended attributes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use fuser::FileAttr;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use super::attributes::attributes;
use super::handles::{Handles, OpenFile};
use super::inodes::libc_mode::{S_IFMT, S_IFREG};
use super::inodes::{Inodes, ROOT, file_id};
use super::once::{AtWork, Once};
use super::quick_wake::QuickWake;
use super::requests::{Operation, Requests};
use super::root_rights::RootRights;
use super::shares::Opener;
use super::{Access, LockReply, mount};
use crate::coordinator::{Coordinator, MAGIC, Member, descriptors_of_waits, side_file};
use crate::fault;
use crate::handover::Memory;
use crate::lock::{FileId, Handle};

/// The daemon's own directory in the root of the backing directory: its lock file and policies. The mount hides it.
pub const PRIVATE_NAME: &str = ".hoodydb";

/// Descriptors left to everything that is neither an inode nor a handle: sockets, /proc, the pool's short-lived ones.
pub(super) const RESERVED_DESCRIPTORS: u64 = 512;

/// Says of which files the database is open elsewhere.
pub type RefuseOpen = Box<dyn Fn(FileId) -> bool + Send + Sync>;

/// Told of a file and how to find out its path.
pub type Named = Box<dyn Fn(FileId, &dyn Fn() -> Option<PathBuf>) + Send + Sync>;

/// Told of the inode number of a file that was opened, and how to find out its path.
pub type OpenedHook = Box<dyn Fn(u64, &dyn Fn() -> Option<PathBuf>) + Send + Sync>;

/// The state of a mount.
pub(super) struct Backing {
    pub(super) inodes: Inodes,
    pub(super) handles: Handles,
    pub(super) at_work: AtWork,
    pub(super) coordinator: Arc<Coordinator<LockReply>>,
    pub(super) requests: Requests,
    pub(super) quick_wake: QuickWake,
    pub(super) access: Access,
    pub(super) root_rights: RootRights,
    /// /dev/fuse, once the session stands.
    pub(super) device: OnceLock<OwnedFd>,
    pub(super) passthrough: AtomicBool,
    pub(super) passthrough_missing: Mutex<Option<String>>,
    pub(super) refuse_open: OnceLock<RefuseOpen>,
    pub(super) named: OnceLock<Named>,
    pub(super) opened: OnceLock<OpenedHook>,
    pub(super) max_handles: u64,
    /// The mount is about to go.
    pub(super) leaving: AtomicBool,
    /// Another worker served the mount before this one.
    pub(super) is_successor: bool,
    max_descriptors: u64,
    descriptors_of_self: OwnedFd,
    last_full_warning: Mutex<Option<Instant>>,
    refused_full: AtomicU64,
}

/// A file that was opened for the kernel.
pub(super) struct Opened {
    pub(super) handle: u64,
    /// The backing id of passthrough, 0 for plain FUSE.
    pub(super) backing_id: u32,
    /// A side file that never holds locks: its close() needs no FLUSH.
    pub(super) no_flush: bool,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The thread.
    pub(super) tid: u32,
}

impl Backing {
    pub(super) fn new(
        root: OwnedFd,
        access: Access,
        coordinator: Arc<Coordinator<LockReply>>,
        max_descriptors: u64,
        memory: &Memory,
        quick_wake: QuickWake,
    ) -> io::Result<Self> {
        let descriptors_of_self =
            rustix::fs::open("/proc/self/fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // A quarter for inodes: a listing of any size needs few at a time, while every handle needs its own.
        let reserved = RESERVED_DESCRIPTORS + descriptors_of_waits(max_descriptors);
        let usable = max_descriptors.saturating_sub(reserved).max(64);
        let root_rights = RootRights::load(&root);
        let inodes = Inodes::new(root, usize::try_from(usable / 4).unwrap_or(usize::MAX), memory)?;
        let handles = Handles::new(memory);
        handles.nodes().into_iter().for_each(|node| inodes.count_restored_handle(node));
        Ok(Self {
            root_rights,
            inodes,
            handles,
            at_work: AtWork::new(memory),
            coordinator,
            requests: Requests::new(memory),
            quick_wake,
            access,
            device: OnceLock::new(),
            passthrough: AtomicBool::new(false),
            passthrough_missing: Mutex::new(None),
            refuse_open: OnceLock::new(),
            named: OnceLock::new(),
            opened: OnceLock::new(),
            max_handles: (usable - usable / 4).min(memory.limits().handles as u64),
            leaving: AtomicBool::new(false),
            is_successor: !memory.init_reply().is_empty(),
            max_descriptors: usable,
            descriptors_of_self,
            last_full_warning: Mutex::new(None),
            refused_full: AtomicU64::new(0),
        })
    }

    pub(super) fn attributes(&self, node: u64, stat: &Stat) -> FileAttr {
        let mut stat = *stat;
        if node == ROOT {
            self.root_rights.show(&mut stat);
        }
        attributes(node, &stat, self.access)
    }

    /// Whether a name is the daemon's own.
    pub(super) fn is_private(&self, parent: u64, name: &OsStr) -> bool {
        parent == ROOT && name == PRIVATE_NAME
    }

    /// Looks up one name and counts the lookup; `None`: no such entry.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub(super) fn lookup(&self, parent: u64, name: &OsStr, once: &mut Once) -> io::Result<Option<FileAttr>> {
        once.take_back(&self.inodes);
        if self.is_private(parent, name) {
            return Ok(None);
        }
        let directory = self.inodes.path_fd(parent)?;
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.remember(parent, name, &stat, None, once).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same from the kernel's caches alone; `None` where the disk would have to be asked.
    pub(super) fn lookup_cached(
        &self,
        parent: u64,
        name: &OsStr,
        once: &mut Once,
    ) -> Option<io::Result<Option<FileAttr>>> {
        if once.before().is_some() {
            return None;
        }
        if self.is_private(parent, name) {
            return Some(Ok(None));
        }
        let directory = self.inodes.cached_path_fd(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat2(&directory, name, flags, Mode::empty(), ResolveFlags::CACHED) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd).map_err(io::Error::from);
                Some(stat.and_then(|stat| self.remember(parent, name, &stat, Some(fd), once).map(Some)))
            }
            Err(Errno::NOENT) => Some(Ok(None)),
            Err(_) => None,
        }
    }

    pub(super) fn remember(
        &self,
        parent: u64,
        name: &OsStr,
        stat: &Stat,
        path_fd: Option<OwnedFd>,
        once: &mut Once,
    ) -> io::Result<FileAttr> {
        let node = self.inodes.remember(parent, name, stat, path_fd, once)?;
        Ok(self.attributes(node, stat))
    }

    /// Attributes now, through the handle if there is one.
    pub(super) fn getattr(&self, node: u64, handle: Option<u64>) -> io::Result<FileAttr> {
        let stat = match handle.and_then(|handle| self.handles.get(handle)) {
            Some(open) => rustix::fs::fstat(&open.fd)?,
            None => rustix::fs::fstat(&*self.inodes.path_fd(node)?)?,
        };
        Ok(self.attributes(node, &stat))
    }

    /// Opens an inode again through its descriptor, for reading or writing.
    pub(super) fn reopen(&self, fd: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
        let name = fd.as_raw_fd().to_string();
        Ok(rustix::fs::openat(
            &self.descriptors_of_self,
            name,
            flags | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        )?)
    }

    /// Opens a file for the kernel.
    ///
    /// # Errors
    /// ENFILE at the limit of handles; EBUSY while a database is still open through a dead mount, or the mount is about to go;
    /// those of open(2).
    pub(super) fn open(&self, node: u64, flags: i32, caller: Caller, request: u64) -> io::Result<Opened> {
        if let Some(opened) = self.opened_before(request) {
            return Ok(opened);
        }
        let file = self.inodes.with(node, |inode| inode.file)?;
        let (parent, name) = self.inodes.name_of(node).ok_or(Errno::STALE)?;
        let opener = self.check_open(file, parent, &name, caller)?;
        self.check_leaving(parent, name.as_bytes())?;
        let path_fd = self.inodes.path_fd(node)?;
        let fd = self.reopen(&path_fd, backing_flags(flags))?;
        fault::point();
        self.finish_open((node, parent, &name), fd, flags, opener, request)
    }

    /// What the process before this one opened for a request that it could not answer.
    fn opened_before(&self, request: u64) -> Option<Opened> {
        let (handle, open) = self.handles.opened_by(request)?;
        let backing_id = self.inodes.with(open.node, |inode| inode.backing_id).ok()?;
        self.tell_opened(handle, &open);
        Some(Opened { handle, backing_id, no_flush: open.no_flush })
    }

    /// Tells whoever keeps policies that a file has a name that it did not have.
    pub(super) fn tell_named(&self, file: FileId) {
        if let Some(named) = self.named.get() {
            named(file, &|| self.inodes.path_of(file));
        }
    }

    /// Tells the coordinator of a handle; twice is the same as once.
    fn tell_opened(&self, handle: u64, open: &OpenFile) {
        if let Some((parent, name)) = self.inodes.name_of(open.node)
            && let Some((stem, Member::WalIndex)) = side_file(name.as_bytes())
            && let Some(database) = self.sibling(parent, stem)
        {
            self.coordinator.set_wal_index(open.file, database);
        }
        // The others never have locks.
        if let Some(opened) = self.opened.get().filter(|_| !open.no_flush) {
            opened(open.node, &|| self.inodes.path_of(open.file));
        }
        fault::point();
        self.coordinator.opened(open.file, Handle(handle), open.read_only);
    }

    fn check_open(&self, file: FileId, parent: u64, name: &OsStr, caller: Caller) -> io::Result<Opener> {
        let opener = self.check_room(caller)?;
        self.check_refused(file, parent, name)?;
        Ok(opener)
    }

    /// # Errors
    /// ENFILE at the limit of handles, and near it for whoever has most of them.
    fn check_room(&self, caller: Caller) -> io::Result<Opener> {
        let handles = self.handles.len() as u64;
        // Deleted files that are still open hold two descriptors each.
        let (_, descriptors) = self.inodes.counts();
        if handles >= self.max_handles || handles + descriptors as u64 >= self.max_descriptors {
            self.warn_full();
            return Err(Errno::NFILE.into());
        }
        self.handles.may_open(caller.tid, self.max_handles)
    }

    /// Whether a file may be opened, cut short, renamed or removed: not while its database is open through a dead mount. Without
    /// its journal the database could not be recovered.
    ///
    /// # Errors
    /// EBUSY if not.
    pub(super) fn check_refused(&self, file: FileId, parent: u64, name: &OsStr) -> io::Result<()> {
        let Some(refuses) = self.refuse_open.get() else { return Ok(()) };
        if refuses(file) {
            return Err(Errno::BUSY.into());
        }
        self.check_side_refused(parent, name)
    }

    /// The same for a side file, by the database that it would belong to.
    fn check_side_refused(&self, parent: u64, name: &OsStr) -> io::Result<()> {
        let Some(refuses) = self.refuse_open.get() else { return Ok(()) };
        let database = side_file(name.as_bytes()).and_then(|(stem, _)| self.sibling(parent, stem));
        if database.is_some_and(refuses) { Err(Errno::BUSY.into()) } else { Ok(()) }
    }

    /// Keeps out who would begin on a database that no running transaction uses; the files of those that run are needed to end
    /// them, and files that are no databases do not hold the mount back.
    fn check_leaving(&self, parent: u64, name: &[u8]) -> io::Result<()> {
        if !self.leaving.load(Relaxed) {
            return Ok(());
        }
        let database = side_file(name).map_or(name, |(stem, _)| stem);
        let Some(file) = self.sibling(parent, database) else { return Ok(()) };
        let is_used = self.coordinator.is_running(file);
        if !is_used && (self.coordinator.is_database(file) || self.begins_as_database(parent, database)) {
            return Err(Errno::BUSY.into());
        }
        Ok(())
    }

    fn begins_as_database(&self, parent: u64, name: &[u8]) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut start = [0; MAGIC.len()];
        let directory = self.inodes.path_fd(parent);
        let file = directory.and_then(|directory| Ok(rustix::fs::openat(&directory, name, flags, Mode::empty())?));
        file.is_ok_and(|file| rustix::io::pread(&file, &mut start, 0).is_ok()) && start == *MAGIC
    }

    fn sibling(&self, parent: u64, name: &[u8]) -> Option<FileId> {
        let directory = self.inodes.path_fd(parent).ok()?;
        let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (stat.st_mode & S_IFMT == S_IFREG).then(|| file_id(&stat))
    }

    fn warn_full(&self) {
        let refused = self.refused_full.fetch_add(1, Relaxed) + 1;
        let mut last = self.last_full_warning.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed().as_secs() >= 60) {
            *last = Some(Instant::now());
            tracing::error!(
                limit = self.max_handles,
                refused,
                "no more files can be opened; raise the limit of descriptors (LimitNOFILE)"
            );
        }
    }

    /// Keeps an opened file: its handle, its backing id, and what the coordinator must know of it.
    fn finish_open(
        &self,
        (node, parent, name): (u64, u64, &OsStr),
        fd: OwnedFd,
        flags: i32,
        opener: Opener,
        request: u64,
    ) -> io::Result<Opened> {
        let passthrough = self.passthrough.load(Relaxed);
        let register = || {
            let device = self.device.get().filter(|_| passthrough)?;
            let id = fuser::BackingId::create_raw(device, &fd);
            fault::point();
            Some(id.ok())
        };
        let (file, backing_id) = self.inodes.opened(node, register)?;
        // A journal or WAL holds no locks, unless it is no such thing but a file with such a name.
        let side = side_file(name.as_bytes()).filter(|(_, member)| *member != Member::WalIndex);
        let database = side.and_then(|(stem, _)| self.sibling(parent, stem));
        let no_flush = database.is_some_and(|database| self.coordinator.is_database(database));
        let read_only = flags & ACCESS_MODE == READ_ONLY;
        let inserted = self.handles.insert(OpenFile { node, file, fd, read_only, no_flush, opener }, request);
        let handle = match inserted {
            Ok(handle) => handle,
            Err(error) => {
                self.close_backing(self.inodes.closed(node).0);
                return Err(error);
            }
        };
        if let Some(open) = self.handles.get(handle) {
            self.tell_opened(handle, &open);
        }
        Ok(Opened { handle, backing_id, no_flush })
    }

    /// Creates (or opens) a file for the kernel.
    pub(super) fn create(
        &self,
        (parent, name): (u64, &OsStr),
        mode: u32,
        flags: i32,
        caller: Caller,
        once: &mut Once,
    ) -> io::Result<(FileAttr, Opened)> {
        if self.is_private(parent, name) {
            return Err(Errno::PERM.into());
        }
        if let Some(opened) = self.opened_before(once.number()) {
            let node = self.handles.get(opened.handle).map(|open| open.node).ok_or(Errno::STALE)?;
            return Ok((self.getattr(node, Some(opened.handle))?, opened));
        }
        self.check_leaving(parent, name.as_bytes())?;
        once.take_back(&self.inodes);
        let directory = self.inodes.path_fd(parent)?;
        let exclusive = flags & EXCLUSIVE != 0;
        // Before the file is made: one that is there and could not be opened would stay hidden behind the kernel's memory that
        // it is not there.
        self.check_room(caller)?;
        self.check_side_refused(parent, name)?;
        let is_own = self.begin_making(Operation::Create, &directory, name, once)?;
        let (fd, new) = loop {
            let create = backing_flags(flags) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, name, create, self.new_mode(mode)) {
                Ok(fd) => break (fd, true),
                Err(Errno::EXIST) if !exclusive || is_own => {}
                Err(error) => return Err(error.into()),
            }
            let path_fd = super::inodes::open_path(&directory, name);
            match path_fd.and_then(|fd| self.reopen_regular(&fd, backing_flags(flags))) {
                Ok(fd) => break (fd, is_own),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        fault::point();
        if new {
            self.give_to(&fd, &directory, caller)?;
        }
        let stat = rustix::fs::fstat(&fd)?;
        let attributes = self.remember(parent, name, &stat, None, once)?;
        let node = attributes.ino.0;
        let opened = self
            .check_open(file_id(&stat), parent, name, caller)
            .and_then(|opener| self.inodes.path_fd(node).map(|_| opener))
            .and_then(|opener| self.finish_open((node, parent, name), fd, flags, opener, once.number()));
        match opened {
            Ok(opened) => {
                if new {
                    self.tell_named(file_id(&stat));
                }
                Ok((attributes, opened))
            }
            Err(error) => {
                once.take_back(&self.inodes);
                if new {
                    let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
                }
                Err(error)
            }
        }
    }

    /// Begins to make an entry. True: the entry may be there because a process before this one made it for this request.
    ///
    /// # Errors
    /// ENFILE if too many requests are at work.
    pub(super) fn begin_making(
        &self,
        kind: Operation,
        directory: &OwnedFd,
        name: &OsStr,
        once: &mut Once,
    ) -> io::Result<bool> {
        const WAS_THERE: u64 = 1;
        if let Some([was_there, ..]) = once.before() {
            return Ok(was_there != WAS_THERE);
        }
        let was_there = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        once.begin(kind, [u64::from(was_there) * WAS_THERE, 0, 0, 0, 0, 0])?;
        Ok(false)
    }

    fn reopen_regular(&self, fd: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
        let stat = rustix::fs::fstat(fd)?;
        match stat.st_mode & S_IFMT {
            S_IFREG => self.reopen(fd, flags),
            super::inodes::libc_mode::S_IFDIR => Err(Errno::ISDIR.into()),
            _ => Err(Errno::LOOP.into()),
        }
    }

    /// Mode bits of a new file or directory in the backing directory.
    pub(super) fn new_mode(&self, mode: u32) -> Mode {
        match self.access {
            Access::Unix => Mode::from_raw_mode(mode & 0o7777),
            Access::Shared => Mode::from_raw_mode(super::attributes::shared_mode(mode)),
        }
    }

    /// Makes a new file the caller's, as a local file system would: the group is the directory's where that is setgid.
    pub(super) fn give_to(&self, fd: &OwnedFd, directory: &OwnedFd, caller: Caller) -> io::Result<()> {
        if self.access == Access::Shared || (caller.uid == 0 && caller.gid == 0) {
            return Ok(());
        }
        let inherits_group = rustix::fs::fstat(directory)?.st_mode & 0o2000 != 0;
        let group = (!inherits_group).then(|| Gid::from_raw(caller.gid));
        Ok(rustix::fs::chownat(fd, "", Some(Uid::from_raw(caller.uid)), group, AtFlags::EMPTY_PATH)?)
    }

    /// The last descriptor of a handle is gone. Gives what must be dropped where sleeping does no harm.
    pub(super) fn release(&self, node: u64, handle: u64) -> Option<(Arc<OpenFile>, Option<Arc<OwnedFd>>)> {
        let file = match self.handles.get(handle) {
            Some(open) => open.file,
            // A process before this one let go of the handle, and may have died before it told so.
            None => self.inodes.with(node, |inode| inode.file).ok()?,
        };
        // Told first: a handle that is struck out is known to nobody who could tell it.
        self.coordinator.release(file, Handle(handle));
        let open = self.handles.remove(handle)?;
        let (backing_id, path_fd) = self.inodes.closed(open.node);
        self.close_backing(backing_id);
        Some((open, path_fd))
    }

    /// Unregisters a backing file; 0 is none.
    pub(super) fn close_backing(&self, backing_id: u32) {
        fault::point();
        if backing_id != 0
            && let Some(device) = self.device.get()
            && let Err(error) = mount::close_backing(device, backing_id)
        {
            tracing::warn!(backing_id, %error, "a backing file stays registered");
        }
        fault::point();
    }

    /// Lets go of what a process before this one was about to let go of, or had registered without naming it. `any_file` is
    /// registered for a moment, to learn which ids were given out last.
    pub(super) fn clear_up(&self, any_file: &OwnedFd) {
        /// Threads that could be registering at the same time.
        const RECENT: u32 = 1024;
        self.inodes.let_go_of_unused().into_iter().for_each(|id| self.close_backing(id));
        let Some(device) = self.device.get().filter(|_| self.passthrough.load(Relaxed)) else { return };
        // Ids are given out in turn (fs/fuse/backing.c, idr_alloc_cyclic): one that nobody names is among the last.
        let Ok(next) = fuser::BackingId::create_raw(device, any_file) else { return };
        self.close_backing(next);
        let known = self.inodes.backing_ids();
        for id in (next.saturating_sub(RECENT).max(1)..next).filter(|id| !known.contains(id)) {
            // ENOENT: nothing is registered under it.
            let _ = mount::close_backing(device, id);
        }
    }
}

/// `O_ACCMODE`, `O_RDONLY` and `O_EXCL` of open(2).
const ACCESS_MODE: i32 = 0o3;
const READ_ONLY: i32 = 0o0;
const EXCLUSIVE: i32 = 0o200;

/// The flags of the caller's open(2) that the backing file is opened with: the access mode alone. Appending and
/// truncation are the kernel's (it sends offsets, and SETATTR); O_DIRECT and O_SYNC would only slow the daemon's own calls.
fn backing_flags(flags: i32) -> OFlags {
    match flags & ACCESS_MODE {
        READ_ONLY => OFlags::RDONLY,
        // Reading is needed to register the file, and by the page cache of plain FUSE.
        _ => OFlags::RDWR,
    }
}
