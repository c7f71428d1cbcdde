//! `DELETE /db`: removes a database that nobody uses.
//!
//! Called by [`super`], on a connection of its own while no other of this server has one. The lock comes first: with exclusive
//! locking SQLite takes the whole file, which it does not get while any connection has a WAL database open, or a transaction on
//! another. Only then nothing that is removed is in use.

use std::ffi::{OsStr, OsString};
use std::time::Instant;

use http::StatusCode;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, FileControl, MAIN_DB};
use serde::Serialize;

use super::super::call::LOCK_MARGIN;
use super::super::connection::patiently;
use super::super::{Answer, Failure, Outcome, Session};
use super::directory::Directory;

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Removed<'d> {
    /// Always true.
    pub success: bool,
    /// For people.
    pub message: &'static str,
    /// The database as it was asked for.
    pub path: &'d str,
    /// Files that were there, with those beside the database.
    pub files_removed: u64,
}

/// Removes the file of a session, and those beside it.
pub(super) fn run(session: &Session<'_>, name: &str) -> Outcome {
    lock(session)?;
    let (Some(parent), Some(file)) = (session.path.parent(), session.path.file_name()) else {
        return Err(Failure::path("the path has no parent"));
    };
    let directory = Directory::open(parent).map_err(|error| Failure::internal(&error))?;
    // The name may be another file's since the connection was opened.
    if has_moved(session.connection)? {
        return Err(Failure::busy());
    }
    let mut files_removed = 0;
    for suffix in ["-wal", "-shm", "-journal", ""] {
        match directory.remove(&beside(file, suffix)) {
            Ok(removed) => files_removed += u64::from(removed),
            Err(error) => {
                tracing::error!(%error, path = %session.path.display(), suffix, "cannot remove a database");
                return Err(incomplete(files_removed));
            }
        }
    }
    if let Err(error) = directory.sync() {
        tracing::warn!(%error, path = %session.path.display(), "cannot sync the directory of a removed database");
    }
    Answer::json(&Removed { success: true, message: "Database deleted", path: name, files_removed })
}

/// 500: some files are gone, the database is still there.
fn incomplete(files_removed: u64) -> Failure {
    let failure =
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "DELETE_INCOMPLETE", "the database could not be removed");
    failure.with("files_removed", files_removed)
}

fn beside(file: &OsStr, suffix: &str) -> OsString {
    let mut name = file.to_owned();
    name.push(suffix);
    name
}

/// Takes the database for this connection alone.
fn lock(session: &Session<'_>) -> Result<(), Failure> {
    let connection = session.connection;
    // Nothing is to be copied from the log into a file that goes, and no file beside it is SQLite's to remove any more.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let until = session.deadline.checked_sub(LOCK_MARGIN).unwrap_or(session.deadline);
    patiently(|| connection.execute_batch("BEGIN EXCLUSIVE").map_err(Failure::from), || Instant::now() >= until)
}

fn has_moved(connection: &Connection) -> Result<bool, Failure> {
    let mut has_moved = 0;
    connection.file_control(Some(MAIN_DB), FileControl::HasMoved(&mut has_moved))?;
    Ok(has_moved != 0)
}
