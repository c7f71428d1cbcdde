//! Backups as files: their names, their manifests, which of them are kept, and how a file gets its name only when it is whole.
//!
//! Called by [`crate::cli`]. It knows nothing of what a database means: [`crate::database`] fills and checks the files.
//!
//! ```text
//!  DIR/app/users.db/20261123T160405.123Z.db          one directory per database, a file per backup
//!                   20261123T160405.123Z.db.json     its manifest
//!                   .hoodydb-*.partial               being written, or left by one that was killed
//! ```

mod hash;
mod partial;
mod publish;
mod retention;
mod stamp;

pub use hash::{Counter, compress, decompress, sha256_of};
pub use partial::{Partial, clean};
pub use publish::{backups_in, manifest_of, manifest_path, publish, remove};
pub use retention::{Keep, to_remove};
pub use stamp::{Stamp, now};

use std::path::{Path, PathBuf};

use crate::model::printable;

/// The ending of a backup's name.
pub const ENDING: &str = "db";

/// The ending of a compressed one, after [`ENDING`].
pub const COMPRESSED: &str = "zst";

/// A file of a backup cannot be read, written or renamed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The kernel says no.
    #[error("cannot {action} {}: {source}", printable(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("no space is left on the disk of {}", printable(.0))]
    Full(PathBuf),
    /// What should be compressed is not, or not whole.
    #[error(
        "{} is no whole Zstandard file ({reason}): it is cut off, damaged, or another kind of file",
        printable(path)
    )]
    Packed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
    /// There is something already.
    #[error("{} exists already, and is no backup of hoodydb: choose another name, or remove it", printable(.0))]
    Exists(PathBuf),
    /// What stands in a manifest is none.
    #[error("{} is no manifest of a backup: {reason}", printable(path))]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

impl ArchiveError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| {
            if source.kind() == std::io::ErrorKind::StorageFull {
                return Self::Full(path.to_owned());
            }
            Self::Io { action, path: path.to_owned(), source }
        }
    }
}
