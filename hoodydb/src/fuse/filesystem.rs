//! The requests of the kernel, translated: each method names its operation, decides where it runs, and maps the result.
//!
//! On the reader thread: locks, flushes, attributes and opens of inodes at hand. Whatever may sleep on the disk runs where
//! [`Disk`] says. Every reply happens exactly once, by move.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use super::adopt::RESENT;
use super::attributes::negative;
use super::backing::{Backing, Caller, Opened};
use super::contents::Changes;
use super::disk::Disk;
use super::inodes::file_id;
use super::once::Once;
use super::readers::Readers;
use super::requests::Operation;
use super::{Access, LockReply};
use crate::fault;
use crate::handover::MAX_COUNTED;
use crate::lock::{self, ByteRange, Handle, LockKind, Pid, Tid};
use crate::manager::{LockCall, Ticket};

/// How long the kernel may trust names and attributes: every change goes through the daemon, so for ever; a day bounds
/// what a mistake could do.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest write and read-ahead of plain FUSE; passthrough has no such bound.
const MAX_WRITE_BYTES: u32 = 1 << 20;

/// `F_RDLCK`, `F_WRLCK`, `F_UNLCK` of fcntl(2).
const READ_LOCK: i32 = 0;
const WRITE_LOCK: i32 = 1;
const UNLOCK: i32 = 2;

/// The file system of a mount.
pub(super) struct HoodyFs {
    pub(super) backing: Arc<Backing>,
    pub(super) disk: Disk,
    /// Which threads wait for requests.
    pub(super) readers: Arc<Readers>,
    /// Stacked file systems that the backing directory itself is made of.
    pub(super) stack_depth: u32,
    pub(super) want_passthrough: bool,
}

/// Replies that can carry an errno.
trait Fail: Send + 'static {
    fn fail(self, errno: Errno);
}

macro_rules! fails {
    ($($reply:ty),*) => { $(impl Fail for $reply {
        fn fail(self, errno: Errno) { self.error(errno); }
    })* };
}

fails!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

fn finish<R: Fail, T>(reply: R, result: io::Result<T>, answer: impl FnOnce(R, T)) {
    fault::point();
    match result {
        Ok(value) => answer(reply, value),
        Err(error) => {
            tracing::trace!(%error, "request failed");
            reply.fail(Errno::from(error));
        }
    }
    fault::point();
}

fn entry(reply: ReplyEntry, attributes: fuser::FileAttr) {
    reply.entry(&TTL, &attributes, Generation(0));
}

fn entry_or_none(reply: ReplyEntry, attributes: Option<fuser::FileAttr>) {
    entry(reply, attributes.unwrap_or_else(negative));
}

fn done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}

fn opened(reply: ReplyOpen, opened: Opened) {
    let handle = FileHandle(opened.handle);
    if opened.backing_id == 0 {
        return reply.opened(handle, open_flags(&opened) | FopenFlags::FOPEN_KEEP_CACHE);
    }
    // SAFETY: the id was registered with this session and is closed only after the last handle's release.
    let id = unsafe { reply.wrap_backing(opened.backing_id) };
    reply.opened_passthrough(handle, open_flags(&opened), &id);
    // Dropping it would close the id under the other handles of the inode.
    id.into_raw();
}

fn created(reply: ReplyCreate, (attributes, opened): (fuser::FileAttr, Opened)) {
    let handle = FileHandle(opened.handle);
    let flags = open_flags(&opened);
    if opened.backing_id == 0 {
        let flags = flags | FopenFlags::FOPEN_KEEP_CACHE;
        return reply.created(&TTL, &attributes, Generation(0), handle, flags);
    }
    // SAFETY: as in `opened`.
    let id = unsafe { reply.wrap_backing(opened.backing_id) };
    reply.created_passthrough(&TTL, &attributes, Generation(0), handle, flags, &id);
    id.into_raw();
}

fn open_flags(opened: &Opened) -> FopenFlags {
    if opened.no_flush { FopenFlags::FOPEN_NOFLUSH } else { FopenFlags::empty() }
}

