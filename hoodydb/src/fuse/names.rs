//! Operations on names: making, linking, renaming and removing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fuser::FileAttr;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Access;
use super::backing::{Backing, Caller};
use super::inodes::libc_mode::{S_IFMT, S_IFREG};
use super::inodes::{file_id, open_path};
use super::once::Once;
use super::requests::Operation;
use crate::fault;
use crate::lock::FileId;

/// What two names meant before a rename: node ids (0: the kernel remembers none) and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Renamed {
    moved: u64,
    replaced: u64,
    source: Option<FileId>,
    target: Option<FileId>,
}

impl From<[u64; 6]> for Renamed {
    fn from([moved, replaced, source_dev, source_ino, target_dev, target_ino]: [u64; 6]) -> Self {
        // No file has inode number 0.
        let file = |dev, ino| (ino != 0).then_some(FileId { dev, ino });
        Self { moved, replaced, source: file(source_dev, source_ino), target: file(target_dev, target_ino) }
    }
}

impl From<Renamed> for [u64; 6] {
    fn from(renamed: Renamed) -> Self {
        let words = |file: Option<FileId>| file.map_or((0, 0), |file| (file.dev, file.ino));
        let (source, target) = (words(renamed.source), words(renamed.target));
        [renamed.moved, renamed.replaced, source.0, source.1, target.0, target.1]
    }
}

impl Renamed {
    /// Whether the names mean by now what they mean after the rename.
    fn is_done(&self, now: &Self, flags: RenameFlags) -> bool {
        let source_is_gone = match flags.contains(RenameFlags::EXCHANGE) {
            true => now.source == self.target,
            false => now.source.is_none(),
        };
        self.source.is_some() && now.target == self.source && source_is_gone
    }
}

