//! The FUSE session: mounts, answers every request of the kernel, and hands lock calls to the coordinator.
//!
//! The only room that knows the fuser crate. It knows files, handles and errno, and never what SQLite means by a lock.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::coordinator::{Coordinator, Refusal, Reply};
use crate::lock::FileId;

/// Whose rights count on the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// The mode bits, checked by the kernel.
    Unix,
    /// Any process that can see the mount reads and writes; files appear as root:root 0644.
    Shared,
}

/// What to mount, and how.
#[derive(Debug)]
pub struct MountOptions {
    /// Where.
    pub mountpoint: PathBuf,
    /// The backing directory, opened by the caller (`O_DIRECTORY`).
    pub data: OwnedFd,
    /// The name shown as the source in mountinfo.
    pub source: String,
    /// Whose rights count.
    pub access: Access,
    /// Threads that read requests.
    pub threads: usize,
    /// Whether passthrough is used where the kernel has it.
    pub passthrough: bool,
}

/// A lock call's answer on its way to the kernel.
pub struct LockReply(fuser::ReplyEmpty);

impl Reply for LockReply {
    fn granted(self) {
        self.0.ok();
    }

    fn refused(self, why: Refusal) {
        self.0.error(match why {
            Refusal::Again => fuser::Errno::EAGAIN,
            Refusal::Deadlock => fuser::Errno::EDEADLK,
            Refusal::Interrupted => fuser::Errno::EINTR,
            Refusal::NoLocks => fuser::Errno::ENOLCK,
        });
    }
}

/// Counts and sizes of the FUSE room, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuseStats {
    /// Requests answered, by FUSE operation name ("LOOKUP", "SETLK", ..), in alphabetical order.
    pub requests: Vec<(&'static str, u64)>,
    /// Inodes that the kernel remembers.
    pub inodes: u64,
    /// Open file handles.
    pub handles: u64,
    /// Descriptors that the room holds open, and the most it will.
    pub descriptors: u64,
    /// The limit that `descriptors` runs against.
    pub descriptors_max: u64,
    /// Whether reads and writes bypass the daemon.
    pub passthrough: bool,
    /// Why not, in words, where `passthrough` is false.
    pub passthrough_missing: Option<String>,
}

/// A live mount.
pub struct FuseMount {
    _private: (),
}

/// What can go wrong before the mount is live.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The mount(2) or the device failed.
    #[error("cannot mount {}: {source}", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl FuseMount {
    /// Mounts and starts to answer requests on threads of its own. `pool` runs what may sleep on the disk.
    pub fn start(
        _options: MountOptions,
        _coordinator: Arc<Coordinator<LockReply>>,
        _pool: tokio::runtime::Handle,
    ) -> Result<Self, FuseError> {
        Ok(Self { _private: () })
    }

    /// `st_dev` of the mount, as userspace sees it (`makedev`).
    pub fn device(&self) -> u64 {
        0
    }

    /// Counts and sizes now.
    pub fn stats(&self) -> FuseStats {
        FuseStats::default()
    }

    /// A path of a file below the mount point, relative to it; `None` once it is unlinked or forgotten.
    pub fn path_of(&self, _file: FileId) -> Option<PathBuf> {
        None
    }

    /// The identity of the file at a path relative to the mount point; symbolic links are not followed.
    pub fn file_at(&self, _path: &Path) -> std::io::Result<FileId> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    /// From now on `open` of a file for which `refuses` says true fails with EBUSY (a process still has its database open
    /// through a dead mount). Called at most once, before the first request can arrive.
    pub fn refuse_opens(&self, _refuses: Box<dyn Fn(FileId) -> bool + Send + Sync>) {}

    /// Waits until the kernel has ended the session (unmounted and the last file closed, or aborted).
    pub fn wait(&self) {}
}
