//! Runs the items of a transaction, one after the other, on a connection that is in one.
//!
//! Called by [`super::transaction`]. An item either answers or the transaction ends with its failure, unless it may fail: then its
//! savepoint is rolled back and the next one runs. A failure that has ended the transaction itself is never survived.

use std::time::Instant;

use http::{Response, StatusCode};

use super::super::{Answer, Body, Failure, Outcome, Session, guard, work};
use super::item::{Item, Plan};
use super::record::Recorder;
use super::result::{ItemResult, Results};
use super::rows::{self, Format};
use super::{execute, statements};

/// Runs a plan.
pub(super) fn run(session: &Session<'_>, plan: &Plan) -> Outcome {
    let mut recorder = Recorder::new(plan.items.iter().map(|item| (item.sql.as_str(), !item.is_query)));
    match all(session, plan, &mut recorder) {
        Ok(response) => Ok(Answer::from(response).recorded(recorder.done())),
        Err((index, failure)) => Err(failure.at(index).recorded(recorder.undone())),
    }
}

/// Runs all items; a failure comes with its `reqIdx`.
fn all(session: &Session<'_>, plan: &Plan, recorder: &mut Recorder) -> Result<Response<Body>, (i64, Failure)> {
    let of_request = |failure| (-1, failure);
    let has_capture = has_capture(session).map_err(of_request)?;
    session.guard.protect(has_capture);
    let names_internal = |item: &Item| has_capture && statements::names_internal(&item.sql);
    if let Some((index, _)) = (0..).zip(&plan.items).find(|(_, item)| names_internal(item)) {
        return Err((index, internal()));
    }
    let format = if plan.is_list { Format::List } else { Format::Map };
    let mut results = Vec::with_capacity(plan.items.len());
    let mut left = session.max_response_bytes;
    for (index, item) in plan.items.iter().enumerate() {
        let began = Instant::now();
        let outcome = one(session, item, format, left);
        let (count, error) = match &outcome {
            Ok(result) => (result.count, result.error.as_deref()),
            Err(failure) => (0, Some(failure.text.as_str())),
        };
        recorder.ran(index, began.elapsed(), count, error);
        let result = outcome.map_err(|failure| {
            let is_of_request = matches!(failure.code, "DATABASE_BUSY" | "REQUEST_TIMEOUT" | "RESPONSE_TOO_LARGE");
            (if is_of_request { -1 } else { i64::try_from(index).unwrap_or(-1) }, failure)
        })?;
        left = left.saturating_sub(result.size());
        results.push(result);
    }
    let response = work::json(StatusCode::OK, &Results { results }).map_err(of_request)?;
    match response.body() {
        Body::Whole(bytes) if bytes.len() > session.max_response_bytes => Err(of_request(rows::too_large())),
        _ => Ok(response),
    }
}

/// 409: SQL names what is the change capture's own.
pub(super) fn internal() -> Failure {
    Failure::conflict("the SQL names an internal table of the change capture")
}

/// Whether a database has change capture.
pub(super) fn has_capture(session: &Session<'_>) -> Result<bool, Failure> {
    let query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'hoody:kv_changes'";
    Ok(session.connection.prepare_cached(query)?.exists([])?)
}

/// Runs one item; what it may survive is its result, everything else ends the transaction.
fn one(session: &Session<'_>, item: &Item, format: Format, left: usize) -> Result<ItemResult, Failure> {
    if item.no_fail {
        savepoint(session, "SAVEPOINT")?;
    }
    let outcome = session.as_user(|| execute::item(session, item, format, left));
    let failure = match outcome {
        Ok(result) => {
            if item.no_fail {
                released(savepoint(session, "RELEASE"))?;
            }
            return Ok(result);
        }
        Err(failure) => explain(session, failure),
    };
    if !item.no_fail || !is_survived(session, &failure)? {
        return Err(failure);
    }
    savepoint(session, "ROLLBACK TO")?;
    savepoint(session, "RELEASE")?;
    Ok(ItemResult::failed(&failure))
}

fn savepoint(session: &Session<'_>, verb: &str) -> Result<(), Failure> {
    let sql = format!("{verb} \"{}\"", guard::SAVEPOINT);
    session.connection.prepare_cached(&sql)?.execute([])?;
    Ok(())
}

/// A client's RELEASE, or ROLLBACK TO, of a savepoint further out has ended ours too.
fn released(outcome: Result<(), Failure>) -> Result<(), Failure> {
    outcome.or_else(|failure| if failure.code == "SQL_ERROR" { Ok(()) } else { Err(failure) })
}

/// What a failure is when all is known: the authorizer may have seen more, and SQLite may have ended the transaction with it.
fn explain(session: &Session<'_>, failure: Failure) -> Failure {
    if session.guard.has_refused_internal() {
        return internal();
    }
    if session.connection.is_autocommit() && !failure.ends_all() {
        return Failure::new(StatusCode::CONFLICT, "SQL_CONSTRAINT", failure.text);
    }
    failure
}

fn is_survived(session: &Session<'_>, failure: &Failure) -> Result<bool, Failure> {
    if failure.ends_all() || session.connection.is_autocommit() || session.guard.has_refused_internal() {
        return Ok(false);
    }
    if failure.code == "DATABASE_READONLY" {
        // On a connection that only reads it says that the whole transaction has to run again, on one that writes.
        let only_reads: bool = session.connection.pragma_query_value(None, "query_only", |row| row.get(0))?;
        return Ok(!only_reads);
    }
    Ok(true)
}
