//! Dead mounts: clears them away, and finds who still has databases open through them.
//!
//! Called at the start, before the new mount. A file that is open through a dead passthrough mount is written without our
//! locks, so its database is refused until the last such descriptor is closed.
//!
//! Device numbers are used again once a dead mount's last file is closed: so the search comes before the mount, and a device
//! that the new mount then gets is struck from the list.

mod family;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::family::{Family, families, files_below};
use super::DaemonError;
use super::backing::{Backing, holder_of};
use crate::lock::FileId;
use crate::model::{ProcessName, RefusedDatabase, printable, text_of};
use crate::process::open_files::{OpenFile, open_by, open_on};
use crate::process::{command_of, mounts};

/// How long "still open" is believed before the descriptors are looked at again.
const BELIEVE: Duration = Duration::from_millis(100);

/// Detaches the dead mounts of this backing directory, and those on the mount point; the answer is the devices through which
/// files may still be open.
///
/// # Errors
/// Where the mount point carries another file system or a live mount of ours.
pub(super) fn clear_dead_mounts(mountpoint: &Path, backing: &Backing) -> Result<BTreeSet<u64>, DaemonError> {
    let mut devices = BTreeSet::new();
    if let Some(record) = backing.predecessor() {
        devices.extend(record.device);
        devices.extend(&record.earlier_devices);
    }
    let fault =
        |source| DaemonError::Path { action: "cannot clear the dead mount at", path: mountpoint.into(), source };
    // This daemon holds the backing lock, so every mount of the directory is a dead one's.
    for mount in mounts::own_mounts().map_err(fault)?.into_iter().filter(|mount| mount.source == backing.path()) {
        devices.insert(mount.device);
        clear(&mount).map_err(fault)?;
    }
    while let Some(mount) = mounts::mounted_at(mountpoint).map_err(fault)? {
        if mount.fs_type != mounts::FS_TYPE {
            let mounts::Mount { fs_type, source, .. } = mount;
            return Err(DaemonError::Mounted { path: mountpoint.to_owned(), fs_type, from: source });
        }
        if let Some(pid) = live_daemon_of(&mount) {
            return Err(DaemonError::MountedByUs { path: mountpoint.to_owned(), pid });
        }
        // The lock may lie where this daemon does not see it (another mount namespace): the kernel has the last word.
        if !mounts::is_dead(mountpoint) {
            let mounts::Mount { fs_type, source, .. } = mount;
            return Err(DaemonError::Mounted { path: mountpoint.to_owned(), fs_type, from: source });
        }
        clear(&mount).map_err(fault)?;
    }
    Ok(devices)
}

/// The pid of the live daemon behind a mount of ours: it holds the lock of the mount's source, and serves this device.
fn live_daemon_of(mount: &mounts::Mount) -> Option<u32> {
    let record = holder_of(&mount.source).ok()??;
    record.device.is_none_or(|device| device == mount.device).then_some(record.pid)
}

fn clear(mount: &mounts::Mount) -> io::Result<()> {
    if let Err(error) = mounts::abort_connection(mount.device) {
        tracing::debug!(%error, device = mount.device, "no connection to abort");
    }
    mounts::detach(&mount.mount_point)?;
    tracing::warn!(mountpoint = printable(&mount.mount_point), "cleared away the mount of a dead daemon");
    Ok(())
}

#[derive(Debug)]
struct Watched {
    family: Family,
    /// When it was last seen open.
    seen: Instant,
}

/// Databases that are open through dead mounts.
#[derive(Debug)]
pub(super) struct StaleUsers {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    devices: BTreeSet<u64>,
    watched: Vec<Watched>,
}

impl StaleUsers {
    /// Looks through all processes for files of the dead mounts.
    pub(super) fn find(mut devices: BTreeSet<u64>, data: &Path) -> Self {
        let mut held = Vec::new();
        devices.retain(|device| {
            let open = all_open(*device);
            held.extend(open.iter().map(|file| (file.pid, file.ino)));
            !open.is_empty()
        });
        let families = if held.is_empty() { Vec::new() } else { families(&files_below(data), &held) };
        for family in &families {
            let users: Vec<String> = family.pids.iter().map(|pid| user(*pid)).collect();
            tracing::warn!(
                database = printable(&family.path),
                users = users.join(", "),
                "refused with EBUSY until these processes close it: they have it open through a dead mount"
            );
        }
        let now = Instant::now();
        let watched = families.into_iter().map(|family| Watched { family, seen: now }).collect();
        Self { inner: Mutex::new(Inner { devices, watched }) }
    }

