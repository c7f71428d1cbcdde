//! The checks before a mount: the machine, the mount point, the data directory.
//!
//! Called by [`super::build`], in that order; none of them changes anything but the run directory.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::DaemonError;
use crate::process::mounts;

/// Root, and a kernel with FUSE.
///
/// # Errors
/// [`DaemonError::NotRoot`], [`DaemonError::NoFuseDevice`].
pub fn check_machine() -> Result<(), DaemonError> {
    if !rustix::process::geteuid().is_root() {
        return Err(DaemonError::NotRoot);
    }
    if Path::new("/dev/fuse").exists() { Ok(()) } else { Err(DaemonError::NoFuseDevice) }
}

/// The mount point as an absolute path without symbolic links, found without a request to what may be mounted there.
pub(super) fn resolve_mountpoint(path: &Path) -> Result<PathBuf, DaemonError> {
    resolve(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DaemonError::NoMountpoint(path.to_owned()),
        io::ErrorKind::NotADirectory => DaemonError::MountpointNotDirectory(path.to_owned()),
        _ => DaemonError::Path { action: "cannot use the mount point", path: path.to_owned(), source: error },
    })
}

/// As [`std::fs::canonicalize`], but the last component is not asked for anything if something is mounted on it.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) {
        let plain = parent.canonicalize()?.join(name);
        if mounts::mounted_at(&plain)?.is_some() {
            return Ok(plain);
        }
    }
    absolute.canonicalize()
}

/// The data directory as an absolute path; it and the mount point must be separate.
pub(super) fn resolve_data(path: &Path, mountpoint: &Path) -> Result<PathBuf, DaemonError> {
    let nested = |data: &Path| DaemonError::Nested { data: data.to_owned(), mountpoint: mountpoint.to_owned() };
    // Before the first look at the directory: on a dead mount that look would fail, and on a hanging one never return.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if lie_in_one_another(&absolute, mountpoint) {
        return Err(nested(path));
    }
    let on_own_mount =
        |mount: mounts::Mount| DaemonError::DataOnOwnMount { data: path.to_owned(), mountpoint: mount.mount_point };
    let own = mounts::own_mounts().unwrap_or_default();
    if let Some(mount) = own.iter().find(|mount| absolute.starts_with(&mount.mount_point)) {
        return Err(on_own_mount(mount.clone()));
    }
    let fault = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DaemonError::NoData(path.to_owned()),
        io::ErrorKind::NotADirectory => DaemonError::DataNotDirectory(path.to_owned()),
        _ => DaemonError::Path { action: "cannot use the data directory", path: path.to_owned(), source },
    };
    let data = path.canonicalize().map_err(fault)?;
    let meta = data.metadata().map_err(fault)?;
    if !meta.is_dir() {
        return Err(DaemonError::DataNotDirectory(data));
    }
    if lie_in_one_another(&data, mountpoint) || is_same_as_an_ancestor(&data, mountpoint) {
        return Err(nested(&data));
    }
    // Again by device: a symbolic link or a bind mount may have led there.
    match own.into_iter().find(|mount| mount.device == meta.dev()) {
        Some(mount) => Err(on_own_mount(mount)),
        None => Ok(data),
    }
}

/// What may only be checked once dead mounts are cleared away: an empty directory with nothing mounted on it.
pub(super) fn check_mountpoint(path: &Path) -> Result<(), DaemonError> {
    let fault =
        |source: io::Error| DaemonError::Path { action: "cannot use the mount point", path: path.to_owned(), source };
    if !path.metadata().map_err(fault)?.is_dir() {
        return Err(DaemonError::MountpointNotDirectory(path.to_owned()));
    }
    match path.read_dir().map_err(fault)?.next() {
        None => Ok(()),
        Some(_) => Err(DaemonError::MountpointNotEmpty(path.to_owned())),
    }
}

/// Makes the directory of sockets and logs.
pub(super) fn make_run_dir(path: &Path) -> Result<(), DaemonError> {
    std::fs::create_dir_all(path).map_err(|source| DaemonError::Path {
        action: "cannot make the run directory",
        path: path.to_owned(),
        source,
    })
}

fn lie_in_one_another(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Whether a bind mount makes the data directory an ancestor of the mount point under another name.
fn is_same_as_an_ancestor(data: &Path, mountpoint: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    let data = identity(data);
    mountpoint.ancestors().skip(1).any(|ancestor| identity(ancestor) == data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_in_one_another_are_found() {
        let nested = |one, other| lie_in_one_another(Path::new(one), Path::new(other));
        assert!(nested("/a", "/a") && nested("/a/b", "/a") && nested("/a", "/a/b"));
        assert!(!nested("/a", "/ab"));
        assert!(matches!(resolve_data(Path::new("/tmp"), Path::new("/tmp/x")), Err(DaemonError::Nested { .. })));
        assert!(is_same_as_an_ancestor(Path::new("/proc/self/root"), Path::new("/proc")));
    }

    #[test]
    fn missing_things_are_named() {
        let missing = Path::new("/nonexistent/x");
        assert!(matches!(resolve_mountpoint(missing), Err(DaemonError::NoMountpoint(path)) if path == missing));
        assert!(matches!(resolve_data(missing, Path::new("/m")), Err(DaemonError::NoData(path)) if path == missing));
        let file = std::env::current_exe().unwrap();
        assert!(matches!(resolve_data(&file, Path::new("/m")), Err(DaemonError::DataNotDirectory(_))));
        assert!(matches!(check_mountpoint(&file), Err(DaemonError::MountpointNotDirectory(_))));
        assert!(matches!(check_mountpoint(file.parent().unwrap()), Err(DaemonError::MountpointNotEmpty(_))));
    }
}
