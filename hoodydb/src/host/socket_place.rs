//! The place in /hoody in which a server without root makes its socket, so that containers see it.
//!
//! Called by `hoodydb serve`, and by `uninstall` through [`super::parent`].
//!
//! ```text
//!   /hoody/http.sock      -> http/http.sock, made with the parent
//!   /hoody/http           tmpfs of 64 KiB, read-only: goes into the containers as /hoody/databases does
//!   /run/hoodydb-http     the same one, writable for the server's user
//! ```
//!
//! # Source
//! A socket can be connected to on a read-only mount (unix(7) asks for the right to write to the socket alone), and is made on a
//! writable one. What is mounted read-only is carried into the containers read-only: there nobody replaces the socket.

use std::io;
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount_bind, mount_remount, move_mount, unmount,
};

use super::{HostError, parent};
use crate::process::mounts::mounted_at;

/// Where the server makes its socket.
pub const WRITABLE: &str = "/run/hoodydb-http";

/// The place's name in the parent.
pub(super) const NAME: &str = "http";

/// The socket, in the place and in the parent.
pub const SOCKET: &str = "http.sock";

/// What the mount table calls it.
const SOURCE: &str = "hoodydb-http";

/// Makes the place, and gives it to a user. False if /hoody is not there, or was made by a version that knew no place in it.
///
/// # Errors
/// Those of the kernel; only root may mount.
pub fn prepare(owner: u32) -> Result<bool, HostError> {
    let (shown, writable) = (Path::new(parent::PARENT).join(NAME), Path::new(WRITABLE));
    let failed = |error: io::Error| HostError::path("cannot make the place of the server's socket at", &shown)(error);
    if !parent::is_there(Path::new(parent::PARENT)).map_err(failed)? || !shown.is_dir() {
        return Ok(false);
    }
    if !is_mounted(&shown).map_err(failed)? {
        build(&shown, owner).map_err(failed)?;
    }
    if !is_mounted(writable).map_err(failed)? {
        std::fs::create_dir_all(writable).map_err(failed)?;
        let open_up = || -> rustix::io::Result<()> {
            mount_bind(&shown, writable)?;
            mount_remount(writable, MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC, c"")
        };
        open_up().map_err(|error| failed(error.into()))?;
    }
    std::os::unix::fs::chown(writable, Some(owner), None).map_err(failed)?;
    Ok(true)
}

/// Takes it away.
///
/// # Errors
/// Those of the kernel.
pub(super) fn remove(parent: &Path) -> io::Result<()> {
    for path in [Path::new(WRITABLE), &parent.join(NAME)] {
        if is_mounted(path)? {
            unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        }
    }
    match std::fs::remove_dir(WRITABLE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether it is mounted at a path.
fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(mounted_at(path)?.is_some_and(|mount| mount.source.as_os_str() == SOURCE))
}

fn build(shown: &Path, owner: u32) -> io::Result<()> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let uid = owner.to_string();
    for (key, value) in
        [("source", SOURCE), ("size", "64k"), ("nr_inodes", "16"), ("mode", "755"), ("uid", uid.as_str())]
    {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tree = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
    move_mount(&tree, "", rustix::fs::CWD, shown, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}