/// The request's number, the same each time the kernel sends it.
fn number(request: &Request) -> u64 {
    request.unique().0 & !RESENT
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), tid: request.pid() }
}

impl HoodyFs {
    /// Counts a request and opens its span: the one place where requests are told of.
    fn begin(&self, operation: Operation, request: &Request, node: u64) {
        self.backing.requests.count(operation);
        self.backing.quick_wake.request();
        self.readers.request(request.pid());
        tracing::trace!(?operation, unique = request.unique().0, pid = request.pid(), node, "request");
    }

    /// Runs `work` where it may sleep, and answers with its result.
    fn on_disk<R: Fail, T: Send + 'static>(
        &self,
        reply: R,
        work: impl FnOnce(&Backing) -> io::Result<T> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let backing = self.backing.clone();
        self.disk.run(move || finish(reply, work(&backing), answer));
    }

    /// The same for what takes long by its nature.
    fn on_pool<R: Fail, T: Send + 'static>(
        &self,
        reply: R,
        work: impl FnOnce(&Backing) -> io::Result<T> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let backing = self.backing.clone();
        self.disk.run_long(move || finish(reply, work(&backing), answer));
    }

    /// Runs what must take effect once where it may sleep: its slot is let go of after the reply.
    fn once_on_disk<R: Fail, T: Send + 'static>(
        &self,
        mut once: Once,
        reply: R,
        work: impl FnOnce(&Backing, &mut Once) -> io::Result<T> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let backing = self.backing.clone();
        self.disk.run(move || {
            fault::point();
            finish(reply, work(&backing, &mut once), answer);
            drop(once);
        });
    }

    fn once(&self, request: &Request) -> Once {
        self.backing.at_work.request(request.unique().0)
    }

    #[allow(clippy::too_many_arguments)] // fuser's own list, translated
    fn lock_call(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        (start, last): (u64, u64),
        kind: i32,
        pid: u32,
    ) -> io::Result<LockCall> {
        let file = match self.backing.handles.get(handle.0) {
            Some(open) => open.file,
            None => self.backing.inodes.with(node.0, |inode| inode.file)?,
        };
        let kind = match kind {
            READ_LOCK => Some(LockKind::Read),
            WRITE_LOCK => Some(LockKind::Write),
            UNLOCK => None,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let range = ByteRange::from_inclusive(start, last).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(LockCall {
            file,
            owner: lock::LockOwner(owner.0),
            handle: Handle(handle.0),
            pid: Pid(pid),
            tid: Tid(request.pid()),
            range,
            kind,
            wait: false,
        })
    }
}

