//! A directory of databases, held open so that no symlink that appears later leads elsewhere.
//!
//! Called by [`super::list`] and [`super::remove`]. Every step is one name below the open directory.

use std::ffi::{CStr, OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::super::held;
use super::super::path::Identity;

/// With what every SQLite database begins.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// An open directory.
pub(super) struct Directory(OwnedFd);

/// A regular file in it.
pub(super) struct Entry {
    /// Its name.
    pub(super) name: OsString,
    stat: Stat,
}

impl Directory {
    /// Opens a directory whose path has no symlink.
    ///
    /// # Errors
    /// ELOOP if it has one by now, and those of opening it.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        // Sandboxes that do not know the call refuse it.
        let opened = match opened {
            Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty()),
            opened => opened,
        };
        opened.map(Self)
    }

    /// The regular files in it whose names `wanted` takes. Of a file that goes meanwhile nothing is said.
    ///
    /// # Errors
    /// Those of reading it.
    pub(super) fn files(&self, wanted: impl Fn(&OsStr) -> bool) -> Result<Vec<Entry>, Errno> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if wanted(OsStr::from_bytes(name.to_bytes()))
                && let Some(entry) = self.file(name)
            {
                files.push(entry);
            }
        }
        Ok(files)
    }

    fn file(&self, name: &CStr) -> Option<Entry> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| Entry { name: OsStr::from_bytes(name.to_bytes()).to_owned(), stat })
    }

    /// Whether a file begins as a database does. One that a connection of this process has open does: SQLite has read it.
    pub(super) fn is_database(&self, entry: &Entry) -> bool {
        // A descriptor that only names a file takes no locks along when it is closed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(named) = rustix::fs::openat(&self.0, &entry.name, flags, Mode::empty()) else { return false };
        let Ok(stat) = rustix::fs::fstat(&named) else { return false };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return false;
        }
        held::unless_open(Identity::new(stat.st_dev, stat.st_ino), || has_header(&named)).unwrap_or(true)
    }

    /// Removes a name; false if it is not there.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub(super) fn remove(&self, name: &OsStr) -> Result<bool, Errno> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that what was removed or renamed in it is so after a power cut.
    ///
    /// # Errors
    /// Those of fsync(2).
    pub(super) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.0)
    }
}

fn has_header(named: &OwnedFd) -> bool {
    let mut header = [0; HEADER.len()];
    let opened = std::fs::File::open(format!("/proc/self/fd/{}", named.as_raw_fd()));
    opened.and_then(|mut file| file.read_exact(&mut header)).is_ok() && &header == HEADER
}

impl Entry {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// When it was changed: seconds since 1970, and nanoseconds.
    pub(super) fn modified(&self) -> (i64, i64) {
        (self.stat.st_mtime, i64::try_from(self.stat.st_mtime_nsec).unwrap_or(0))
    }
}
