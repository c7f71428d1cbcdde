//! Operations on the contents and attributes of files.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, TimeOrNow};
use rustix::fs::{AtFlags, FallocateFlags, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::Access;
use super::backing::Backing;
use super::inodes::ROOT;
use super::inodes::libc_mode::{S_IFLNK, S_IFMT};

/// What a SETATTR changes; `None` leaves as is.
#[derive(Clone, Copy, Default)]
pub(super) struct Changes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => exact(time),
    }
}

fn exact(time: SystemTime) -> Timespec {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos()),
        },
        Err(before) => {
            let before = before.duration();
            let nanoseconds = i64::from(before.subsec_nanos());
            let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            // Nanoseconds count forward from the second before.
            match nanoseconds {
                0 => Timespec { tv_sec: seconds, tv_nsec: 0 },
                _ => Timespec { tv_sec: seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
            }
        }
    }
}

impl Backing {
    /// chmod, chown, truncate and utimens. With `Access::Shared` mode and owner are accepted and stay as they are, so that
    /// `cp -p`, `tar` and `rsync -a` do their work.
    pub(super) fn setattr(&self, node: u64, handle: Option<u64>, changes: Changes) -> io::Result<FileAttr> {
        if let Some(size) = changes.size {
            self.inodes.with(node, |inode| inode.was_cut = true)?;
            match handle.and_then(|handle| self.handles.get(handle)) {
                Some(open) => rustix::fs::ftruncate(&open.fd, size)?,
                None => {
                    let file = self.inodes.with(node, |inode| inode.file)?;
                    let (parent, name) = self.inodes.name_of(node).ok_or(Errno::STALE)?;
                    self.check_refused(file, parent, &name)?;
                    let fd = self.reopen(&*self.inodes.path_fd(node)?, OFlags::WRONLY)?;
                    rustix::fs::ftruncate(&fd, size)?;
                }
            }
        }
        if self.access == Access::Unix {
            self.change_rights(node, changes)?;
        }
        if changes.atime.is_some() || changes.mtime.is_some() {
            let times = Timestamps { last_access: timespec(changes.atime), last_modification: timespec(changes.mtime) };
            rustix::fs::utimensat(&*self.inodes.path_fd(node)?, "", &times, AtFlags::EMPTY_PATH)?;
        }
        self.getattr(node, handle)
    }

    fn change_rights(&self, node: u64, changes: Changes) -> io::Result<()> {
        if node == ROOT {
            if changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some() {
                let root = self.open_directory(node)?;
                self.root_rights.change(root, changes.mode, changes.uid, changes.gid)?;
            }
            return Ok(());
        }
        let fd = self.inodes.path_fd(node)?;
        if changes.uid.is_some() || changes.gid.is_some() {
            let (uid, gid) = (changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw));
            rustix::fs::chownat(&*fd, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = changes.mode {
            if rustix::fs::fstat(&*fd)?.st_mode & S_IFMT == S_IFLNK {
                return Err(Errno::OPNOTSUPP.into());
            }
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::chmodat(rustix::fs::CWD, link, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        Ok(())
    }

    pub(super) fn read(&self, handle: u64, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let open = self.handles.get(handle).ok_or(Errno::BADF)?;
        let mut data = vec![0; size as usize];
        let mut filled = 0;
        while filled < data.len() {
            match rustix::io::pread(&open.fd, &mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(error) if filled == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    pub(super) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> io::Result<u32> {
        let open = self.handles.get(handle).ok_or(Errno::BADF)?;
        let mut written = 0;
        while written < data.len() {
            match rustix::io::pwrite(&open.fd, &data[written..], offset + written as u64) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(Errno::INTR) => {}
                Err(error) if written == 0 => return Err(error.into()),
                // The rest is asked for again, and fails then with nothing written before it.
                Err(_) => break,
            }
        }
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }

    pub(super) fn fsync(&self, handle: u64, data_only: bool) -> io::Result<()> {
        let open = self.handles.get(handle).ok_or(Errno::BADF)?;
        if data_only {
            rustix::fs::fdatasync(&open.fd)?
        } else {
            rustix::fs::fsync(&open.fd)?
        }
        Ok(())
    }

    pub(super) fn fallocate(&self, handle: u64, offset: u64, length: u64, mode: i32) -> io::Result<()> {
        let open = self.handles.get(handle).ok_or(Errno::BADF)?;
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        Ok(rustix::fs::fallocate(&open.fd, mode, offset, length)?)
    }

    /// SEEK_DATA and SEEK_HOLE; the kernel answers the others itself.
    pub(super) fn lseek(&self, handle: u64, offset: i64, whence: i32) -> io::Result<i64> {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let open = self.handles.get(handle).ok_or(Errno::BADF)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let position = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(i64::try_from(rustix::fs::seek(&open.fd, position)?).unwrap_or(i64::MAX))
    }

    pub(super) fn copy_file_range(&self, from: (u64, u64), to: (u64, u64), length: u64) -> io::Result<u32> {
        let source = self.handles.get(from.0).ok_or(Errno::BADF)?;
        let target = self.handles.get(to.0).ok_or(Errno::BADF)?;
        let (mut read_at, mut write_at) = (from.1, to.1);
        // The answer is counted in 32 bits; the caller asks again for the rest.
        let length = usize::try_from(length.min(1 << 30)).unwrap_or(1 << 30);
        let copied =
            rustix::fs::copy_file_range(&source.fd, Some(&mut read_at), &target.fd, Some(&mut write_at), length)?;
        Ok(u32::try_from(copied).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_before_the_epoch_count_nanoseconds_forward() {
        let time = exact(UNIX_EPOCH - Duration::from_millis(1500));
        assert_eq!((time.tv_sec, time.tv_nsec), (-2, 500_000_000));
        let time = exact(UNIX_EPOCH - Duration::from_secs(3));
        assert_eq!((time.tv_sec, time.tv_nsec), (-3, 0));
    }
}