impl Filesystem for HoodyFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_POSIX_LOCKS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            // Without it the kernel asks for security.capability before each write.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ];
        for flag in wanted {
            // What the kernel lacks costs speed, not correctness.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_WRITE_BYTES);
        let _ = config.set_max_readahead(MAX_WRITE_BYTES);
        let _ = config.set_max_background(64);
        if self.want_passthrough {
            let depth = self.stack_depth + 1;
            let offered = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
            let missing = if !offered {
                Some("the kernel has no FUSE passthrough (it came with Linux 6.9)".to_owned())
            } else if config.set_max_stack_depth(depth).is_err() {
                Some("the backing directory is stacked too deep".to_owned())
            } else {
                None
            };
            *self.backing.passthrough_missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = missing;
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.begin(Operation::Lookup, request, parent.0);
        let mut once = self.once(request);
        match self.backing.lookup_cached(parent.0, name, &mut once) {
            Some(result) => finish(reply, result, entry_or_none),
            None => {
                let name = name.to_owned();
                let work = move |backing: &Backing, once: &mut Once| backing.lookup(parent.0, &name, once);
                self.once_on_disk(once, reply, work, entry_or_none);
            }
        }
    }

    fn forget(&self, request: &Request, node: INodeNo, count: u64) {
        self.begin(Operation::Forget, request, node.0);
        if let Some(fd) = self.backing.inodes.forget(node.0, count) {
            // The last descriptor of a deleted file: freeing its blocks may take the disk long.
            self.disk.run(move || drop(fd));
        }
    }

    fn getattr(&self, request: &Request, node: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        self.begin(Operation::GetAttr, request, node.0);
        let answer = |reply: ReplyAttr, attributes| reply.attr(&TTL, &attributes);
        let handle = handle.map(|handle| handle.0);
        if self.backing.inodes.cached_path_fd(node.0).is_some() {
            return finish(reply, self.backing.getattr(node.0, handle), answer);
        }
        self.on_disk(reply, move |backing| backing.getattr(node.0, handle), answer);
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.begin(Operation::SetAttr, request, node.0);
        let changes = Changes { mode, uid, gid, size, atime, mtime };
        let handle = handle.map(|handle| handle.0);
        self.on_disk(
            reply,
            move |backing| backing.setattr(node.0, handle, changes),
            |reply, attributes| reply.attr(&TTL, &attributes),
        );
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        self.begin(Operation::ReadLink, request, node.0);
        self.on_disk(reply, move |backing| backing.readlink(node.0), |reply, target| reply.data(&target));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        self.begin(Operation::MkNod, request, parent.0);
        let (name, caller) = (name.to_owned(), caller(request));
        let work =
            move |backing: &Backing, once: &mut Once| backing.mknod((parent.0, &name), mode & !umask, caller, once);
        self.once_on_disk(self.once(request), reply, work, entry);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        self.begin(Operation::MkDir, request, parent.0);
        let (name, caller) = (name.to_owned(), caller(request));
        let work =
            move |backing: &Backing, once: &mut Once| backing.mkdir((parent.0, &name), mode & !umask, caller, once);
        self.once_on_disk(self.once(request), reply, work, entry);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.begin(Operation::Unlink, request, parent.0);
        let name = name.to_owned();
        let work = move |backing: &Backing, once: &mut Once| backing.unlink(parent.0, &name, false, once);
        self.once_on_disk(self.once(request), reply, work, done);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.begin(Operation::RmDir, request, parent.0);
        let name = name.to_owned();
        let work = move |backing: &Backing, once: &mut Once| backing.unlink(parent.0, &name, true, once);
        self.once_on_disk(self.once(request), reply, work, done);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.begin(Operation::Symlink, request, parent.0);
        let (name, target, caller) = (name.to_owned(), target.to_owned(), caller(request));
        let work = move |backing: &Backing, once: &mut Once| backing.symlink((parent.0, &name), &target, caller, once);
        self.once_on_disk(self.once(request), reply, work, entry);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.begin(Operation::Rename, request, parent.0);
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        let work = move |backing: &Backing, once: &mut Once| {
            backing.rename((parent.0, &name), (new_parent.0, &new_name), flags.bits(), once)
        };
        self.once_on_disk(self.once(request), reply, work, done);
    }

    fn link(&self, request: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.begin(Operation::Link, request, node.0);
        let name = name.to_owned();
        let work = move |backing: &Backing, once: &mut Once| backing.link(node.0, parent.0, &name, once);
        self.once_on_disk(self.once(request), reply, work, entry);
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.begin(Operation::Open, request, node.0);
        // While the mount is about to go, an open looks at the disk.
        let at_hand = !self.backing.leaving.load(Relaxed) && self.backing.inodes.cached_path_fd(node.0).is_some();
        if at_hand {
            return finish(reply, self.backing.open(node.0, flags.0, caller(request), number(request)), opened);
        }
        let (caller, number) = (caller(request), number(request));
        self.on_disk(reply, move |backing| backing.open(node.0, flags.0, caller, number), opened);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.begin(Operation::Create, request, parent.0);
        let (name, caller) = (name.to_owned(), caller(request));
        let work = move |backing: &Backing, once: &mut Once| {
            backing.create((parent.0, &name), mode & !umask, flags, caller, once)
        };
        self.once_on_disk(self.once(request), reply, work, created);
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.begin(Operation::Read, request, node.0);
        self.on_disk(reply, move |backing| backing.read(handle.0, offset, size), |reply, data| reply.data(&data));
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.begin(Operation::Write, request, node.0);
        let data = data.to_vec();
        self.on_disk(reply, move |backing| backing.write(handle.0, offset, &data), ReplyWrite::written);
    }

    fn flush(&self, request: &Request, node: INodeNo, handle: FileHandle, owner: LockOwner, reply: ReplyEmpty) {
        self.begin(Operation::Flush, request, node.0);
        if let Some(open) = self.backing.handles.get(handle.0) {
            let ticket = Ticket(number(request));
            self.backing.coordinator.flush(ticket, open.file, lock::LockOwner(owner.0), Handle(handle.0));
        }
        reply.ok();
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.begin(Operation::Release, request, node.0);
        let may_take_long = self
            .backing
            .inodes
            .with(node.0, |inode| inode.nameless || (inode.was_cut && inode.opens == 1))
            .unwrap_or(true);
        let closed = self.backing.release(node.0, handle.0);
        reply.ok();
        // The last close of a deleted file frees its blocks, that of one that was cut short may flush them.
        if may_take_long {
            self.disk.run(move || drop(closed));
        }
    }

    fn fsync(&self, request: &Request, node: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.begin(Operation::Fsync, request, node.0);
        self.on_disk(reply, move |backing| backing.fsync(handle.0, data_only), done);
    }

    fn opendir(&self, request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.begin(Operation::OpenDir, request, node.0);
        // The kernel takes this for "no need to ask" and never asks again.
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, request: &Request, node: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.begin(Operation::ReadDir, request, node.0);
        let backing = self.backing.clone();
        self.disk.run(move || {
            let result = backing.read_directory(node.0, offset, |entry| {
                reply.add(INodeNo(entry.ino), entry.cookie, entry.kind, &entry.name)
            });
            match result {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(Errno::from(error)),
            }
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.begin(Operation::ReadDirPlus, request, node.0);
        let (backing, mut once) = (self.backing.clone(), self.once(request));
        self.disk.run(move || {
            match fill_plus(&backing, node.0, offset, &mut reply, &mut once) {
                Ok(()) => reply.ok(),
                Err(error) => {
                    // The kernel counts nothing for an error.
                    once.take_back(&backing.inodes);
                    reply.error(Errno::from(error));
                }
            }
            drop(once);
        });
    }

    fn fsyncdir(&self, request: &Request, node: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.begin(Operation::FsyncDir, request, node.0);
        self.on_disk(reply, move |backing| backing.fsync_directory(node.0), done);
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        self.begin(Operation::StatFs, request, node.0);
        let work = move |backing: &Backing| Ok(rustix::fs::fstatvfs(&*backing.inodes.path_fd(node.0)?)?);
        self.on_disk(reply, work, |reply, stat| {
            let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            reply.statfs(
                stat.f_blocks,
                stat.f_bfree,
                stat.f_bavail,
                stat.f_files,
                stat.f_ffree,
                small(stat.f_bsize),
                small(stat.f_namemax),
                small(stat.f_frsize),
            );
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.begin(Operation::SetXattr, request, node.0);
        let (name, value) = (name.to_owned(), value.to_vec());
        let work = move |backing: &Backing, once: &mut Once| backing.set_xattr(node.0, (&name, &value), flags, once);
        self.once_on_disk(self.once(request), reply, work, done);
    }

    fn getxattr(&self, request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.begin(Operation::GetXattr, request, node.0);
        if !super::xattr::is_stored(name) {
            // The kernel asks for security.capability at the first write after each change of attributes.
            return reply.error(Errno::ENODATA);
        }
        let name = name.to_owned();
        self.on_disk(
            reply,
            move |backing| backing.get_xattr(node.0, &name),
            move |reply, value| {
                answer_xattr(reply, &value, size);
            },
        );
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        self.begin(Operation::ListXattr, request, node.0);
        self.on_disk(
            reply,
            move |backing| backing.list_xattr(node.0),
            move |reply, names| {
                answer_xattr(reply, &names, size);
            },
        );
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.begin(Operation::RemoveXattr, request, node.0);
        let name = name.to_owned();
        let work = move |backing: &Backing, once: &mut Once| backing.remove_xattr(node.0, &name, once);
        self.once_on_disk(self.once(request), reply, work, done);
    }

    fn access(&self, request: &Request, node: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        self.begin(Operation::Access, request, node.0);
        // Asked with Access::Shared only, where everybody may; the kernel then stops asking.
        debug_assert_eq!(self.backing.access, Access::Shared);
        reply.error(Errno::ENOSYS);
    }

    fn getlk(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        self.begin(Operation::GetLk, request, node.0);
        let call = match self.lock_call(request, node, handle, owner, (start, end), kind, pid) {
            Ok(call) => call,
            Err(error) => return reply.error(Errno::from(error)),
        };
        match self.backing.coordinator.test_lock(call) {
            None => reply.locked(start, end, UNLOCK, 0),
            Some(conflict) => {
                let kind = if conflict.kind == LockKind::Write { WRITE_LOCK } else { READ_LOCK };
                reply.locked(conflict.range.start(), conflict.range.last(), kind, conflict.pid.0);
            }
        }
    }

    fn setlk(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        self.begin(Operation::SetLk, request, node.0);
        match self.lock_call(request, node, handle, owner, (start, end), kind, pid) {
            Ok(call) => {
                let call = LockCall { wait: sleep, ..call };
                self.backing.coordinator.set_lock(Ticket(number(request)), call, LockReply(reply));
            }
            Err(error) => reply.error(Errno::from(error)),
        }
        self.readers.rest();
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.begin(Operation::Fallocate, request, node.0);
        self.on_pool(reply, move |backing| backing.fallocate(handle.0, offset, length, mode), done);
    }

    fn lseek(&self, request: &Request, node: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.begin(Operation::Lseek, request, node.0);
        self.on_disk(reply, move |backing| backing.lseek(handle.0, offset, whence), ReplyLseek::offset);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        _target: INodeNo,
        target_handle: FileHandle,
        target_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.begin(Operation::CopyFileRange, request, node.0);
        let (from, to) = ((handle.0, offset), (target_handle.0, target_offset));
        self.on_pool(reply, move |backing| backing.copy_file_range(from, to, length), ReplyWrite::written);
    }
}

fn fill_plus(
    backing: &Backing,
    node: u64,
    offset: u64,
    reply: &mut ReplyDirectoryPlus,
    once: &mut Once,
) -> io::Result<()> {
    let mut failed = None;
    once.take_back(&backing.inodes);
    backing.read_directory(node, offset, |entry| {
        if once.counted() == MAX_COUNTED {
            // The kernel asks for the rest with its next request.
            return true;
        }
        let stat = match backing.stat_entry(node, &entry.name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return false,
            Err(error) => {
                failed = Some(error);
                return true;
            }
        };
        // The kernel counts no lookup for these two.
        if Backing::is_dot(&entry.name) {
            let attributes = backing.attributes(file_id(&stat).ino, &stat);
            return add_plus(reply, &entry.name, entry.cookie, &attributes);
        }
        let attributes = match backing.remember(node, &entry.name, &stat, None, once) {
            Ok(attributes) => attributes,
            Err(error) => {
                failed = Some(error);
                return true;
            }
        };
        let full = add_plus(reply, &entry.name, entry.cookie, &attributes);
        if full {
            once.take_back_one(&backing.inodes);
        }
        full
    })?;
    failed.map_or(Ok(()), Err)
}

fn add_plus(reply: &mut ReplyDirectoryPlus, name: &OsString, cookie: u64, attributes: &fuser::FileAttr) -> bool {
    reply.add(attributes.ino, cookie, name, &TTL, attributes, Generation(0))
}

fn answer_xattr(reply: ReplyXattr, value: &[u8], size: u32) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}
