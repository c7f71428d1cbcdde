//! The mount table, and the two acts that clear a dead FUSE mount away.
//!
//! Called by [`crate::daemon`] and [`crate::cli`]; reading it never touches the mounted file systems, so a dead or hanging
//! one cannot block the reader.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, makedev, minor};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags};

/// The type that our mounts have in the mount table.
pub const FS_TYPE: &str = "fuse.hoodydb";

/// How long a live daemon may take to tell the attributes of its root.
const HANGS_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// One line of /proc/PID/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `st_dev` of its files.
    pub device: u64,
    /// The directory or file inside the file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub mount_point: PathBuf,
    /// `ext4`, `fuse.hoodydb`, ..
    pub fs_type: String,
    /// What is mounted; for our mounts the backing directory.
    pub source: PathBuf,
    /// Whether it receives what is mounted in another namespace.
    pub is_slave: bool,
}

/// The mounts that a process sees, in the order in which they were mounted.
pub fn mounts_of(mountinfo: &str) -> io::Result<Vec<Mount>> {
    Ok(std::fs::read(mountinfo)?.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// The mount that this process sees at a path: the last one, where several lie on top of one another.
pub fn mounted_at(path: &Path) -> io::Result<Option<Mount>> {
    Ok(mounts_of("/proc/self/mountinfo")?.into_iter().rev().find(|mount| mount.mount_point == path))
}

/// Our mounts that this process sees, dead ones included.
pub fn own_mounts() -> io::Result<Vec<Mount>> {
    let mut mounts = mounts_of("/proc/self/mountinfo")?;
    mounts.retain(|mount| mount.fs_type == FS_TYPE && mount.root.as_os_str() == "/");
    Ok(mounts)
}

/// Takes a mount out of the tree at once; files that are open stay open.
///
/// # Errors
/// `EINVAL` where nothing is mounted there.
pub fn detach(mount_point: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(mount_point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// Whether the daemon behind a FUSE mount is gone. The question goes past the kernel's cache and has a time limit: a daemon
/// that hangs is not dead.
///
/// # Source
/// Measured on 6.18: once nobody has /dev/fuse of a connection open, every request fails with ENOTCONN; attributes in the
/// cache are still answered, so AT_STATX_FORCE_SYNC is needed.
pub fn is_dead(mount_point: &Path) -> bool {
    let (answer, answered) = std::sync::mpsc::channel();
    let path = mount_point.to_owned();
    let asking = move || {
        let stat = rustix::fs::statx(CWD, &path, AtFlags::STATX_FORCE_SYNC, StatxFlags::INO);
        // The one who asked may be gone: nothing is lost.
        let _ = answer.send(stat.err() == Some(rustix::io::Errno::NOTCONN));
    };
    let started = std::thread::Builder::new().name("is-dead".to_owned()).spawn(asking);
    started.is_ok() && answered.recv_timeout(HANGS_AFTER).unwrap_or(false)
}

/// Ends the FUSE connection of a device: everything that waits on it fails, and nothing can be opened through it any more.
///
/// The control file system is mounted for the moment of the call only, as many hosts do not mount it.
///
/// # Errors
/// `ENOENT` where the connection is gone already.
///
/// # Source
/// Documentation/filesystems/fuse.rst: "connections/N/abort"; N is the minor number of the device.
pub fn abort_connection(device: u64) -> io::Result<()> {
    let file_system = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&file_system)?;
    let control = rustix::mount::fsmount(&file_system, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let name = format!("{}/abort", minor(device));
    let abort = rustix::fs::openat(&control, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&abort, b"1")?;
    Ok(())
}

/// Parses `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/root rw`.
///
/// # Source
/// proc_pid_mountinfo(5): any number of optional fields, ended by a single hyphen.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = parse_device(fields.by_ref().nth(2)?)?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let mut is_slave = false;
    for field in fields.by_ref().take_while(|field| *field != b"-") {
        is_slave |= field.starts_with(b"master:");
    }
    let mut after_hyphen = fields;
    let fs_type = String::from_utf8_lossy(after_hyphen.next()?).into_owned();
    let source = unescape(after_hyphen.next()?);
    Some(Mount { device, root, mount_point, fs_type, source, is_slave })
}

fn parse_device(field: &[u8]) -> Option<u64> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the kernel's `\040` for a space, and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match tail.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| u8::from_str_radix(text, 8).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_and_without_optional_fields() {
        let shared = b"36 35 98:1 /a /mnt rw,noatime shared:1 master:2 - fuse.hoodydb /var/lib/x rw,user_id=0";
        let mount = parse_line(shared).unwrap();
        assert_eq!(mount.device, makedev(98, 1));
        assert_eq!(mount.root, Path::new("/a"));
        assert_eq!(mount.mount_point, Path::new("/mnt"));
        assert_eq!(mount.fs_type, FS_TYPE);
        assert_eq!(mount.source, Path::new("/var/lib/x"));
        assert!(mount.is_slave);
        let private = parse_line(b"22 27 0:21 / /proc rw - proc proc rw").unwrap();
        assert!(!private.is_slave);
        assert_eq!((private.fs_type.as_str(), private.source.to_str()), ("proc", Some("proc")));
    }

    #[test]
    fn octal_escapes_become_bytes() {
        assert_eq!(unescape(br"/a\040b\011c\012d\134e"), Path::new("/a b\tc\nd\\e"));
        assert_eq!(unescape(br"/short\04"), Path::new(r"/short\04"));
        assert_eq!(unescape(br"/no\999x"), Path::new(r"/no\999x"));
        assert_eq!(unescape(br"/big\777"), Path::new(r"/big\777"));
    }

    #[test]
    fn broken_lines_are_left_out() {
        assert_eq!(parse_line(b""), None);
        assert_eq!(parse_line(b"36 35 x:y / /mnt rw - ext4 a rw"), None);
        assert_eq!(parse_line(b"36 35 8:1 / /mnt rw shared:1"), None);
    }

    #[test]
    fn own_table_has_a_root() {
        assert!(mounted_at(Path::new("/proc")).unwrap().is_some());
    }
}
