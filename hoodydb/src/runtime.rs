//! The stand-in for runc: adds one mount to a container's specification, then becomes the real runtime.
//!
//! Called by the program `hoodydb-runc`, which engines run in runc's place. No container fails to start for our sake: whatever
//! is wrong with the mount or the specification is written to a log, and the runtime gets the container as it was.
//!
//! ```text
//!   engine -> hoodydb-runc create --bundle B ID -> B/config.json: one more mount -> exec runc create --bundle B ID
//! ```

mod arguments;
pub mod json_text;
mod log;
mod spec;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use arguments::RUNTIME_OPTION;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

/// What containers get, at the same path inside.
const PARENT: &str = "/hoody";

/// Runtimes that are looked for where none is named.
const RUNTIMES: [&str; 2] = ["runc", "crun"];

/// Where they are looked for besides `PATH`.
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Longest specification that is changed; real ones have some ten thousand bytes.
const SPEC_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// f_type of tmpfs, statfs(2).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Why no runtime was run.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// None is installed.
    #[error("no runtime found: install runc, or name one with {RUNTIME_OPTION} PATH")]
    NoRuntime,
    /// It cannot be executed.
    #[error("cannot run {}: {source}", crate::model::printable(path))]
    Exec {
        /// The runtime.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Does the runtime's work for these arguments; returns only if there is no runtime.
pub fn stand_in(arguments: Vec<OsString>) -> StandInError {
    match become_runtime(arguments) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn become_runtime(arguments: Vec<OsString>) -> Result<Infallible, StandInError> {
    let (named, arguments) = arguments::without_own(arguments);
    let runtime = named.or_else(find_runtime).ok_or(StandInError::NoRuntime)?;
    if let Some(bundle) = arguments::bundle_of_new_container(&arguments) {
        let is_crun = runtime.file_name().is_some_and(|name| name == "crun");
        if let Err(why) = give_mount(&bundle, is_crun) {
            log::write(&bundle, &why);
        }
    }
    let source = Command::new(&runtime).args(arguments).exec();
    Err(StandInError::Exec { path: runtime, source })
}

/// The first runtime that is not this program.
fn find_runtime() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(DIRECTORIES.map(PathBuf::from)).collect();
    let identity = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let own = identity(Path::new("/proc/self/exe"));
    let candidates = RUNTIMES.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    candidates.into_iter().find(|path| identity(path).is_some_and(|found| Some(found) != own))
}

/// Adds the mount to the bundle's specification.
fn give_mount(bundle: &Path, is_crun: bool) -> Result<(), String> {
    if !has_parent() {
        return Err(format!(
            "{PARENT} is not mounted on this host: start the service hoodydb, then the container anew"
        ));
    }
    let path = bundle.join("config.json");
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("cannot {what} its config.json: {error}")
    };
    let meta = path.symlink_metadata().map_err(failed("look at"))?;
    if !meta.is_file() || meta.len() > SPEC_MAX_BYTES {
        return Err("its config.json is no plain file of a usual size".to_owned());
    }
    let text = std::fs::read_to_string(&path).map_err(failed("read"))?;
    let Some(changed) = spec::with_mount(&text, PARENT, is_crun)? else { return Ok(()) };
    // In one step: a full disk must not leave half a specification.
    let new = bundle.join(".config.json.hoodydb");
    let write = || -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(meta.mode() & 0o7777).open(&new)?;
        io::Write::write_all(&mut file, changed.as_bytes())?;
        std::os::unix::fs::chown(&new, Some(meta.uid()), Some(meta.gid()))?;
        std::fs::rename(&new, &path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed("write")(error)
    })
}

/// Whether a tmpfs is mounted there, without a request to what is mounted in it.
fn has_parent() -> bool {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    let is_mount_point = rustix::fs::statx(CWD, PARENT, flags, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    is_mount_point && rustix::fs::statfs(PARENT).is_ok_and(|stat| stat.f_type == TMPFS_MAGIC)
}
