//! When containers were given the mount: no kernel table tells the age of a mount.
//!
//! Called by `hoodydb containers inject`, which writes, and `status`, which reads.
//!
//! # Layout
//! `RUN_DIR/injected/NAMESPACE`: an empty file per mount namespace, whose time of change counts.

use std::path::Path;
use std::time::SystemTime;

const DIRECTORY: &str = "injected";

/// Notes that a namespace was given the mount now; what cannot be noted is not known later, and no more.
pub fn note(run_dir: &Path, namespace: u64) {
    let directory = run_dir.join(DIRECTORY);
    let _ =
        std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(directory.join(namespace.to_string()), ""));
}

/// When a namespace was given the mount; none if it was started with it. Numbers of namespaces are used again: a note that is
/// older than the container is of another one.
pub fn given_at(run_dir: &Path, namespace: u64, started: SystemTime) -> Option<SystemTime> {
    let meta = run_dir.join(DIRECTORY).join(namespace.to_string()).metadata().ok()?;
    meta.modified().ok().filter(|given| *given >= started)
}
