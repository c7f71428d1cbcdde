//! The backing directory: one descriptor, and the lock that makes its daemon the only one.
//!
//! Called by the daemon, and by `umount` to tell a dead daemon from a live one. `DATA/.hoodydb/daemon.lock` is locked with
//! flock(2) for the life of the daemon; its content names the daemon and survives it.
//!
//! # Layout
//! One line of JSON: `{"pid", "mountpoint", "device", "earlier_devices", "started"}`. `device` is `st_dev` of the mount;
//! `earlier_devices` are those of dead mounts through which files were still open when the daemon started; `started` is in
//! seconds since 1970.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::DaemonError;
use crate::model::{printable, text_of};

/// The daemon's own directory in the backing directory; the mount does not show it.
pub(super) const OWN_DIR: &str = ".hoodydb";

/// The lock's file in [`OWN_DIR`].
const LOCK_FILE: &str = "daemon.lock";

/// A look at the lock (`holder_of`) holds it for a moment: so long a start tries again.
const LOCK_TRIES: u32 = 5;

/// Who serves, or served, a backing directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The daemon.
    pub pid: u32,
    /// Its mount point.
    pub mountpoint: String,
    /// `st_dev` of the mount; none until it is live.
    pub device: Option<u64>,
    /// Dead mounts through which files were still open when the daemon started.
    #[serde(default)]
    pub earlier_devices: Vec<u64>,
    /// Seconds since 1970.
    pub started: u64,
}

/// The live daemon of a backing directory, if there is one.
pub fn holder_of(data: &Path) -> io::Result<Option<Record>> {
    let lock = match File::open(data.join(OWN_DIR).join(LOCK_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_record(&lock).unwrap_or_else(Record::unknown))),
        Err(error) => Err(error.into()),
    }
}

impl Record {
    fn unknown() -> Self {
        Self { pid: 0, mountpoint: "?".to_owned(), device: None, earlier_devices: Vec::new(), started: 0 }
    }
}

/// The backing directory while this daemon serves it.
#[derive(Debug)]
pub(super) struct Backing {
    path: PathBuf,
    dir: OwnedFd,
    own_dir: OwnedFd,
    lock: File,
    predecessor: Option<Record>,
}

impl Backing {
    /// Opens the directory, makes it private (0700) and takes its lock.
    pub(super) fn take(path: &Path) -> Result<Self, DaemonError> {
        let fault = |action| move |error: rustix::io::Errno| DaemonError::in_data(action, path, error.into());
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(fault("cannot open the data directory"))?;
        make_private(&dir, path).map_err(fault("cannot make private (0700) the data directory"))?;
        match rustix::fs::mkdirat(&dir, OWN_DIR, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => (),
            Err(error) => return Err(fault("cannot make .hoodydb in the data directory")(error)),
        }
        let own_dir = rustix::fs::openat(&dir, OWN_DIR, flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(fault("cannot open .hoodydb in the data directory"))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock: File = rustix::fs::openat(&own_dir, LOCK_FILE, flags, Mode::RUSR | Mode::WUSR)
            .map_err(fault("cannot make the lock file in the data directory"))?
            .into();
        let record = read_record(&lock);
        if !lock_now(&lock).map_err(fault("cannot lock the data directory"))? {
            let Record { pid, mountpoint, .. } = record.unwrap_or_else(Record::unknown);
            return Err(DaemonError::DataInUse { data: path.to_owned(), pid, mountpoint });
        }
        // Read again: the holder of a moment ago may have written since.
        let predecessor = read_record(&lock);
        Ok(Self { path: path.to_owned(), dir, own_dir, lock, predecessor })
    }

    /// The numbers of its descriptors, for a program that takes this one's place.
    pub(super) fn numbers(&self) -> [RawFd; 3] {
        [self.dir.as_raw_fd(), self.own_dir.as_raw_fd(), self.lock.as_raw_fd()]
    }

    /// The same directory in the program that took the place; the lock is held as long as the descriptor is open.
    pub(super) fn from_numbers(path: &Path, [dir, own_dir, lock]: [OwnedFd; 3]) -> Self {
        Self { path: path.to_owned(), dir, own_dir, lock: lock.into(), predecessor: None }
    }

    /// Writes who serves from now on.
    pub(super) fn record(
        &self,
        mountpoint: &Path,
        device: Option<u64>,
        earlier_devices: Vec<u64>,
    ) -> Result<(), DaemonError> {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mountpoint = text_of(mountpoint);
        let record = Record { pid: std::process::id(), mountpoint, device, earlier_devices, started };
        write_record(&self.lock, &record).map_err(|error| {
            DaemonError::in_data("cannot write the lock file in the data directory", &self.path, error)
        })
    }

    /// The last daemon, as it left its record.
    pub(super) fn predecessor(&self) -> Option<&Record> {
        self.predecessor.as_ref()
    }

    /// The directory's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The daemon's own directory in it.
    pub(super) fn own_dir(&self) -> &OwnedFd {
        &self.own_dir
    }

    /// Another descriptor of the directory.
    pub(super) fn clone_dir(&self) -> Result<OwnedFd, DaemonError> {
        self.dir.try_clone().map_err(|source| DaemonError::Path {
            action: "cannot open",
            path: self.path.clone(),
            source,
        })
    }

    /// Opens a file below the directory for reading; no symbolic link is followed, and nothing outside is reached.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve)?.into())
    }