    /// The dead mounts through which files are still open.
    pub(super) fn devices(&self) -> Vec<u64> {
        self.lock().devices.iter().copied().collect()
    }

    /// Whether nothing is refused, and nothing ever will be.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().watched.is_empty()
    }

    /// Strikes a device that the new mount has: the dead mount that had it is gone for good.
    pub(super) fn forget_device(&self, device: u64) {
        self.lock().devices.remove(&device);
    }

    /// Whether a file belongs to a database that is still open through a dead mount.
    pub(super) fn refuses(&self, file: FileId) -> bool {
        let mut inner = self.lock();
        let Inner { devices, watched } = &mut *inner;
        let mut refused = false;
        watched.retain_mut(|watched| {
            if !watched.family.files.contains(&file) {
                return true;
            }
            let open = watched.is_open(devices);
            refused |= open;
            open
        });
        refused
    }

    /// What is refused now, for `status`.
    pub(super) fn refused(&self) -> Vec<RefusedDatabase> {
        let mut inner = self.lock();
        let Inner { devices, watched } = &mut *inner;
        watched.retain_mut(|watched| watched.is_open(devices));
        let named = |pid: &u32| ProcessName { pid: *pid, command: command_of(*pid) };
        let database = |Watched { family, .. }: &Watched| RefusedDatabase {
            path: text_of(&family.path),
            users: family.pids.iter().map(named).collect(),
        };
        watched.iter().map(database).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is a single call: the state behind a poisoned lock is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Looks at the known processes first; before "closed" is said, at all: a descriptor may have been inherited by a fork.
    fn is_open(&mut self, devices: &BTreeSet<u64>) -> bool {
        if self.seen.elapsed() < BELIEVE {
            return true;
        }
        let family = &mut self.family;
        let uses = |open: &OpenFile| family.files.iter().any(|file| file.ino == open.ino);
        let known = |pid: &u32| devices.iter().any(|device| open_by(*pid, *device).iter().any(uses));
        let mut pids: BTreeSet<u32> = family.pids.iter().copied().filter(known).collect();
        if pids.is_empty() {
            let everywhere = devices.iter().flat_map(|device| all_open(*device));
            pids = everywhere.filter(uses).map(|open| open.pid).collect();
        }
        if pids.is_empty() {
            tracing::info!(database = printable(&family.path), "no longer open through a dead mount: served again");
            return false;
        }
        family.pids = pids;
        self.seen = Instant::now();
        true
    }
}

fn all_open(device: u64) -> Vec<OpenFile> {
    open_on(device, std::process::id()).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read /proc: databases open through a dead mount are not found");
        Vec::new()
    })
}

fn user(pid: u32) -> String {
    format!("pid {pid} ({})", printable(command_of(pid)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_database_is_refused_until_its_file_is_closed() {
        let dir = std::env::temp_dir().join(format!("hoodydb-stale-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/a.db"), b"").unwrap();
        std::fs::write(dir.join("sub/a.db-wal"), b"").unwrap();
        let mut holder = std::process::Command::new("sleep")
            .arg("60")
            .stdin(std::fs::File::open(dir.join("sub/a.db-wal")).unwrap())
            .spawn()
            .unwrap();
        let meta = dir.join("sub/a.db").metadata().unwrap();
        let (database, device) = (FileId { dev: meta.dev(), ino: meta.ino() }, meta.dev());
        let users = StaleUsers::find(BTreeSet::from([device]), &dir);
        assert!(users.refuses(database));
        assert!(!users.refuses(FileId { dev: device, ino: 0 }));
        let refused = users.refused();
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].path.as_str(), refused[0].users[0].pid), ("sub/a.db", holder.id()));
        holder.kill().unwrap();
        holder.wait().unwrap();
        users.lock().watched[0].seen -= 2 * BELIEVE;
        assert!(!users.refuses(database));
        assert!(users.refused().is_empty());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
