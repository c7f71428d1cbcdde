//! Why the server cannot start. Returned by [`super::run`] to the command.

use std::io;
use std::path::PathBuf;

use crate::model::printable;

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address or socket cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A server answers on the socket already.
    #[error("a server listens on {} already", printable(.0))]
    Alive(PathBuf),
    /// What is there is no socket.
    #[error("{} is there and is no socket", printable(.0))]
    NotSocket(PathBuf),
    /// A file of a certificate, a key or tokens.
    #[error("{}: {why}", printable(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No address and no socket.
    #[error("there is nothing to listen on")]
    Nowhere,
    /// Threads or signals cannot be set up.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

impl ServeError {
    pub(super) fn file(path: &std::path::Path, why: impl ToString) -> Self {
        Self::File { path: path.to_owned(), why: why.to_string() }
    }
}
