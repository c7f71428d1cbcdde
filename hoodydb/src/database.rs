//! What is done with the content of a database: copy it, put one back, vacuum it, check it, look at it.
//!
//! Called by [`crate::cli`] in processes of their own, never by the daemon. Each function opens the database through the mount,
//! as any client does, and takes its turn in the mount's queue; it never looks at the files behind the mount. The only room
//! that names rusqlite.

mod chase;
pub mod check;
mod connection;
pub mod copy;
mod error;
pub mod facts;
mod find;
mod header;
mod integrity;
mod pace;
pub mod restore;
pub mod vacuum;
mod watch;

pub use error::DatabaseError;
pub use find::databases_below;
pub use header::{Header, look_at};
pub use integrity::{Depth, verify};
pub use watch::{Hold, Stop, Unwatched, Watch};

/// The version of the SQLite that this program contains.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
