//! Reading directories. The kernel opens none (`FUSE_NO_OPENDIR_SUPPORT`): each READDIR goes on from the backing file
//! system's own cookie, which stays right while entries come and go.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

use super::backing::Backing;

/// One entry of a directory.
pub(super) struct Entry {
    pub(super) ino: u64,
    /// Where to go on after it.
    pub(super) cookie: u64,
    pub(super) kind: fuser::FileType,
    pub(super) name: OsString,
}

impl Backing {
    /// Gives entries from `cookie` on to `add` until it says that it is full.
    pub(super) fn read_directory(&self, node: u64, cookie: u64, mut add: impl FnMut(Entry) -> bool) -> io::Result<()> {
        let directory = self.open_directory(node)?;
        if cookie != 0 {
            rustix::fs::seek(&directory, SeekFrom::Start(cookie))?;
        }
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if self.is_private(node, name) {
                continue;
            }
            let entry = Entry {
                ino: entry.ino(),
                cookie: entry.next_entry_cookie(),
                kind: kind_of(entry.file_type()),
                name: name.to_owned(),
            };
            if add(entry) {
                break;
            }
        }
        Ok(())
    }

    /// The attributes of an entry that was just read; `None` if it is gone again.
    pub(super) fn stat_entry(&self, parent: u64, name: &OsStr) -> io::Result<Option<Stat>> {
        let directory = self.inodes.path_fd(parent)?;
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn kind_of(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::RegularFile | FileType::Unknown => fuser::FileType::RegularFile,
    }
}
