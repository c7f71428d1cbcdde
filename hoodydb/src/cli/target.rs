//! Which mount a command means.
//!
//! Called by every command that asks a daemon. With one live mount none need be named; with several, commands that change or
//! look at one thing list them.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use super::exit::{self, Failure};
use crate::control::client::Daemon;
use crate::control::{Answer, Command, socket};
use crate::model::{MountStatus, printable};

/// The live daemon at the mount point, or all where none is named.
pub(super) fn daemons(mount: Option<&Path>) -> Result<Vec<Daemon>> {
    let run_dir = socket::run_dir();
    match mount {
        Some(path) => {
            let path = plain_path(path)?;
            Ok(vec![Daemon::at(&run_dir, &path).ok_or_else(|| Failure::not_mounted(&path))?])
        }
        None => {
            let daemons = Daemon::all(&run_dir)?;
            if daemons.is_empty() {
                let hint = "no hoodydb daemon runs: mount with hoodydb mount";
                return Err(Failure::new(exit::NOT_MOUNTED, hint).into());
            }
            Ok(daemons)
        }
    }
}

/// Asks every daemon that is meant. One that does not answer hides no other: its error comes beside the answers.
///
/// # Errors
/// Where no daemon runs, or none answers.
pub(super) fn ask_all<T>(
    mount: Option<&Path>,
    ask: impl Fn(&Daemon) -> Result<T>,
) -> Result<(Vec<T>, Option<anyhow::Error>)> {
    let mut answers = Vec::new();
    let mut silent = None;
    for daemon in daemons(mount)? {
        match ask(&daemon) {
            Ok(answer) => answers.push(answer),
            Err(error) => silent = Some(error),
        }
    }
    match silent {
        Some(error) if answers.is_empty() => Err(error),
        silent => Ok((answers, silent)),
    }
}

/// A database on a live mount.
pub(super) struct Database {
    /// The mount's daemon.
    pub(super) daemon: Daemon,
    /// The database below the mount point.
    pub(super) path: PathBuf,
}

/// Finds the mount of a database that is named by its absolute path, or relative to the mount point.
pub(super) fn database(mount: Option<&Path>, db: &Path) -> Result<Database> {
    if db.to_str().is_none() {
        bail!("{}: databases are named by UTF-8 paths here; rename it", printable(db));
    }
    let daemons = daemons(mount)?;
    if db.is_relative() {
        return Ok(Database { daemon: only(daemons)?, path: normal(db)? });
    }
    let absolute = plain_path(db)?;
    let mut mounts = Vec::new();
    for daemon in daemons {
        mounts.push((PathBuf::from(status(&daemon)?.mountpoint), daemon));
    }
    let below = mounts.iter().filter(|(mountpoint, _)| absolute.starts_with(mountpoint));
    let deepest = below.max_by_key(|(mountpoint, _)| mountpoint.components().count());
    let Some((mountpoint, daemon)) = deepest else {
        let list: Vec<String> = mounts.iter().map(|(mountpoint, _)| printable(mountpoint)).collect();
        bail!("{} is not below a mount of hoodydb ({})", printable(&absolute), list.join(", "));
    };
    Ok(Database { daemon: daemon.clone(), path: normal(absolute.strip_prefix(mountpoint)?)? })
}

/// The status of a daemon's mount.
pub(super) fn status(daemon: &Daemon) -> Result<MountStatus> {
    match daemon.ask(Command::Status)? {
        Answer::Status(status) => Ok(*status),
        _ => Err(daemon.unexpected().into()),
    }
}

/// An absolute path whose parent has no symbolic links; the last component is not touched, it may be a dead mount.
pub(super) fn plain_path(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let plain = match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) if parent.exists() => parent.canonicalize()?.join(name),
        _ => absolute,
    };
    let is_link = crate::process::mounts::mounted_at(&plain)?.is_none() && plain.is_symlink();
    Ok(if is_link { plain.canonicalize().unwrap_or(plain) } else { plain })
}

pub(super) fn only(mut daemons: Vec<Daemon>) -> Result<Daemon> {
    match daemons.pop() {
        Some(daemon) if daemons.is_empty() => Ok(daemon),
        Some(last) => {
            daemons.push(last);
            let mounts: Vec<String> = daemons
                .iter()
                .map(|daemon| status(daemon).map(|status| printable(status.mountpoint)))
                .collect::<Result<_>>()?;
            Err(anyhow!("several mounts are live: choose one with --mount ({})", mounts.join(", ")))
        }
        None => Err(Failure::new(exit::NOT_MOUNTED, "no hoodydb daemon runs").into()),
    }
}

/// A relative path without `.`; `..` is refused, as it could lead out of the mount.
fn normal(path: &Path) -> Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => (),
            _ => bail!("{}: name the database by its path below the mount point, without '..'", printable(path)),
        }
    }
    if plain.as_os_str() == OsStr::new("") {
        bail!("name a database, not the mount point itself");
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_mount() {
        assert_eq!(normal(Path::new("./a/./b.db")).unwrap(), Path::new("a/b.db"));
        assert!(normal(Path::new("a/../../b")).unwrap_err().to_string().contains("'..'"));
        assert!(normal(Path::new(".")).is_err());
    }

    #[test]
    fn links_in_front_of_a_mount_point_are_followed() {
        assert_eq!(plain_path(Path::new("/proc/self/root/proc")).unwrap(), Path::new("/proc"));
        assert_eq!(plain_path(Path::new("/nonexistent/a/b")).unwrap(), Path::new("/nonexistent/a/b"));
    }
}
