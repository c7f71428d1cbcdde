//! What all requests for keys have in common: the database, the table, the key, and how they are told to the query history.
//!
//! Called by every endpoint of keys. What needs no database is checked before anything runs.

use std::path::PathBuf;
use std::time::Instant;

use http::{HeaderValue, header};
use serde::Serialize;

use super::super::history::{Record, Source};
use super::super::{Answer, Body, Call, Create, Failure, Mode, Outcome, Roots, Session, Task, Work};
use super::{Once, Table};

/// The most bytes of a key.
const KEY_MAX: usize = 2048;

/// The latest moment that a key may expire at: the end of the year 9999, in seconds since 1970.
const LATEST: i64 = 253_402_300_799;

/// A request for keys of one table.
pub(in crate::api) struct Request {
    path: PathBuf,
    pub(super) table: Table,
    /// What the query history says.
    told: String,
}

impl Request {
    /// Reads `db` and `table`.
    ///
    /// # Errors
    /// 400 if one is missing or malformed.
    pub(in crate::api) fn of(call: &Call, roots: &Roots, operation: &str, key: &str) -> Result<Self, Failure> {
        let path = roots.lexical(call.params.required("db")?)?;
        let table = Table::of(&call.params)?;
        let told = format!("KV {operation} {}/{key}", table.name());
        Ok(Self { path, table, told })
    }

    /// A request for one key.
    ///
    /// # Errors
    /// 400 if something is missing or malformed.
    pub(in crate::api) fn of_key(call: &Call, roots: &Roots, operation: &str, key: &str) -> Result<Self, Failure> {
        check_key(key)?;
        Self::of(call, roots, operation, key)
    }

    /// Reads.
    pub(super) fn read(self, job: impl FnMut(&Session<'_>, &Table) -> Outcome + Send + 'static) -> Work {
        self.run(Mode::Read, Create::No, None, job)
    }

    /// Writes, once if the request says so.
    ///
    /// # Errors
    /// 400 if `create_db_if_missing` or the Idempotency-Key is malformed.
    pub(super) fn write(
        self,
        call: &Call,
        job: impl FnMut(&Session<'_>, &Table) -> Outcome + Send + 'static,
    ) -> Result<Work, Failure> {
        let create = if call.params.creates()? { Create::WithParents } else { Create::No };
        Ok(self.run(Mode::Write, create, Once::of(call)?, job))
    }

    /// Does work of any kind.
    pub(in crate::api) fn run(
        self,
        mode: Mode,
        create: Create,
        once: Option<Once>,
        mut job: impl FnMut(&Session<'_>, &Table) -> Outcome + Send + 'static,
    ) -> Work {
        let Self { path, table, told } = self;
        let is_statement = !matches!(mode, Mode::Read | Mode::ReadAlone);
        let job = move |session: &Session<'_>| {
            recorded(&told, is_statement, || {
                Once::run(once.as_ref(), session, &table, || {
                    let answer = job(session, &table)?;
                    fits(&answer, session)?;
                    Ok(answer)
                })
            })
        };
        Work::On(Task { path, mode, create, job: Box::new(job), dress: |failure| failure })
    }
}

/// Tells the query history what came of a job.
fn recorded(told: &str, is_statement: bool, job: impl FnOnce() -> Outcome) -> Outcome {
    let begun = Instant::now();
    let outcome = job();
    let record = |error: Option<String>| Record {
        sql: told.to_owned(),
        is_statement,
        row_count: u64::from(error.is_none()),
        time: begun.elapsed(),
        error,
        source: Source::Kv,
    };
    match outcome {
        Ok(answer) => Ok(answer.recorded(vec![record(None)])),
        Err(failure) => {
            let record = record(Some(failure.text.clone()));
            Err(failure.recorded(vec![record]))
        }
    }
}

/// Refuses an answer that is larger than the server gives.
fn fits(answer: &Answer, session: &Session<'_>) -> Result<(), Failure> {
    match answer.response.body() {
        Body::Whole(body) if body.len() > session.max_response_bytes => {
            Err(Failure { code: "RESPONSE_TOO_LARGE", ..Failure::too_large("the answer is too large") })
        }
        _ => Ok(()),
    }
}

/// An answer with an ETag in its header.
pub(super) fn tagged(value: &impl Serialize, etag: Option<&str>) -> Outcome {
    let mut answer = Answer::json(value)?;
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        answer.response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(answer)
}

/// Whether a key can be one.
///
/// # Errors
/// 400 if not.
pub(super) fn check_key(key: &str) -> Result<(), Failure> {
    if key.len() > KEY_MAX || key.contains('\0') || key.trim().is_empty() {
        return Err(Failure::parameters(format!(
            "a key must be 1 to {KEY_MAX} bytes, not only whitespace, without NUL"
        )));
    }
    Ok(())
}

/// Whether the request is recorded in the history of its key.
///
/// # Errors
/// 400 if `history` is malformed.
pub(super) fn records(call: &Call) -> Result<bool, Failure> {
    Ok(call.params.flag("history")?.unwrap_or(true))
}

/// The moment that a time to live ends at; 0 means never.
///
/// # Errors
/// 400 if it is negative, or ends after the year 9999.
pub(super) fn expiry(ttl: i64, now: i64) -> Result<Option<i64>, Failure> {
    let end = now.checked_add(ttl).filter(|end| *end <= LATEST);
    match (ttl, end) {
        (0, _) => Ok(None),
        (1.., Some(end)) => Ok(Some(end)),
        _ => Err(Failure::parameters("ttl must be seconds, not negative, that end before the year 10000")),
    }
}
