//! What a request is answered with when it did not do what was asked: status, code and text.
//!
//! Called by every file of this room. Texts of 5xx answers are neutral: what SQLite said goes to the log only.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use rusqlite::ErrorCode;
use serde_json::{Map, Value};

use super::{Body, history};

/// A request that is not done.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The status of the answer.
    pub status: StatusCode,
    /// What programs compare.
    pub code: &'static str,
    /// For humans, but for the texts that the contract pins.
    pub text: String,
    /// Further members of the body, such as `reqIdx`.
    pub members: Map<String, Value>,
    /// Whether the answer asks to try again in a second.
    pub retry: bool,
    /// What the query history is told.
    pub records: Vec<history::Record>,
}

impl Failure {
    /// A failure without further members.
    pub fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        Self { status, code, text: text.into(), members: Map::new(), retry, records: Vec::new() }
    }

    /// 400: a parameter or the body is missing, malformed or out of range.
    pub fn parameters(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETERS", text)
    }

    /// 400: the path of a database is none.
    pub fn path(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_DB_PATH", text)
    }

    /// 404 of an item.
    pub fn not_found(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, text)
    }

    /// 409.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", text)
    }

    /// 413 of a request.
    pub fn too_large(text: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", text)
    }

    /// 503: the lock was not to be had before the deadline; nothing changed.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "DATABASE_BUSY", "the database is locked by another writer")
    }

    /// 503: the deadline passed while SQL ran; it is rolled back.
    pub fn timeout() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "REQUEST_TIMEOUT", "the request took longer than its timeout")
    }

    /// 503: the server ends, or a cap is reached.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", text)
    }

    /// 500; the cause is logged, never sent.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "internal error")
    }

    /// 500 of a database: I/O, corruption, a full disk; the cause is logged, never sent.
    pub fn database(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "SQLite failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "DATABASE_ERROR", "internal database error")
    }

    /// The same with one more member of its body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with `reqIdx`, unless it has one.
    #[must_use]
    pub fn at(mut self, index: i64) -> Self {
        self.members.entry("reqIdx").or_insert(index.into());
        self
    }

    /// The same with entries for the query history.
    #[must_use]
    pub fn recorded(mut self, records: Vec<history::Record>) -> Self {
        self.records = records;
        self
    }

    /// Whether the deadline, a lock or the server itself ended it, which ends a whole SQL transaction.
    pub fn ends_all(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    /// The answer: `{"error":…,"code":…}` and the further members.
    pub fn response(&self) -> Response<Body> {
        // `error` and `code` first: people read them.
        let mut body = format!("{{\"error\":{},\"code\":{}", Value::from(self.text.as_str()), Value::from(self.code));
        for (name, value) in &self.members {
            body.push_str(&format!(",{}:{value}", Value::from(name.as_str())));
        }
        body.push('}');
        let mut response = Response::new(Body::Whole(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // HEAD has no body that could tell.
        headers.insert("X-Hoody-Error-Code", HeaderValue::from_static(self.code));
        if self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<rusqlite::Error> for Failure {
    /// SQLite's result as the contract names it.
    fn from(error: rusqlite::Error) -> Self {
        let bad = |code, text: String| Self::new(StatusCode::BAD_REQUEST, code, text);
        let (failure, message) = match &error {
            rusqlite::Error::SqliteFailure(failure, message) => (failure, message.clone()),
            rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg.clone())),
            rusqlite::Error::InvalidParameterCount(..) | rusqlite::Error::InvalidParameterName(..) => {
                return bad("SQL_BIND_ERROR", error.to_string());
            }
            rusqlite::Error::MultipleStatement | rusqlite::Error::NulError(_) => {
                return bad("SQL_ERROR", error.to_string());
            }
            _ => return Self::internal(&error),
        };
        let text = message.unwrap_or_else(|| failure.to_string());
        match failure.code {
            ErrorCode::ConstraintViolation => Self::new(StatusCode::CONFLICT, "SQL_CONSTRAINT", text),
            ErrorCode::ReadOnly => Self::new(StatusCode::CONFLICT, "DATABASE_READONLY", text),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::busy(),
            ErrorCode::OperationInterrupted => Self::timeout(),
            ErrorCode::ParameterOutOfRange => bad("SQL_BIND_ERROR", text),
            ErrorCode::Unknown if failure.extended_code & 0xff == rusqlite::ffi::SQLITE_ERROR => bad("SQL_ERROR", text),
            ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::AuthorizationForStatementDenied => {
                bad("SQL_ERROR", text)
            }
            _ => Self::database(&error),
        }
    }
}
