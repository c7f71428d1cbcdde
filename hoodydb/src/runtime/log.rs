//! Containers that were started without the mount, one line each. Called by [`super::stand_in`].
//!
//! An engine hides what its runtime prints, so the lines go to a file; what cannot be written is lost.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::printable;

/// Beside the daemon's own logs.
const NAME: &str = "hoodydb-runc.log";

/// Then nothing more is written: nobody empties it while the machine runs.
const MAX_BYTES: u64 = 1024 * 1024;

/// Tells of a container by its bundle.
pub(super) fn write(bundle: &Path, why: &str) {
    let directory = std::env::var_os("HOODYDB_RUN_DIR").map_or("/run/hoodydb".into(), std::path::PathBuf::from);
    let _ = std::fs::create_dir_all(&directory);
    let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(directory.join(NAME)) else { return };
    if file.metadata().is_ok_and(|meta| meta.len() < MAX_BYTES) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let _ = writeln!(file, "{now_s} without the mount: {}: {}", printable(bundle), printable(why));
    }
}
