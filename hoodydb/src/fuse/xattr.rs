//! Extended attributes: those of users pass, those of the system are not kept here.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::backing::Backing;
use super::once::Once;
use super::requests::Operation;

/// Only this namespace is stored: labels, capabilities and ACLs of the system would mean nothing below the mount.
const STORED: &[u8] = b"user.";

/// Largest value or list of names that Linux knows (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const MAX_BYTES: usize = 65_536;

/// Whether attributes of this name are kept.
pub(super) fn is_stored(name: &OsStr) -> bool {
    name.as_bytes().starts_with(STORED)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

impl Backing {
    fn with_link<T>(&self, node: u64, act: impl FnOnce(&str) -> rustix::io::Result<T>) -> io::Result<T> {
        let fd = self.inodes.path_fd(node)?;
        Ok(act(&format!("/proc/self/fd/{}", fd.as_raw_fd()))?)
    }

    /// # Errors
    /// ENODATA for names that are not stored here; those of getxattr(2).
    pub(super) fn get_xattr(&self, node: u64, name: &OsStr) -> io::Result<Vec<u8>> {
        if !is_stored(name) {
            return Err(Errno::NODATA.into());
        }
        self.with_link(node, |link| {
            let mut value = vec![0; MAX_BYTES];
            let length = rustix::fs::getxattr(link, name, value.as_mut_slice())?;
            value.truncate(length);
            Ok(value)
        })
    }

    /// The names, each ended by a zero byte.
    pub(super) fn list_xattr(&self, node: u64) -> io::Result<Vec<u8>> {
        let all = self.with_link(node, |link| {
            let mut names = vec![0; MAX_BYTES];
            let length = rustix::fs::listxattr(link, names.as_mut_slice())?;
            names.truncate(length);
            Ok(names)
        })?;
        let stored = all.split_inclusive(|byte| *byte == 0).filter(|name| name.starts_with(STORED));
        Ok(stored.flatten().copied().collect())
    }

    /// # Errors
    /// EOPNOTSUPP for names that are not stored here; those of setxattr(2).
    pub(super) fn set_xattr(
        &self,
        node: u64,
        (name, value): (&OsStr, &[u8]),
        flags: i32,
        once: &mut Once,
    ) -> io::Result<()> {
        if !is_stored(name) {
            return Err(Errno::OPNOTSUPP.into());
        }
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        let was_there = self.begin_xattr(Operation::SetXattr, node, name, once)?;
        match self.with_link(node, |link| rustix::fs::setxattr(link, name, value, flags)) {
            // A process before this one did it.
            Err(error) if is(&error, Errno::EXIST) && was_there == Some(false) => Ok(()),
            done => done,
        }
    }

    /// # Errors
    /// EOPNOTSUPP for names that are not stored here; those of removexattr(2).
    pub(super) fn remove_xattr(&self, node: u64, name: &OsStr, once: &mut Once) -> io::Result<()> {
        if !is_stored(name) {
            return Err(Errno::OPNOTSUPP.into());
        }
        let was_there = self.begin_xattr(Operation::RemoveXattr, node, name, once)?;
        match self.with_link(node, |link| rustix::fs::removexattr(link, name)) {
            // A process before this one did it.
            Err(error) if is(&error, Errno::NODATA) && was_there == Some(true) => Ok(()),
            done => done,
        }
    }

    /// Begins to change an attribute. For a request that a process before this one may have carried out: whether the attribute
    /// was there before.
    fn begin_xattr(&self, kind: Operation, node: u64, name: &OsStr, once: &mut Once) -> io::Result<Option<bool>> {
        if let Some([was_there, ..]) = once.before() {
            return Ok(Some(was_there == 1));
        }
        let was_there = self.get_xattr(node, name).is_ok();
        once.begin(kind, [u64::from(was_there), 0, 0, 0, 0, 0])?;
        Ok(None)
    }
}
