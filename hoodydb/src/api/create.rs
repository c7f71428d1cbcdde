//! Makes a database's file: whole from its first moment, at its name only if nothing is there.
//!
//! Called by [`super::database`]. The content is written under a name that no request can spell, and then renamed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::path::{Identity, Roots};
use super::work::Create;
use super::{Failure, history};

/// Makes the file and gives its identity.
///
/// # Errors
/// 409 DATABASE_EXISTS if something is there, 403 FORBIDDEN if a parent turned into a symlink that leads out of the root, 400 if
/// the parent does not exist and must not be made, 500 if the disk fails.
pub(super) fn file(roots: &Roots, path: &Path, create: Create) -> Result<Identity, Failure> {
    let parent = path.parent().ok_or_else(|| Failure::path("the path has no parent"))?;
    if create != Create::InParent {
        parents(roots, path)?;
    }
    let real = parent.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => super::path::no_database(),
        _ => Failure::internal(&error),
    })?;
    if !roots.contains(&real) {
        return Err(forbidden());
    }
    let partial = real.join(partial_name());
    let made = write(&partial).and_then(|()| publish(&partial, path));
    if made.is_err() {
        remove(&partial);
    }
    made?;
    match roots.resolve(path) {
        Ok(place) => place.identity.ok_or_else(super::path::no_database),
        Err(_) => {
            remove(path);
            Err(forbidden())
        }
    }
}

/// 409: there is a database already.
pub(super) fn exists() -> Failure {
    Failure::new(StatusCode::CONFLICT, "DATABASE_EXISTS", "the database exists already").with("exists", true)
}

fn forbidden() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "FORBIDDEN", "the path leads out of the root")
}

/// Makes missing parents of a path; the deepest that exists must lie below the root.
///
/// # Errors
/// 403 if it does not, 400 if one cannot be a directory, 500 if the disk fails.
pub(super) fn parents(roots: &Roots, path: &Path) -> Result<(), Failure> {
    let Some(parent) = path.parent().filter(|parent| !parent.exists()) else { return Ok(()) };
    let existing = parent.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let real = existing.canonicalize().map_err(|error| Failure::internal(&error))?;
    if !roots.contains(&real) {
        return Err(forbidden());
    }
    std::fs::create_dir_all(parent).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
            Failure::path("a parent of the path is no directory")
        }
        std::io::ErrorKind::InvalidFilename => Failure::path("a name in the path is too long"),
        std::io::ErrorKind::PermissionDenied => Failure::path("a parent of the path is not accessible"),
        _ => Failure::internal(&error),
    })
}

/// A name for what is not whole yet. It starts with a dot, which no name of a request does.
pub(super) fn partial_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".hoodydb-{}-{}.new", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

fn write(partial: &Path) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = Connection::open_with_flags(partial, flags)?;
    sqlite.execute_batch(history::SCHEMA)?;
    sqlite.close().map_err(|(_, error)| Failure::from(error))
}

/// Gives what is whole its own name.
///
/// # Errors
/// 409 DATABASE_EXISTS if something has it already.
pub(super) fn publish(partial: &Path, path: &Path) -> Result<(), Failure> {
    match renameat_with(CWD, partial, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists()),
        Err(Errno::NAMETOOLONG) => Err(Failure::path("the name is too long")),
        Err(error) => Err(Failure::internal(&error)),
    }
}

/// Removes what was not made.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "cannot remove a database that was not made");
    }
}
