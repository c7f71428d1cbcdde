//! What the host needs around the daemon: the parent of the mount point, the files of an installation.
//!
//! Called by [`crate::cli`]'s `mount`, `install` and `uninstall`. It never looks into the databases and never talks to the daemon.

mod error;
pub mod parent;

pub use error::HostError;
