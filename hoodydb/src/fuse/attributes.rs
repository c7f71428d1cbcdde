//! Attributes on their way to the kernel, as each access mode shows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::Stat;

use super::Access;
use super::inodes::libc_mode::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + nanoseconds,
        Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + nanoseconds,
    }
}

/// The file type of a mode.
pub(super) fn kind_of(mode: u32) -> FileType {
    match mode & S_IFMT {
        S_IFDIR => FileType::Directory,
        S_IFLNK => FileType::Symlink,
        S_IFREG => FileType::RegularFile,
        0o010_000 => FileType::NamedPipe,
        0o140_000 => FileType::Socket,
        0o060_000 => FileType::BlockDevice,
        _ => FileType::CharDevice,
    }
}

/// Mode bits as `Access::Shared` shows them.
pub(super) fn shared_mode(mode: u32) -> u32 {
    match mode & S_IFMT {
        S_IFDIR => 0o755,
        S_IFLNK => 0o777,
        _ => 0o644,
    }
}

/// The kernel's attributes of a backing file. `Access::Shared` shows every file as root's.
pub(super) fn attributes(node: u64, stat: &Stat, access: Access) -> FileAttr {
    let (mode, uid, gid) = match access {
        Access::Unix => (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid),
        Access::Shared => (shared_mode(stat.st_mode), 0, 0),
    };
    FileAttr {
        ino: INodeNo(node),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        atime: time(stat.st_atime, stat.st_atime_nsec as i64),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec as i64),
        crtime: UNIX_EPOCH,
        kind: kind_of(stat.st_mode),
        perm: mode as u16,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid,
        gid,
        rdev: stat.st_rdev as u32,
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

/// The reply to a lookup of a name that does not exist, which the kernel then remembers.
///
/// # Source
/// fuse.h, `fuse_entry_out`: "Inode ID"; fs/fuse/dir.c takes 0 for "no such entry", valid for the entry's TTL.
pub(super) fn negative() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        assert_eq!(time(-1, 500_000_000), UNIX_EPOCH - Duration::from_millis(500));
        assert_eq!(time(1, 1), UNIX_EPOCH + Duration::new(1, 1));
    }

    #[test]
    fn shared_modes() {
        assert_eq!(shared_mode(S_IFREG | 0o4711), 0o644);
        assert_eq!(shared_mode(S_IFDIR | 0o700), 0o755);
        assert_eq!(shared_mode(S_IFLNK), 0o777);
    }
}
