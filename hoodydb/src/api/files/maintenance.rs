//! `POST /maintenance`: what is done with a whole database, outside of any transaction and beside nobody of this server.
//!
//! Called by [`super`]. A copy has its name only when it is whole and on the disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::limits::Limit;
use serde::{Deserialize, Serialize};

use super::super::call::LOCK_MARGIN;
use super::super::connection::{check_names, patiently};
use super::super::work::{Create, Mode};
use super::super::{Answer, Call, Failure, Outcome, Roots, Session, Task, Work, create, kv};
use super::directory::Directory;

/// For how long a checkpoint waits for readers: all others of this server wait for it.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Debug, Deserialize)]
pub struct Order {
    /// What is to be done.
    pub op: Option<String>,
    /// Where the copy goes.
    pub dest_path: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    /// What was asked for.
    pub op: &'static str,
    /// `ok`, or what SQLite has found.
    pub result: String,
}

/// One of the things that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    Checkpoint,
    VacuumInto(PathBuf),
    QuickCheck,
    ResetChanges,
}

impl Op {
    fn parse(body: &[u8], roots: &Roots) -> Result<Self, Failure> {
        let order: Order = serde_json::from_slice(body).map_err(|_| Failure::parameters("Invalid JSON body"))?;
        match order.op.as_deref() {
            Some("wal_checkpoint_truncate") => Ok(Self::Checkpoint),
            Some("quick_check") => Ok(Self::QuickCheck),
            Some("reset_changes") => Ok(Self::ResetChanges),
            Some("vacuum_into") => {
                let destination = order.dest_path.ok_or_else(|| Failure::parameters("dest_path is missing"))?;
                roots.lexical(&destination).map(Self::VacuumInto)
            }
            _ => Err(Failure::parameters(
                "op must be wal_checkpoint_truncate, vacuum_into, quick_check or reset_changes",
            )),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Checkpoint => "wal_checkpoint_truncate",
            Self::VacuumInto(_) => "vacuum_into",
            Self::QuickCheck => "quick_check",
            Self::ResetChanges => "reset_changes",
        }
    }
}

/// `POST /maintenance`.
///
/// # Errors
/// 400, with `reqIdx`.
pub(in crate::api) fn maintenance(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let of_request = |failure: Failure| failure.at(-1);
    let path = call.params.required("db").and_then(|db| roots.lexical(db)).map_err(of_request)?;
    let op = Op::parse(&call.body, roots).map_err(of_request)?;
    let roots = roots.clone();
    let job = Box::new(move |session: &Session<'_>| run(session, &roots, &op));
    let dress = |failure: Failure| super::missing_is_404(failure).at(-1);
    Ok(Work::On(Task { path, mode: Mode::Exclusive, create: Create::No, job, dress }))
}

fn run(session: &Session<'_>, roots: &Roots, op: &Op) -> Outcome {
    let connection = session.connection;
    patient(session, || check_names(connection))?;
    let result = match op {
        Op::Checkpoint => checkpoint(session)?,
        Op::VacuumInto(destination) => vacuum_into(session, roots, destination)?,
        Op::QuickCheck => {
            patient(session, || Ok(connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?))?
        }
        Op::ResetChanges => {
            patient(session, || Ok(connection.execute_batch("BEGIN IMMEDIATE")?))?;
            kv::schema::reset_changes(connection, session.now)?;
            patient(session, || Ok(connection.execute_batch("COMMIT")?))?;
            ok()
        }
    };
    Answer::json(&Done { op: op.name(), result })
}

fn ok() -> String {
    "ok".to_owned()
}

/// Tries until the time for locks is over.
fn patient<T>(session: &Session<'_>, attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let until = session.deadline.checked_sub(LOCK_MARGIN).unwrap_or(session.deadline);
    patiently(attempt, || Instant::now() >= until)
}

/// Copies the log into the database and empties it. A database without a log has nothing to do.
fn checkpoint(session: &Session<'_>) -> Result<String, Failure> {
    let until =
        (Instant::now() + CHECKPOINT_WAIT).min(session.deadline.checked_sub(LOCK_MARGIN).unwrap_or(session.deadline));
    let attempt = || {
        let blocked: bool = session.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if blocked { Err(Failure::busy()) } else { Ok(ok()) }
    };
    patiently(attempt, || Instant::now() >= until).map_err(|failure| match failure.code {
        "DATABASE_BUSY" => {
            Failure { retry: true, ..Failure::conflict("the checkpoint is blocked by others that use the database") }
        }
        _ => failure,
    })
}

fn exists() -> Failure {
    Failure::conflict("dest_path exists already")
}

/// Writes a copy under a name that no request can spell, and then gives it its own.
fn vacuum_into(session: &Session<'_>, roots: &Roots, destination: &Path) -> Result<String, Failure> {
    let place = match roots.resolve(destination) {
        Err(failure) if failure.code == "DATABASE_NOT_FOUND" => {
            create::parents(roots, destination)?;
            roots.resolve(destination)
        }
        place => place,
    };
    let place = match place {
        Ok(place) if place.identity.is_none() => place,
        Ok(_) => return Err(exists()),
        // An empty file is one too.
        Err(failure) if failure.code == "INVALID_SQLITE_HEADER" => return Err(exists()),
        Err(failure) => return Err(failure),
    };
    let parent = place.path.parent().ok_or_else(|| Failure::path("dest_path has no parent"))?;
    let partial = parent.join(create::partial_name());
    let made = patient(session, || copy(session.connection, &partial)).and_then(|()| publish(&partial, &place.path));
    if made.is_err() {
        create::remove(&partial);
    }
    made.map(|()| ok())
}

fn copy(connection: &Connection, partial: &Path) -> Result<(), Failure> {
    let name = partial.to_str().ok_or_else(|| Failure::path("dest_path is not UTF-8"))?;
    // A try that was refused a lock may have begun the file.
    create::remove(partial);
    // The copy counts as an attached database while it is written.
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    copied?;
    Ok(())
}

/// Makes a copy last and gives it its name.
fn publish(partial: &Path, destination: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::internal(&error);
    std::fs::File::open(partial).and_then(|file| file.sync_all()).map_err(failed)?;
    create::publish(partial, destination).map_err(|failure| match failure.code {
        "DATABASE_EXISTS" => exists(),
        _ => failure,
    })?;
    let parent = destination.parent().unwrap_or(Path::new("/"));
    let synced = Directory::open(parent).and_then(|directory| directory.sync());
    synced.map_err(|error| Failure::internal(&error))
}