/// The file that a name means; none if there is no such name.
fn identity(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<FileId>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(file_id(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Backing {
    /// Whether what a name means may be renamed or removed.
    fn check_name_refused(&self, directory: &OwnedFd, parent: u64, name: &OsStr) -> io::Result<()> {
        if self.refuse_open.get().is_none() {
            return Ok(());
        }
        identity(directory, name)?.map_or(Ok(()), |file| self.check_refused(file, parent, name))
    }

    fn check_name(&self, parent: u64, name: &OsStr) -> io::Result<()> {
        if self.is_private(parent, name) { Err(Errno::PERM.into()) } else { Ok(()) }
    }

    /// Makes an entry with `make`, gives it to the caller and looks it up.
    fn make(
        &self,
        parent: u64,
        name: &OsStr,
        caller: Caller,
        (kind, once): (Operation, &mut Once),
        make: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
    ) -> io::Result<FileAttr> {
        self.check_name(parent, name)?;
        once.take_back(&self.inodes);
        let directory = self.inodes.path_fd(parent)?;
        let may_be_made = self.begin_making(kind, &directory, name, once)?;
        match make(&directory) {
            Err(Errno::EXIST) if may_be_made => (),
            made => made?,
        }
        fault::point();
        let fd = open_path(&directory, name)?;
        self.give_to(&fd, &directory, caller)?;
        let stat = rustix::fs::fstat(&fd)?;
        self.remember(parent, name, &stat, Some(fd), once)
    }

    pub(super) fn mkdir(
        &self,
        (parent, name): (u64, &OsStr),
        mode: u32,
        caller: Caller,
        once: &mut Once,
    ) -> io::Result<FileAttr> {
        let mode = match self.access {
            Access::Unix => Mode::from_raw_mode(mode & 0o7777),
            Access::Shared => Mode::from_raw_mode(0o755),
        };
        self.make(parent, name, caller, (Operation::MkDir, once), |directory| {
            rustix::fs::mkdirat(directory, name, mode)
        })
    }

    /// # Errors
    /// EPERM for devices: the mount is nodev, and a device node has no business among databases.
    pub(super) fn mknod(
        &self,
        (parent, name): (u64, &OsStr),
        mode: u32,
        caller: Caller,
        once: &mut Once,
    ) -> io::Result<FileAttr> {
        let kind = match mode & S_IFMT {
            0 | S_IFREG => FileType::RegularFile,
            0o010_000 => FileType::Fifo,
            0o140_000 => FileType::Socket,
            _ => return Err(Errno::PERM.into()),
        };
        let bits = self.new_mode(mode);
        self.make(parent, name, caller, (Operation::MkNod, once), |directory| {
            rustix::fs::mknodat(directory, name, kind, bits, 0)
        })
    }

    pub(super) fn symlink(
        &self,
        (parent, name): (u64, &OsStr),
        target: &Path,
        caller: Caller,
        once: &mut Once,
    ) -> io::Result<FileAttr> {
        self.make(parent, name, caller, (Operation::Symlink, once), |directory| {
            rustix::fs::symlinkat(target, directory, name)
        })
    }

    pub(super) fn readlink(&self, node: u64) -> io::Result<Vec<u8>> {
        let fd = self.inodes.path_fd(node)?;
        Ok(rustix::fs::readlinkat(&*fd, "", Vec::new())?.into_bytes())
    }

    pub(super) fn link(&self, node: u64, parent: u64, name: &OsStr, once: &mut Once) -> io::Result<FileAttr> {
        self.check_name(parent, name)?;
        once.take_back(&self.inodes);
        let file = self.inodes.path_fd(node)?;
        let directory = self.inodes.path_fd(parent)?;
        self.check_refused(file_id(&rustix::fs::fstat(&*file)?), parent, name)?;
        let may_be_made = self.begin_making(Operation::Link, &directory, name, once)?;
        match rustix::fs::linkat(&*file, "", &*directory, name, AtFlags::EMPTY_PATH) {
            Err(Errno::EXIST) if may_be_made => (),
            linked => linked?,
        }
        fault::point();
        let stat = rustix::fs::fstat(&*file)?;
        self.remember(parent, name, &stat, None, once)
    }

    pub(super) fn unlink(&self, parent: u64, name: &OsStr, directory: bool, once: &mut Once) -> io::Result<()> {
        if self.is_private(parent, name) {
            return Err(Errno::NOENT.into());
        }
        let (kind, flags) = match directory {
            true => (Operation::RmDir, AtFlags::REMOVEDIR),
            false => (Operation::Unlink, AtFlags::empty()),
        };
        let parent_fd = self.inodes.path_fd(parent)?;
        // Outside of the lock on names, which looking for a database may take.
        self.check_name_refused(&parent_fd, parent, name)?;
        self.inodes.changing_names(|| {
            let (file, node) = self.inodes.pin_before_removal(&parent_fd, name)?;
            once.begin(kind, [u64::from(file.is_some()), node.unwrap_or(0), 0, 0, 0, 0])?;
            match (rustix::fs::unlinkat(&*parent_fd, name, flags), once.before()) {
                // A process before this one did it.
                (Err(Errno::NOENT), Some([1, ..])) => (),
                (done, _) => done?,
            }
            fault::point();
            let node = once.before().map_or(node, |[_, node, ..]| Some(node).filter(|node| *node != 0));
            if let Some(node) = node {
                self.inodes.removed(node, parent, name);
            }
            Ok(())
        })
    }

    /// rename(2) with its flags.
    ///
    /// # Errors
    /// EINVAL for RENAME_WHITEOUT, which only union file systems want; those of renameat2(2).
    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32, once: &mut Once) -> io::Result<()> {
        self.check_name(from.0, from.1)?;
        self.check_name(to.0, to.1)?;
        let flags = RenameFlags::from_bits_retain(flags);
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL.into());
        }
        let (old, new) = (self.inodes.path_fd(from.0)?, self.inodes.path_fd(to.0)?);
        // Outside of the lock on names, which looking for a database may take.
        self.check_name_refused(&old, from.0, from.1)?;
        self.check_name_refused(&new, to.0, to.1)?;
        self.inodes.changing_names(|| -> io::Result<()> {
            let (source, moved) = self.inodes.pin_before_removal(&old, from.1)?;
            let (target, replaced) = self.inodes.pin_before_removal(&new, to.1)?;
            let now = Renamed { moved: moved.unwrap_or(0), replaced: replaced.unwrap_or(0), source, target };
            // What was there when the request was first carried out.
            let renamed = match once.before() {
                Some(arguments) => Renamed::from(arguments),
                None => now,
            };
            once.begin(Operation::Rename, renamed.into())?;
            if once.before().is_none() || !renamed.is_done(&now, flags) {
                rustix::fs::renameat_with(&*old, from.1, &*new, to.1, flags)?;
            }
            fault::point();
            let known = |node: u64| Some(node).filter(|node| *node != 0);
            match known(renamed.replaced) {
                Some(node) if flags.contains(RenameFlags::EXCHANGE) => self.inodes.renamed(node, to, from),
                // rename(2): two names of one file stay as they are.
                Some(_) if renamed.replaced == renamed.moved => return Ok(()),
                Some(node) => self.inodes.removed(node, to.0, to.1),
                None => {}
            }
            if let Some(node) = known(renamed.moved) {
                self.inodes.renamed(node, from, to);
            }
            Ok(())
        })?;
        if self.named.get().is_some()
            && let Some(file) = identity(&new, to.1)?
        {
            self.tell_named(file);
        }
        Ok(())
    }

    /// Flushes a directory's entries to the disk.
    pub(super) fn fsync_directory(&self, node: u64) -> io::Result<()> {
        let directory = self.open_directory(node)?;
        Ok(rustix::fs::fsync(&directory)?)
    }

    pub(super) fn open_directory(&self, node: u64) -> io::Result<OwnedFd> {
        let fd = self.inodes.path_fd(node)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*fd, ".", flags, Mode::empty())?)
    }

    /// Whether a name is `.` or `..`.
    pub(super) fn is_dot(name: &OsStr) -> bool {
        matches!(name.as_bytes(), b"." | b"..")
    }
}
