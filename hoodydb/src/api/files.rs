//! Databases as files: made, removed, listed, maintained.
//!
//! Called by [`super::Api`]. Whatever changes a file as a whole runs alone on it: the server's own connections are closed first, and
//! what other programs have open SQLite's locks tell.

use http::StatusCode;
use serde::Serialize;

use super::work::{Create, Mode};
use super::{Call, Failure, Outcome, Roots, Session, Task, Work, kv, work};

mod directory;
mod list;
mod maintenance;
mod remove;
#[cfg(test)]
mod tests;

pub(super) use list::list;
pub(super) use maintenance::maintenance;

/// The table of keys of requests that name none.
const KV_TABLE: &str = "kv_store";

/// A database that was made.
#[derive(Debug, Serialize)]
pub struct Created<'c> {
    /// Always true.
    pub success: bool,
    /// For people.
    pub message: &'static str,
    /// The database as it was asked for.
    pub path: &'c str,
    /// Bytes.
    pub size: u64,
    /// The table of keys, whether it was made or not.
    pub kv_table: &'c str,
    /// What was made in it.
    pub tables: Vec<String>,
}

/// `POST /db/create`.
///
/// # Errors
/// 400, with the path as it was sent.
pub(super) fn create(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let sent = call.params.required("path")?.to_owned();
    let echo = |failure: Failure| failure.with("path", sent.as_str());
    let path = roots.lexical(&sent).map_err(echo)?;
    let has_keys = call.params.flag("init_kv").map_err(echo)?.unwrap_or(false);
    let table = kv::Table::named(call.params.first("kv_table").unwrap_or(KV_TABLE)).map_err(echo)?;
    let echoed = sent.clone();
    let job = Box::new(move |session: &Session<'_>| created(session, &sent, &table, has_keys));
    let dress = |failure: Failure| match failure.code {
        "PATH_IS_DIRECTORY" => Failure::conflict("a directory is there").with("exists", true),
        // Empty, or something else altogether: it is a file.
        "INVALID_SQLITE_HEADER" => super::create::exists(),
        _ => failure,
    };
    let task = Task { path, mode: Mode::Exclusive, create: Create::New, job, dress };
    Ok(Work::Echoing { task, member: "path", value: echoed })
}

/// The file is there; its tables of keys are made.
fn created(session: &Session<'_>, sent: &str, table: &kv::Table, has_keys: bool) -> Outcome {
    let mut tables = vec!["_query_history".to_owned()];
    if has_keys {
        session.connection.execute_batch("BEGIN IMMEDIATE")?;
        kv::schema::ensure(session.connection, table, session.now)?;
        session.connection.execute_batch("COMMIT")?;
        tables.extend([table.name().to_owned(), table.history_name()]);
    }
    let size = session.path.metadata().map_err(|error| Failure::internal(&error))?.len();
    let made = Created { success: true, message: "Database created", path: sent, size, kv_table: table.name(), tables };
    Ok(work::json(StatusCode::CREATED, &made)?.into())
}

/// `DELETE /db`.
///
/// # Errors
/// 400.
pub(super) fn delete(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let sent = call.params.required("db")?.to_owned();
    let path = roots.lexical(&sent)?;
    let job = Box::new(move |session: &Session<'_>| remove::run(session, &sent));
    Ok(Work::On(Task { path, mode: Mode::Exclusive, create: Create::No, job, dress: missing_is_404 }))
}

/// Where a missing database is 404 rather than 400.
fn missing_is_404(failure: Failure) -> Failure {
    match failure.code {
        "DATABASE_NOT_FOUND" => Failure { status: StatusCode::NOT_FOUND, ..failure },
        _ => failure,
    }
}
