//! What can go wrong with the host, in one line each.

use std::io;
use std::path::PathBuf;

use crate::model::printable;
use crate::process::KernelError;

/// Errors of [`crate::host`].
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Something cannot be read or made.
    #[error("{action} {}: {source}", printable(path))]
    Path {
        /// Such as "cannot make".
        action: &'static str,
        /// What.
        path: PathBuf,
        /// Why, and which security module may be behind it.
        source: KernelError,
    },
    /// The parent is a file or a symbolic link.
    #[error("{} is not a directory: move it away, the parent of the mount point goes there", printable(.0))]
    NotDirectory(PathBuf),
    /// A mount on the parent would hide what is in it.
    #[error("{} has files in it ({}), which a mount there would hide: move them away", printable(path), names.join(", "))]
    HasFiles {
        /// The parent, or the mount point in it.
        path: PathBuf,
        /// Some of them, escaped.
        names: Vec<String>,
    },
    /// A command of the host failed.
    #[error("{command}: {why}")]
    Command {
        /// The command line.
        command: String,
        /// What it said; escaped.
        why: String,
    },
    /// The kernel has no fsopen(2) or move_mount(2).
    #[error("this kernel cannot make the mount at {} (no move_mount, Linux 5.2): mount another place with hoodydb mount MOUNTPOINT", printable(.0))]
    OldKernel(PathBuf),
}

impl HostError {
    /// Whether somebody else has something there.
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::NotDirectory(_) | Self::HasFiles { .. })
    }

    /// For [`Result::map_err`].
    pub(super) fn path(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { action, path, source: source.into() }
    }
}
