//! Containers that run: what they see of the mount, and how they get it without being started anew.
//!
//! Called by [`crate::cli`]'s `containers` commands. It never asks an engine: a container is a process in another mount namespace,
//! and [`crate::container`] knows its name.

mod error;
mod give;
mod notes;
mod running;
mod sight;

pub use error::InjectError;
pub use give::{Given, give};
pub use notes::{given_at, note};
pub use running::{Running, running};
pub use sight::{Live, Sight};
