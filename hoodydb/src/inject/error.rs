//! Why a container did not get the mount, in one line each.

use std::io;

use crate::process::KernelError;

/// Errors of [`super::give`].
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// There is nothing to give.
    #[error("/hoody is not set up on this host: hoodydb install, or hoodydb mount")]
    NoParent,
    /// The container ended meanwhile.
    #[error("it ended meanwhile")]
    Gone,
    /// The kernel lacks a call.
    #[error("this kernel cannot give a mount to a container that runs (no {0}): start the container anew")]
    OldKernel(&'static str),
    /// Its root is read-only and has no place for the mount.
    #[error("its root file system is read-only and has no directory /hoody: start the container anew")]
    ReadOnly,
    /// It has something else there.
    #[error("it has files of its own at /hoody, which the mount would hide")]
    HasFiles,
    /// Its /hoody is a link or a file.
    #[error("its /hoody is not a directory")]
    NotDirectory,
    /// A call failed.
    #[error("{action}: {source}")]
    Call {
        /// What failed.
        action: &'static str,
        /// Why, and which security module may be behind it.
        source: KernelError,
    },
    /// The container's file system does not answer.
    #[error("its file system does not answer")]
    Hangs,
}

impl InjectError {
    /// For [`Result::map_err`].
    pub(super) fn call<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Call { action, source: error.into().into() }
    }
}
