//! mount(2) and umount(2) of the FUSE file system, on a /dev/fuse descriptor of our own: no helper program is needed, and a
//! process that keeps the descriptor keeps the mount.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::{Access, FuseError, MountOptions};

/// The file system type in mountinfo.
pub const FILE_SYSTEM_TYPE: &str = "fuse.hoodydb";

/// Opens /dev/fuse and mounts it.
///
/// # Source
/// mount(2); fs/fuse/inode.c (`fuse_fs_parameters`).
pub(super) fn mount(options: &MountOptions) -> Result<OwnedFd, FuseError> {
    let device =
        OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|error| FuseError::Device(error.into()))?;
    let permissions = if options.access == Access::Unix { ",default_permissions" } else { "" };
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other{permissions}", device.as_raw_fd());
    let failed = |source: io::Error| FuseError::Mount { path: options.mountpoint.clone(), source: source.into() };
    let data = CString::new(data).map_err(|error| failed(error.into()))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount(&*options.source, &*options.mountpoint, FILE_SYSTEM_TYPE, flags, &*data)
        .map_err(|error| failed(error.into()))?;
    Ok(device.into())
}

/// Unmounts; fails with EBUSY while files are open, unless `lazy`: then the name goes at once, and the rest with the last
/// open file.
pub(super) fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() } | UnmountFlags::NOFOLLOW;
    Ok(rustix::mount::unmount(mountpoint, flags)?)
}

/// Whether the kernel has ended a session: its device tells of an error.
///
/// # Source
/// fs/fuse/dev.c (`fuse_dev_poll`).
pub(super) fn is_over(device: impl AsFd) -> bool {
    let mut device = [PollFd::new(&device, PollFlags::empty())];
    matches!(poll(&mut device, Some(&Timespec::default())), Ok(1))
}

/// Whether the kernel lets this process register files of the backing directory for passthrough; the reason if not.
///
/// # Source
/// fs/fuse/backing.c (`fuse_backing_open`): EPERM without CAP_SYS_ADMIN, ELOOP on a stack too deep.
pub(super) fn probe_passthrough(device: impl AsFd, root: &OwnedFd) -> Result<(), String> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, ".", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| format!("no temporary file for a trial in the backing directory: {error}"))?;
    let id = fuser::BackingId::create_raw(&device, &file)
        .map_err(|error| format!("the kernel refuses to register a backing file: {error}"))?;
    close_backing(device, id).map_err(|error| format!("the kernel refuses to unregister a backing file: {error}"))
}

/// Unregisters a backing file.
///
/// # Source
/// fuse.h: `FUSE_DEV_IOC_BACKING_CLOSE`, `_IOW(229, 2, uint32_t)`.
pub(super) fn close_backing(device: impl AsFd, id: u32) -> io::Result<()> {
    const BACKING_CLOSE: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<u32>(229, 2);
    // SAFETY: the opcode takes a pointer to one u32 and only reads it.
    let result = unsafe {
        let request = rustix::ioctl::Setter::<BACKING_CLOSE, u32>::new(id);
        rustix::ioctl::ioctl(device, request)
    };
    Ok(result?)
}
