//! Why an engine was not set up, in one line each that names the way out.

use std::io;
use std::path::PathBuf;

use super::Engine;
use crate::model::printable;

/// Errors of [`crate::engine`].
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such engine here.
    #[error("{} is not installed here", engine.name())]
    Absent {
        /// Which.
        engine: Engine,
    },
    /// It does not even tell its version.
    #[error("{} does not work: {} --version: {why}", engine.name(), printable(program))]
    Broken {
        /// Which.
        engine: Engine,
        /// Its program.
        program: PathBuf,
        /// What it said; escaped.
        why: String,
    },
    /// It lacks what is needed.
    #[error("{} {} is too old: {needed} or newer is needed", engine.name(), printable(version))]
    TooOld {
        /// Which.
        engine: Engine,
        /// Its version.
        version: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// Only users without root run it.
    #[error(
        "{} runs only without root here (user {uid}), where the runtime cannot be replaced: use `-v /hoody:/hoody:rslave`",
        engine.name()
    )]
    RootlessOnly {
        /// Which.
        engine: Engine,
        /// Whose.
        uid: u32,
    },
    /// A configuration that is left as it is.
    #[error("{} is left alone: {reason}", printable(path))]
    LeftAlone {
        /// The file.
        path: PathBuf,
        /// What is in the way, and the way out; escaped.
        reason: String,
    },
    /// It is there for another engine's sake, and makes no container by itself.
    #[error("{} is left alone: {reason}", printable(path))]
    Unused {
        /// The file.
        path: PathBuf,
        /// How that is known; escaped.
        reason: String,
    },
    /// The file was changed after [`super::enable`], in a way that cannot be told apart from its change.
    #[error("{} was changed since and is left alone: {reason}", printable(path))]
    ChangedSince {
        /// The file.
        path: PathBuf,
        /// What to do.
        reason: String,
    },
    /// The engine did not take the configuration; it is as before.
    #[error("{} did not take the new configuration ({why}): the one of before is back", engine.name())]
    NotTaken {
        /// Which.
        engine: Engine,
        /// What it said; escaped.
        why: String,
    },
    /// The stand-in for runc is not beside this program.
    #[error("{} is missing: install it beside hoodydb", printable(.path))]
    NoWrapper {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{action} {}: {source}", printable(path))]
    File {
        /// Such as "cannot read".
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl EngineError {
    /// For [`Result::map_err`].
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
