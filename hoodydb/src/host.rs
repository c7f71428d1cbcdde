//! What the host needs around the daemon: the parent of the mount point, a service, programs, pages and completions.
//!
//! Called by [`crate::cli`]'s `mount`, `install` and `uninstall`. It never looks into the databases and never talks to the daemon.
//! An installation is a list of steps, each of which knows whether it is done already, so that it can be shown before, repeated
//! and taken back.

mod error;
pub mod parent;
mod plan;
mod record;
pub mod socket_place;
mod step;

pub use error::HostError;
pub use plan::{Documents, Site, plan};
pub use record::Record;
pub use step::Step;
