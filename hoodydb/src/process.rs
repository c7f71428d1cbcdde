//! What /proc and the mount table tell about processes: names, states, open files, mounts.
//!
//! Called by [`crate::daemon`], and by [`crate::cli`] for dead mounts. It only reads, except for [`mounts::detach`] and
//! [`mounts::abort_connection`], and it never sends a request to the file system that it looks at.

mod confinement;
pub mod mounts;
pub mod open_files;
mod state;

use std::path::PathBuf;

pub use confinement::KernelError;
pub use state::{Halted, command_of, control_groups, halted, mount_namespace, process_of, start_time, started_at};

/// Bind mounts of a single file or directory of a file system, as one process sees them: for each its root inside the
/// file system (`/app.db`) and the place where the process sees it.
///
/// The caller decides which of the roots are regular files: the answer names only paths.
pub fn partial_binds(pid: u32, device: u64) -> std::io::Result<Vec<(PathBuf, PathBuf)>> {
    let mounts = mounts::mounts_of(&format!("/proc/{pid}/mountinfo"))?;
    let partial = mounts.into_iter().filter(|mount| mount.device == device && mount.root.as_os_str() != "/");
    Ok(partial.map(|mount| (mount.root, mount.mount_point)).collect())
}
