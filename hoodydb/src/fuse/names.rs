//! Operations on names: making, linking, renaming and removing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fuser::FileAttr;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Access;
use super::backing::{Backing, Caller};
use super::inodes::libc_mode::{S_IFMT, S_IFREG};
use super::inodes::open_path;

impl Backing {
    fn check_name(&self, parent: u64, name: &OsStr) -> io::Result<()> {
        if self.is_private(parent, name) { Err(Errno::PERM.into()) } else { Ok(()) }
    }

    /// Makes an entry with `make`, gives it to the caller and looks it up.
    fn make(
        &self,
        parent: u64,
        name: &OsStr,
        caller: Caller,
        make: impl FnOnce(&std::os::fd::OwnedFd) -> rustix::io::Result<()>,
    ) -> io::Result<FileAttr> {
        self.check_name(parent, name)?;
        let directory = self.inodes.path_fd(parent)?;
        make(&directory)?;
        let fd = open_path(&directory, name)?;
        self.give_to(&fd, &directory, caller)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(self.remember(parent, name, &stat, Some(fd)))
    }

    pub(super) fn mkdir(&self, parent: u64, name: &OsStr, mode: u32, caller: Caller) -> io::Result<FileAttr> {
        let mode = match self.access {
            Access::Unix => Mode::from_raw_mode(mode & 0o7777),
            Access::Shared => Mode::from_raw_mode(0o755),
        };
        self.make(parent, name, caller, |directory| rustix::fs::mkdirat(directory, name, mode))
    }

    /// # Errors
    /// EPERM for devices: the mount is nodev, and a device node has no business among databases.
    pub(super) fn mknod(&self, parent: u64, name: &OsStr, mode: u32, caller: Caller) -> io::Result<FileAttr> {
        let kind = match mode & S_IFMT {
            0 | S_IFREG => FileType::RegularFile,
            0o010_000 => FileType::Fifo,
            0o140_000 => FileType::Socket,
            _ => return Err(Errno::PERM.into()),
        };
        let bits = self.new_mode(mode);
        self.make(parent, name, caller, |directory| rustix::fs::mknodat(directory, name, kind, bits, 0))
    }

    pub(super) fn symlink(&self, parent: u64, name: &OsStr, target: &Path, caller: Caller) -> io::Result<FileAttr> {
        self.make(parent, name, caller, |directory| rustix::fs::symlinkat(target, directory, name))
    }

    pub(super) fn readlink(&self, node: u64) -> io::Result<Vec<u8>> {
        let fd = self.inodes.path_fd(node)?;
        Ok(rustix::fs::readlinkat(&*fd, "", Vec::new())?.into_bytes())
    }

    pub(super) fn link(&self, node: u64, parent: u64, name: &OsStr) -> io::Result<FileAttr> {
        self.check_name(parent, name)?;
        let file = self.inodes.path_fd(node)?;
        let directory = self.inodes.path_fd(parent)?;
        rustix::fs::linkat(&*file, "", &*directory, name, AtFlags::EMPTY_PATH)?;
        let stat = rustix::fs::fstat(&*file)?;
        Ok(self.remember(parent, name, &stat, None))
    }

    pub(super) fn unlink(&self, parent: u64, name: &OsStr, directory: bool) -> io::Result<()> {
        if self.is_private(parent, name) {
            return Err(Errno::NOENT.into());
        }
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let parent_fd = self.inodes.path_fd(parent)?;
        self.inodes.changing_names(|| {
            let node = self.inodes.pin_before_removal(&parent_fd, name);
            rustix::fs::unlinkat(&*parent_fd, name, flags)?;
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
    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> io::Result<()> {
        self.check_name(from.0, from.1)?;
        self.check_name(to.0, to.1)?;
        let flags = RenameFlags::from_bits_retain(flags);
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL.into());
        }
        let (old, new) = (self.inodes.path_fd(from.0)?, self.inodes.path_fd(to.0)?);
        self.inodes.changing_names(|| {
            let moved = self.inodes.pin_before_removal(&old, from.1);
            let replaced = self.inodes.pin_before_removal(&new, to.1);
            rustix::fs::renameat_with(&*old, from.1, &*new, to.1, flags)?;
            match replaced {
                Some(node) if flags.contains(RenameFlags::EXCHANGE) => self.inodes.renamed(node, from.0, from.1),
                // rename(2): two names of one file stay as they are.
                Some(_) if replaced == moved => return Ok(()),
                Some(node) => self.inodes.removed(node, to.0, to.1),
                None => {}
            }
            if let Some(node) = moved {
                self.inodes.renamed(node, to.0, to.1);
            }
            Ok(())
        })
    }

    /// Flushes a directory's entries to the disk.
    pub(super) fn fsync_directory(&self, node: u64) -> io::Result<()> {
        let directory = self.open_directory(node)?;
        Ok(rustix::fs::fsync(&directory)?)
    }

    pub(super) fn open_directory(&self, node: u64) -> io::Result<std::os::fd::OwnedFd> {
        let fd = self.inodes.path_fd(node)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&*fd, ".", flags, Mode::empty())?)
    }

    /// Whether a name is `.` or `..`.
    pub(super) fn is_dot(name: &OsStr) -> bool {
        matches!(name.as_bytes(), b"." | b"..")
    }
}
