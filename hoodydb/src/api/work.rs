//! What an endpoint asks for: an answer at once, or work on a database that is done when its turn comes.
//!
//! Made by the endpoints, carried out by [`super::database`]. An endpoint never opens a database itself.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use rusqlite::Connection;
use serde::Serialize;

use super::{Failure, changes, history};

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Server-sent events as they happen.
    Events(changes::Stream),
}

/// What a request turns into.
pub enum Work {
    /// It is answered already.
    Done(Response<Body>),
    /// Something is to be done on a database.
    On(Task),
    /// The same, whose failures tell a parameter as it was sent.
    Echoing {
        /// What is to be done.
        task: Task,
        /// The member of the failures' bodies.
        member: &'static str,
        /// What was sent.
        value: String,
    },
    /// Something that takes a thread that may block, and no database.
    Aside(Box<dyn FnOnce() -> Outcome + Send>),
    /// A page of changes, or a wait for one.
    Changes(changes::Follow),
    /// A description of the server, made by [`super::Api`].
    Health {
        /// Whether all of it.
        verbose: bool,
    },
    /// The number of open databases.
    Cache,
}

/// Work on one database.
pub struct Task {
    /// The database, as [`super::Roots::lexical`] gives it.
    pub path: PathBuf,
    /// How it runs beside other work.
    pub mode: Mode,
    /// What happens if the file does not exist.
    pub create: Create,
    /// What is done; called again if the transaction it was part of is lost to another's failure.
    pub job: Job,
    /// Adds what this endpoint's errors have beside `error` and `code`.
    pub dress: fn(Failure) -> Failure,
}

/// What is done with a database.
pub type Job = Box<dyn FnMut(&Session<'_>) -> Outcome + Send>;

/// What came of it.
pub type Outcome = Result<Answer, Failure>;

/// How work runs beside other work on the same database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Short reading: several share a snapshot.
    Read,
    /// Reading that may take long: a snapshot of its own. Whoever fails with [`Failure::needs_write`] runs again as `WriteAlone`.
    ReadAlone,
    /// Short writing: several share a commit, each with a savepoint.
    Write,
    /// A transaction of its own, begun with BEGIN IMMEDIATE and committed when the job is done well.
    WriteAlone,
    /// Without a transaction, and with no other work of this server on the database beside it.
    Exclusive,
}

/// What happens if the file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// DATABASE_NOT_FOUND.
    No,
    /// It is made, and missing parent directories with it.
    WithParents,
    /// It is made, if its parent exists.
    InParent,
    /// It is made, and must not exist.
    New,
}

/// A connection in a transaction, for the time of a job.
pub struct Session<'c> {
    /// The connection; user SQL runs inside of [`Session::as_user`].
    pub connection: &'c Connection,
    /// The file.
    pub path: &'c std::path::Path,
    /// Seconds since 1970, as of the request.
    pub now: i64,
    /// When SQL is interrupted.
    pub deadline: Instant,
    /// The most bytes of an answer.
    pub max_response_bytes: usize,
    /// What the query history has still to be told.
    pub(super) history: &'c history::Pending,
    /// What the connection's authorizer looks at.
    pub(super) guard: &'c super::guard::Guard,
}

impl Session<'_> {
    /// Runs what a client wrote: the authorizer looks at each statement that is prepared in between.
    pub fn as_user<T>(&self, work: impl FnOnce() -> T) -> T {
        self.guard.enforce(work)
    }
}

/// The answer to work that was done, and what the query history is told of it.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Body>,
    /// One entry per statement or operation.
    pub records: Vec<history::Record>,
    /// Up to which entry the query history is written, once this is committed.
    pub flushed: u64,
}

impl Answer {
    /// 200 with JSON.
    ///
    /// # Errors
    /// 500 if it cannot be written, which no answer of this room brings about.
    pub fn json(value: &impl Serialize) -> Result<Self, Failure> {
        Ok(json(StatusCode::OK, value)?.into())
    }

    /// The same, unless it is larger than answers may be.
    ///
    /// # Errors
    /// 413 RESPONSE_TOO_LARGE.
    pub fn within(self, session: &Session<'_>) -> Outcome {
        match self.response.body() {
            Body::Whole(bytes) if bytes.len() > session.max_response_bytes => Err(too_large()),
            _ => Ok(self),
        }
    }

    /// The same with entries for the query history.
    #[must_use]
    pub fn recorded(mut self, records: Vec<history::Record>) -> Self {
        self.records = records;
        self
    }
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self { response, records: Vec::new(), flushed: 0 }
    }
}

/// 413: the answer would be too large; nothing is committed.
pub fn too_large() -> Failure {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RESPONSE_TOO_LARGE", "the answer is too large")
}

/// An answer of JSON.
///
/// # Errors
/// 500 if it cannot be written.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Failure> {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::internal(&error))?;
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::Whole(Bytes::from(bytes))).map_err(|error| Failure::internal(&error))
}
