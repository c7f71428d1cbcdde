//! Why a container did not get the mount, in one line each.

use std::io;

use crate::model::printable;

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
    /// A security module is in the way.
    #[error("{action}: {source}; this process is confined by {}, which may be the reason", printable(confined_by))]
    Denied {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
        /// The label of AppArmor or SELinux.
        confined_by: String,
    },
    /// A call failed.
    #[error("{action}: {source}")]
    Call {
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The container's file system does not answer.
    #[error("its file system does not answer")]
    Hangs,
}

impl InjectError {
    /// For [`Result::map_err`].
    pub(super) fn call<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| {
            let source = error.into();
            match (source.kind(), confined_by()) {
                (io::ErrorKind::PermissionDenied, Some(confined_by)) => Self::Denied { action, source, confined_by },
                _ => Self::Call { action, source },
            }
        }
    }
}

/// The label of this process, if a security module confines it.
///
/// # Source
/// proc_pid_attr(5); AppArmor says `unconfined`, SELinux's unconfined types say so in their names.
fn confined_by() -> Option<String> {
    let label = std::fs::read_to_string("/proc/thread-self/attr/current").ok()?;
    let label = label.trim_end_matches(['\0', '\n']);
    (!label.is_empty() && !label.contains("unconfined")).then(|| label.to_owned())
}