    /// The size of a regular file below the directory; no symbolic link is followed, and nothing outside is reached.
    pub(super) fn size_of(&self, path: &Path) -> Option<u64> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file().then(|| u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Whether a path below the directory is a regular file; the last component is not followed.
    pub(super) fn is_regular_file(&self, path: &Path) -> bool {
        let stat = rustix::fs::statat(&self.dir, path, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
    }
}

/// Only root may enter: whoever went in past the mount would go past the locks.
fn make_private(dir: &OwnedFd, path: &Path) -> Result<(), rustix::io::Errno> {
    let mode = rustix::fs::fstat(dir)?.st_mode & 0o7777;
    if mode != 0o700 {
        rustix::fs::fchmod(dir, Mode::RWXU)?;
        tracing::warn!(data = printable(path), "made the data directory private: its mode was {mode:04o}, now 0700");
    }
    Ok(())
}

/// Takes the lock; false where another daemon has it.
fn lock_now(lock: &File) -> Result<bool, rustix::io::Errno> {
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
            taken => return taken.map(|()| true),
        }
    }
    Ok(false)
}

fn read_record(lock: &File) -> Option<Record> {
    let mut line = Vec::new();
    let mut content = vec![0; 64 * 1024];
    let length = lock.read_at(&mut content, 0).ok()?;
    BufReader::new(&content[..length]).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Line first, length second: a reader takes the first line only, so it never sees a mixture.
fn write_record(lock: &File, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    lock.write_all_at(&line, 0)?;
    lock.set_len(line.len() as u64)?;
    lock.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_daemon_is_refused_with_the_first_ones_pid() {
        let dir = std::env::temp_dir().join(format!("hoodydb-backing-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(holder_of(&dir).unwrap(), None);
        let first = Backing::take(&dir).unwrap();
        assert_eq!(first.predecessor(), None);
        first.record(Path::new("/a/long/mount/point"), Some(77), vec![3]).unwrap();
        first.record(Path::new("/m"), Some(77), vec![3]).unwrap();
        let refusal = Backing::take(&dir).unwrap_err();
        assert!(refusal.is_busy());
        let pid = std::process::id();
        assert!(
            matches!(refusal, DaemonError::DataInUse { pid: of, mountpoint, .. } if of == pid && mountpoint == "/m")
        );
        assert_eq!(holder_of(&dir).unwrap().unwrap().device, Some(77));
        drop(first);
        assert_eq!(holder_of(&dir).unwrap(), None);
        let second = Backing::take(&dir).unwrap();
        let record = second.predecessor().unwrap();
        assert_eq!((record.device, record.earlier_devices.as_slice()), (Some(77), [3].as_slice()));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
