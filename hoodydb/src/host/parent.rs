//! The parent of the mount point: what containers get instead of the mount itself, so that they follow it over restarts.
//!
//! Called by `hoodydb mount` for the default mount point, and by `install` and `uninstall`.
//!
//! ```text
//!   /hoody            tmpfs of 64 KiB, source "hoodydb", read-only, shared     bound into containers: rbind, rslave
//!   /hoody/databases  an empty directory; the daemon mounts here, and the kernel carries that into the containers
//!   /hoody/http       an empty directory for the socket of a server (socket_place.rs), and http.sock, a link to it
//! ```
//!
//! # Source
//! Measured on 6.18: a container that has the mount itself keeps a dead one for ever; a container that has the parent as a slave
//! sees every new mount. In a writable parent, programs would make stray files while nothing is mounted.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};

use super::{HostError, socket_place};
use crate::model::printable;
use crate::process::mounts::{Mount, mounted_at, mounts_of};

/// Where it is.
pub const PARENT: &str = "/hoody";

/// The mount point's name in it.
pub const CHILD: &str = "databases";

/// What the mount table calls it.
pub const SOURCE: &str = "hoodydb";

/// It holds two empty directories and a link.
const SIZE: &str = "64k";

/// Names that an error tells.
const NAMES_MAX: usize = 3;

/// What [`prepare`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It was there.
    Already,
    /// It is there now.
    Made,
    /// Something is mounted on the mount point, without the parent: left as it is.
    Busy,
}

/// Whether a mount is a parent of ours.
pub fn is_parent(mount: &Mount) -> bool {
    mount.fs_type == "tmpfs" && mount.source.as_os_str() == SOURCE
}

/// Whether it is there.
///
/// # Errors
/// If the mount table cannot be read.
pub fn is_there(parent: &Path) -> io::Result<bool> {
    Ok(mounted_at(parent)?.is_some_and(|mount| is_parent(&mount)))
}

/// Makes the parent if it is missing. It appears all at once, read-only and with the mount point in it.
///
/// # Errors
/// Where it would hide files, and where the kernel refuses.
pub fn prepare(parent: &Path) -> Result<Prepared, HostError> {
    let table = HostError::path("cannot read the mounts for", parent);
    match state(parent).map_err(table)? {
        Prepared::Made => (),
        other => return Ok(other),
    }
    make_directory(parent)?;
    refuse_files(parent)?;
    build(parent).map_err(|error| match error {
        Errno::NOSYS => HostError::OldKernel(parent.to_owned()),
        other => HostError::Path {
            action: "cannot make the mount at",
            path: parent.to_owned(),
            source: io::Error::from(other).into(),
        },
    })?;
    tracing::info!(parent = printable(parent), "made the parent of the mount point");
    Ok(Prepared::Made)
}

/// What [`prepare`] would do, without doing it.
///
/// # Errors
/// As of [`prepare`].
pub fn rehearse(parent: &Path) -> Result<Prepared, HostError> {
    let state = state(parent).map_err(HostError::path("cannot read the mounts for", parent))?;
    if state == Prepared::Made {
        if parent.symlink_metadata().is_ok() {
            refuse_files(parent)?;
        }
        if is_kernel_too_old() {
            return Err(HostError::OldKernel(parent.to_owned()));
        }
    }
    Ok(state)
}

/// Asks for what cannot be done; only a kernel without the calls says so.
fn is_kernel_too_old() -> bool {
    let moved = move_mount(CWD, "", CWD, "", MoveMountFlags::empty());
    moved == Err(Errno::NOSYS) || fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).err() == Some(Errno::NOSYS)
}

/// Takes the parent away; containers that have it keep it, empty, and so does a shell that is in it. False if there was none.
///
/// # Errors
/// `EBUSY` while something is mounted in it.
pub fn remove(parent: &Path) -> io::Result<bool> {
    if !is_there(parent)? {
        return Ok(false);
    }
    socket_place::remove(parent)?;
    let has_mounts = mounts_of("/proc/self/mountinfo")?.iter().any(|mount| mount.mount_point.parent() == Some(parent));
    let flags = if has_mounts { UnmountFlags::empty() } else { UnmountFlags::DETACH };
    rustix::mount::unmount(parent, flags | UnmountFlags::NOFOLLOW)?;
    Ok(true)
}

fn state(parent: &Path) -> io::Result<Prepared> {
    // One look for both: a daemon may be mounting meanwhile.
    let mounts = mounts_of("/proc/self/mountinfo")?;
    let at = |path: &Path| mounts.iter().rev().find(|mount| mount.mount_point == path);
    if at(parent).is_some_and(is_parent) {
        return Ok(Prepared::Already);
    }
    Ok(if at(&parent.join(CHILD)).is_some() { Prepared::Busy } else { Prepared::Made })
}

fn make_directory(parent: &Path) -> Result<(), HostError> {
    match std::fs::create_dir(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(HostError::path("cannot make", parent)(error))
        }
        _ => Ok(()),
    }
}

/// Nothing may be there but an empty directory for the mount point.
fn refuse_files(parent: &Path) -> Result<(), HostError> {
    let names = names_in(parent)?;
    if names.iter().any(|name| name != CHILD) {
        return Err(HostError::HasFiles { path: parent.to_owned(), names });
    }
    let child = parent.join(CHILD);
    let below = if names.is_empty() { Vec::new() } else { names_in(&child)? };
    if below.is_empty() { Ok(()) } else { Err(HostError::HasFiles { path: child, names: below }) }
}

fn names_in(directory: &Path) -> Result<Vec<String>, HostError> {
    let failed = |error| HostError::path("cannot look into", directory)(error);
    if !directory.symlink_metadata().map_err(failed)?.is_dir() {
        return Err(HostError::NotDirectory(directory.to_owned()));
    }
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let names = entries.take(NAMES_MAX).map(|entry| entry.map(|entry| printable(entry.file_name())));
    names.collect::<io::Result<_>>().map_err(failed)
}

/// # Source
/// fsopen(2) and its kin build a file system before it has a place: nobody sees it half made or writable.
fn build(parent: &Path) -> Result<(), Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("source", SOURCE), ("size", SIZE), ("mode", "755")] {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let flags =
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tree = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
    rustix::fs::mkdirat(&tree, CHILD, Mode::from_raw_mode(0o755))?;
    rustix::fs::mkdirat(&tree, socket_place::NAME, Mode::from_raw_mode(0o755))?;
    let link = format!("{}/{}", socket_place::NAME, socket_place::SOCKET);
    rustix::fs::symlinkat(link, &tree, socket_place::SOCKET)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_reconfigure(&context)?;
    move_mount(&tree, "", CWD, parent, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    // Below a private mount it would be private: what is mounted in it would reach no container.
    mount_change(parent, MountPropagationFlags::SHARED | MountPropagationFlags::REC)
}
