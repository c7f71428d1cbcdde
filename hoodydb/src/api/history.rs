//! The query history: what was asked of a database, kept in a table of that database.
//!
//! Called by [`super::Api`]. Requests only queue their entries, in [`Pending`]; a tick of the server writes them when the database has
//! nothing else to do, and the endpoints here write them before they look. No request waits for its own entry.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::work::{Create, Mode};
use super::{Answer, Call, Failure, Roots, Session, Task, Work};

mod pending;
mod table;

pub(super) use pending::Pending;
pub(super) use table::SCHEMA;

/// Entries of a page if the request says nothing.
const LIMIT: i64 = 100;

/// The most entries of a page.
const LIMIT_MAX: i64 = 1000;

/// One statement or operation, for the query history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The SQL, or the operation in words.
    pub sql: String,
    /// Whether it was sent as a statement rather than as a query.
    pub is_statement: bool,
    /// Rows returned or changed.
    pub row_count: u64,
    /// How long it took.
    pub time: Duration,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Who made it.
    pub source: Source,
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A statement or query.
    Sql,
    /// An operation on a key.
    Kv,
}

impl Source {
    /// As the history calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Kv => "kv",
        }
    }
}

/// A page of the history.
#[derive(Debug, Serialize)]
struct Page<'p> {
    history: Option<&'p [table::Entry]>,
    entries: Option<&'p [table::Entry]>,
    count: usize,
    limit: i64,
    offset: i64,
    total: i64,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    success: bool,
    message: &'static str,
}

/// `GET /history`.
pub(super) fn list(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let limit = match not_negative(call, "limit")?.unwrap_or(0) {
        0 => LIMIT,
        limit => limit.min(LIMIT_MAX),
    };
    let offset = not_negative(call, "offset")?.unwrap_or(0);
    on(call, roots, Mode::ReadAlone, move |session| {
        let (total, entries) = table::page(session.connection, limit, offset)?;
        let shown = (!entries.is_empty()).then_some(entries.as_slice());
        Answer::json(&Page { history: shown, entries: shown, count: entries.len(), limit, offset, total })
    })
}

/// `GET /history/stats`.
pub(super) fn stats(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    on(call, roots, Mode::ReadAlone, |session| Answer::json(&table::stats(session.connection, session.now)?))
}

/// `DELETE /history`.
pub(super) fn clear(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    on(call, roots, Mode::WriteAlone, |session| {
        table::clear(session.connection)?;
        Answer::json(&Done { success: true, message: "the query history is empty now" })
    })
}

/// `DELETE /history/{index}`.
pub(super) fn remove(call: &Call, roots: &Roots, index: &str) -> Result<Work, Failure> {
    let id: i64 = index.parse().map_err(|_| Failure::parameters("the index of a history entry must be an integer"))?;
    on(call, roots, Mode::WriteAlone, move |session| {
        if !table::remove(session.connection, id)? {
            return Err(Failure::not_found("HISTORY_ENTRY_NOT_FOUND", "there is no such history entry"));
        }
        Answer::json(&Done { success: true, message: "the history entry is removed" })
    })
}

fn not_negative(call: &Call, name: &str) -> Result<Option<i64>, Failure> {
    match call.params.integer(name)? {
        Some(value) if value < 0 => Err(Failure::parameters(format!("{name} must not be negative"))),
        value => Ok(value),
    }
}

/// Work on a history whose queue is written first, in the same transaction.
fn on(
    call: &Call,
    roots: &Roots,
    mode: Mode,
    work: impl Fn(&Session<'_>) -> Result<Answer, Failure> + Send + 'static,
) -> Result<Work, Failure> {
    let path = roots.lexical(call.params.required("db")?)?;
    let job = move |session: &Session<'_>| {
        let flushed = flush(session)?;
        let answer = work(session)?.within(session)?;
        Ok(Answer { flushed, ..answer })
    };
    Ok(Work::On(Task { path, mode, create: Create::No, job: Box::new(job), dress }))
}

/// A history that cannot be written now is unavailable, whatever is in the way.
fn dress(failure: Failure) -> Failure {
    match failure.code {
        "DATABASE_BUSY" | "DATABASE_READONLY" => Failure::unavailable("the query history cannot be written now"),
        _ => failure,
    }
}

/// Writes what is queued; gives up to where, which is forgotten once it is committed. The table appears with the first write that
/// was made through this interface, so that reading alone never makes one.
pub(super) fn flush(session: &Session<'_>) -> Result<u64, Failure> {
    let batch = session.history.batch();
    let Some(last) = batch.last().map(|entry| entry.number) else { return Ok(0) };
    if !table::exists(session.connection)? {
        if !batch.iter().any(|entry| entry.wrote) {
            session.history.rest();
            return Ok(0);
        }
        session.connection.execute_batch(SCHEMA)?;
    }
    table::append(session.connection, &batch)?;
    Ok(last)
}

/// Work that writes what is queued, and does not wait for a lock.
pub(super) fn flush_job(session: &Session<'_>) -> Result<Answer, Failure> {
    let flushed = flush(session)?;
    Ok(Answer { flushed, ..super::work::json(StatusCode::OK, &())?.into() })
}

#[cfg(test)]
mod tests;
