//! Everything that keeps a mount from becoming live, a line each with the way out.
//!
//! Made by the other files of this room; every message names the path or the pid.

use std::io;
use std::path::PathBuf;

use crate::control::ControlError;
use crate::fuse::FuseError;
use crate::metrics::MetricsError;
use crate::model::printable;

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The caller is not root.
    #[error("only root can mount: run it as root (sudo hoodydb mount ..)")]
    NotRoot,
    /// The kernel or the container has no FUSE.
    #[error("/dev/fuse is missing: load the module (modprobe fuse), or give this container the device /dev/fuse")]
    NoFuseDevice,
    /// The mount point does not exist.
    #[error("the mount point {} does not exist: make it with mkdir -p {}", printable(.0), printable(.0))]
    NoMountpoint(PathBuf),
    /// The mount point is a file.
    #[error("the mount point {} is not a directory: name a directory", printable(.0))]
    MountpointNotDirectory(PathBuf),
    /// Something lies in the mount point.
    #[error("the mount point {} is not empty: its files would be hidden; move them, or name an empty directory", printable(.0))]
    MountpointNotEmpty(PathBuf),
    /// Another file system is mounted there.
    #[error(
        "{} is already a mount point: {fs_type} from {}; unmount it (umount {}) or name another directory",
        printable(path),
        printable(from),
        printable(path)
    )]
    Mounted {
        /// The mount point.
        path: PathBuf,
        /// The type of what is there.
        fs_type: String,
        /// Its source.
        from: PathBuf,
    },
    /// A live daemon serves it.
    #[error(
        "{} is already mounted by hoodydb, pid {pid}: unmount it with hoodydb umount {}",
        printable(path),
        printable(path)
    )]
    MountedByUs {
        /// The mount point.
        path: PathBuf,
        /// The live daemon.
        pid: u32,
    },
    /// The address of the metrics cannot be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The backing directory does not exist.
    #[error("the data directory {} does not exist: make it with mkdir -p -m 700 {}", printable(.0), printable(.0))]
    NoData(PathBuf),
    /// The backing directory is a file.
    #[error("the data directory {} is not a directory: name a directory with --data", printable(.0))]
    DataNotDirectory(PathBuf),
    /// The backing directory cannot be written.
    #[error("the data directory {} is on a read-only file system: remount it read-write (mount -o remount,rw ..), or name another with --data", printable(.0))]
    DataReadOnly(PathBuf),
    /// The disk is full.
    #[error("the disk of the data directory {} is full: free some space, or name another directory with --data", printable(.0))]
    DataFull(PathBuf),
    /// One of the two directories lies in the other.
    #[error(
        "the data directory {} and the mount point {} lie in one another: name two separate directories",
        printable(data),
        printable(mountpoint)
    )]
    Nested {
        /// The data directory.
        data: PathBuf,
        /// The mount point.
        mountpoint: PathBuf,
    },
    /// The backing directory is on a mount of ours.
    #[error(
        "the data directory {} is itself on a hoodydb mount ({}): name a directory on a disk",
        printable(data),
        printable(mountpoint)
    )]
    DataOnOwnMount {
        /// The data directory.
        data: PathBuf,
        /// The mount it is on.
        mountpoint: PathBuf,
    },
    /// Another daemon serves the backing directory.
    #[error(
        "the data directory {} is served by hoodydb, pid {pid}, at {}: use that mount, or end it with hoodydb umount {}",
        printable(data),
        printable(mountpoint),
        printable(mountpoint)
    )]
    DataInUse {
        /// The data directory.
        data: PathBuf,
        /// The other daemon.
        pid: u32,
        /// Its mount point.
        mountpoint: String,
    },
    /// A path cannot be used, for a reason of the kernel's.
    #[error("{action} {}: {source}", printable(path))]
    Path {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The stored policies cannot be read.
    #[error("{} is damaged ({reason}): repair it, or move it away and set the policies again", printable(path))]
    Policies {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Threads or signals cannot be set up.
    #[error("cannot start the daemon's threads: {0}")]
    Runtime(io::Error),
    /// The worker could not start, for the reason it gave.
    #[error("{0}")]
    Worker(String),
    /// A program that takes another's place does not find what it needs.
    #[error("cannot go on with the mount: {0}")]
    Resume(String),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The mount itself failed.
    #[error(transparent)]
    Fuse(#[from] FuseError),
}

impl DaemonError {
    /// Whether somebody else uses the mount point or the data directory.
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Mounted { .. } | Self::MountedByUs { .. } | Self::DataInUse { .. })
    }

    /// An error of a path in the backing directory: a full or read-only disk has a message of its own.
    pub(super) fn in_data(action: &'static str, data: &std::path::Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::DataReadOnly(data.to_owned()),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DataFull(data.to_owned()),
            _ => Self::Path { action, path: data.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_with_the_way_out() {
        let path = PathBuf::from("/m\n\u{1b}x");
        let errors = [
            DaemonError::NotRoot,
            DaemonError::NoFuseDevice,
            DaemonError::NoMountpoint(path.clone()),
            DaemonError::MountpointNotDirectory(path.clone()),
            DaemonError::MountpointNotEmpty(path.clone()),
            DaemonError::Mounted { path: path.clone(), fs_type: "ext4".to_owned(), from: "/dev/vda".into() },
            DaemonError::MountedByUs { path: path.clone(), pid: 7 },
            DaemonError::NoData(path.clone()),
            DaemonError::DataNotDirectory(path.clone()),
            DaemonError::in_data("cannot make", &path, io::Error::from_raw_os_error(30)),
            DaemonError::in_data("cannot make", &path, io::Error::from_raw_os_error(28)),
            DaemonError::in_data("cannot make", &path, io::Error::from_raw_os_error(5)),
            DaemonError::Nested { data: path.clone(), mountpoint: "/".into() },
            DaemonError::DataOnOwnMount { data: path.clone(), mountpoint: "/hoody".into() },
            DaemonError::DataInUse { data: path.clone(), pid: 7, mountpoint: "/hoody\n".to_owned() },
            DaemonError::Policies { path, reason: "line 1".to_owned() },
        ];
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        insta::assert_snapshot!(lines.join("\n"));
    }
}
