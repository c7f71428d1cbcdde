//! What changes in a table of keys, as pages and as streams, whoever wrote.
//!
//! Called by [`super::Api`]. The triggers of the table write the log; here it is only read. A client that follows misses nothing: it
//! is told where it is, and when that place is gone it is told to begin anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Response, StatusCode, header};

use super::database::Queued;
use super::kv::Table;
use super::work::{Create, Mode};
use super::{Api, Body, Call, Failure, Roots, Session, Slot, Task, Work, call};

mod cursor;
mod log;
mod poll;
mod stream;
mod streams;
mod watcher;

pub(super) use cursor::Position;
pub use stream::Stream;
pub(super) use streams::Streams;
pub(super) use watcher::Watcher;

use cursor::Cursor;
use log::Filter;
use poll::{Polling, Question};
use watcher::Follower;

/// Events of a page if the request says nothing.
const LIMIT: i64 = 100;

/// The most events of a page.
const LIMIT_MAX: i64 = 1000;

/// The longest that a page is waited for, in seconds.
const WAIT_MAX_S: i64 = 60;

/// Part of the deadline that is kept from the wait.
const WAIT_MARGIN: Duration = Duration::from_secs(1);

/// A wait for a page of changes, or a stream of them.
#[derive(Debug)]
pub struct Follow {
    path: std::path::PathBuf,
    question: Question,
    /// Until when a page is waited for; none for a stream.
    until: Option<Instant>,
}

/// `GET /changes`.
pub(super) fn page(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let path = roots.lexical(call.params.required("db")?)?;
    let limit = call.params.integer("limit")?.unwrap_or(LIMIT);
    let wait = call.params.integer("wait")?.unwrap_or(0);
    if limit < 1 || wait < 0 {
        return Err(Failure::parameters("limit must be at least 1, and wait at least 0"));
    }
    let since = call.params.first("since").filter(|since| !since.is_empty());
    let limit = usize::try_from(limit.min(LIMIT_MAX)).unwrap_or(1);
    let question = Question { filter: filter(call)?, since: since.map(Cursor::parse).transpose()?, limit };
    if wait > 0 && question.since.is_some() {
        let wait = Duration::from_secs(wait.min(WAIT_MAX_S).unsigned_abs());
        let last = call.deadline.checked_sub(WAIT_MARGIN).unwrap_or(call.deadline);
        return Ok(Work::Changes(Follow { path, question, until: Some(last.min(Instant::now() + wait)) }));
    }
    let job = Box::new(move |session: &Session<'_>| question.answer(session).map(|(answer, _)| answer));
    Ok(Work::On(Task { path, mode: Mode::Read, create: Create::No, job, dress: |failure| failure }))
}

/// `GET /changes/stream`.
pub(super) fn stream(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let path = roots.lexical(call.params.required("db")?)?;
    let last = call.header("Last-Event-ID")?.or_else(|| call.params.first("since"));
    let since = last.filter(|since| !since.is_empty()).map(Cursor::parse).transpose()?;
    Ok(Work::Changes(Follow { path, question: Question { filter: filter(call)?, since, limit: 1 }, until: None }))
}

fn filter(call: &Call) -> Result<Filter, Failure> {
    Ok(Filter {
        table: Table::of(&call.params)?,
        prefix: call.params.first("prefix").unwrap_or_default().to_owned(),
        include_values: call.params.flag("include_values")?.unwrap_or(false),
    })
}

impl Api {
    /// Waits for a page, or begins a stream.
    pub(super) fn follow(self: &Arc<Self>, follow: Follow, slot: &Slot, deadline: Instant) {
        let database = self.database(&follow.path);
        let Follow { question, until, .. } = follow;
        let table = question.filter.table.clone();
        let (threads, streams) = (Arc::clone(&self.threads), Arc::clone(&self.streams));
        if let Some(until) = until {
            let follower = Follower::new(database, &table, &threads, &streams);
            return Polling::start(question, until, slot.clone(), follower, threads, streams);
        }
        let Some(seat) = streams.enter() else {
            return slot.fail(Failure::unavailable("there are too many streams, or the server ends"));
        };
        let mut found = Some((seat, question));
        let (fills, at) = (slot.clone(), Arc::clone(&database));
        let start = Arc::new(std::sync::Mutex::new(None));
        let starts = Arc::clone(&start);
        let since = found.as_ref().and_then(|(_, question)| question.since.clone());
        let job = move |session: &Session<'_>| {
            let position = Position::read(session.connection, &table)?;
            let since = since.clone().unwrap_or_else(|| position.end());
            position.check(&since)?;
            *starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((since, position.start()));
            Ok(super::work::json(StatusCode::OK, &())?.into())
        };
        let reply = move |response: Response<Body>| {
            let start = start.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let (Some((since, oldest)), Some((seat, question))) = (start, found.take()) else {
                return fills.fill(response);
            };
            let follower = Follower::new(at, &question.filter.table, &threads, &streams);
            let stream = Stream::new(follower, threads, question.filter, since, &oldest, seat);
            fills.fill(events(stream));
        };
        let (inner, now, client) = (Slot::new(Box::new(reply)), call::now_s(), String::new());
        let expires = deadline.checked_sub(call::LOCK_MARGIN).unwrap_or(deadline);
        let (mode, create, job) = (Mode::Read, Create::No, Box::new(job));
        database.submit(Queued { slot: inner, mode, create, now, deadline, expires, client, job }, &self.threads);
    }
}

/// The answer that a stream is the body of.
fn events(stream: Stream) -> Response<Body> {
    let mut response = Response::new(Body::Events(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The code of a failure; empty if it is none.
fn code_of(response: &Response<Body>) -> String {
    let code = response.headers().get("X-Hoody-Error-Code").and_then(|code| code.to_str().ok());
    code.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
