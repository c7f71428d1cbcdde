//! One key: its operations, its value after one of them or at a time, and undoing the newest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::super::inline::Inline;
use super::super::kv::{Once, Request, Table, schema};
use super::super::work::{Create, Mode};
use super::super::{Answer, Call, Failure, Outcome, Roots, Session, Work};
use super::rollback::restore;
use super::rows::{Operation, Rows, Stored};
use super::state::{Evidence, State};
use super::{LIMIT_MAX, OPERATIONS_MAX, Size, gap, not_negative, unconditional};

/// Operations of a page if the request says nothing.
const LIMIT: i64 = 50;

/// The operations of a key.
#[derive(Debug, Serialize)]
struct Operations<'a> {
    success: bool,
    key: &'a str,
    count: usize,
    operations: Vec<Numbered>,
}

/// An operation with its place.
#[derive(Debug, Serialize)]
struct Numbered {
    op_number: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unrecorded_until: Option<i64>,
    operation: Told,
}

/// An operation.
#[derive(Debug, Serialize)]
struct Told {
    op: String,
    path: String,
    delta: Option<i64>,
    raw_old_value: Option<String>,
    raw_new_value: Option<String>,
    old_content_type: Option<String>,
    new_content_type: Option<String>,
    old_expire_at: Option<i64>,
    new_expire_at: Option<i64>,
}

/// A value after an operation.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    success: bool,
    op_number: i64,
    content_type: &'a str,
    #[serde(flatten)]
    value: Inline,
}

/// A value at a time.
#[derive(Debug, Serialize)]
struct Past<'a> {
    success: bool,
    key: &'a str,
    timestamp: i64,
    #[serde(flatten)]
    value: Inline,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    op_number: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op_timestamp: Option<i64>,
}

/// What was undone.
#[derive(Debug, Serialize)]
struct RolledBack<'a> {
    success: bool,
    key: &'a str,
    rolled_back: usize,
}

/// `GET /kv/{key}/history`.
pub(in crate::api) fn history(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, "HISTORY", &key)?;
    let limit = match not_negative(call, "limit")?.unwrap_or(0) {
        0 => LIMIT,
        limit => limit.min(LIMIT_MAX),
    };
    Ok(request.run(Mode::Read, Create::No, None, move |session, table| {
        let rows = Rows::of(session.connection, table)?;
        let (mut operations, mut size) = (Vec::new(), Size::of(session));
        rows.newest_first(&key, limit, |operation| {
            let bytes = |stored: &Option<Stored>| stored.as_ref().map_or(0, |stored| stored.value.len());
            size.add((bytes(&operation.old) + bytes(&operation.new)) / 3 * 4)?;
            operations.push(numbered(operation));
            Ok(())
        })?;
        Answer::json(&Operations { success: true, key: &key, count: operations.len(), operations })
    }))
}

fn numbered(operation: Operation) -> Numbered {
    let Operation { number, op, path, delta, ts, unrecorded_until, old, new } = operation;
    let told = |stored: Option<Stored>| match stored {
        None => (None, None, None),
        Some(stored) => (Some(STANDARD.encode(&stored.value)), Some(stored.content_type), stored.expire_at),
    };
    let ((raw_old_value, old_content_type, old_expire_at), (raw_new_value, new_content_type, new_expire_at)) =
        (told(old), told(new));
    let operation = Told {
        op,
        path,
        delta,
        raw_old_value,
        raw_new_value,
        old_content_type,
        new_content_type,
        old_expire_at,
        new_expire_at,
    };
    Numbered { op_number: number, timestamp: ts, unrecorded_until, operation }
}

/// `GET /kv/{key}/snapshot`.
pub(in crate::api) fn snapshot(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, "SNAPSHOT", &key)?;
    let number = call.params.integer("op_number")?.filter(|number| *number >= 1);
    let number = number.ok_or_else(|| Failure::parameters("op_number must be an integer of at least 1"))?;
    Ok(request.run(Mode::Read, Create::No, None, move |session, table| {
        let rows = Rows::of(session.connection, table)?;
        let operation = rows.numbered(&key, number)?;
        let operation =
            operation.ok_or_else(|| Failure::not_found("HISTORY_ENTRY_NOT_FOUND", "there is no such operation"))?;
        if operation.is_unrecorded() {
            return Err(gap("the write of that number was not recorded"));
        }
        let Stored { value, content_type, .. } = operation.new.ok_or_else(not_found)?;
        let value = Inline::of(&value, &content_type);
        Answer::json(&Snapshot { success: true, op_number: number, content_type: &content_type, value })
    }))
}

/// `GET /kv/{key}?at_timestamp=T`, for a `T` that is not 0.
pub(in crate::api) fn get_at(call: &Call, roots: &Roots, key: String, timestamp: i64) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, "GET", &key)?;
    let at = super::checked(call, "at_timestamp", timestamp)?;
    unconditional(call)?;
    Ok(request.run(Mode::Read, Create::No, None, move |session, table| {
        let rows = Rows::of(session.connection, table)?;
        let known = match Evidence::read(&rows, &key, at)?.state(at) {
            State::There(known) => known,
            State::Absent => return Err(not_found()),
            State::Expired => return Err(Failure::not_found("KEY_EXPIRED", "the key had expired")),
            State::Gap => return Err(gap("a write that was not recorded hides the key's state at that time")),
        };
        let (op_number, op_timestamp) = known.origin.numbers();
        let content_type = known.stored.content_type.as_str();
        let value = Inline::of(&known.stored.value, content_type);
        let past = Past { success: true, key: &key, timestamp: at, value, content_type, op_number, op_timestamp };
        Answer::json(&past)
    }))
}

fn not_found() -> Failure {
    Failure::not_found("KEY_NOT_FOUND", "Key not found")
}

/// `POST /kv/{key}/rollback`.
pub(in crate::api) fn rollback(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, "ROLLBACK", &key)?;
    unconditional(call)?;
    let steps = call.params.integer("steps")?.unwrap_or(1);
    if !(1..=OPERATIONS_MAX).contains(&steps) {
        return Err(Failure::parameters(format!("steps must be from 1 to {OPERATIONS_MAX}")));
    }
    let (create, once) = (super::create(call)?, Once::of(call)?);
    Ok(request.run(Mode::Write, create, once, move |session, table| undo(session, table, &key, steps)))
}

/// Undoes the newest operations of a key.
fn undo(session: &Session<'_>, table: &Table, key: &str, steps: i64) -> Outcome {
    schema::ensure(session.connection, table, session.now)?;
    let rows = Rows::of(session.connection, table)?;
    let (mut oldest, mut count) = (None, 0);
    rows.newest_first(key, steps, |operation| {
        if operation.is_unrecorded() {
            let text = "TIME_TRAVEL_CHAIN_GAP: a write among the steps was not recorded";
            return Err(Failure { text: text.to_owned(), ..gap("a write among the steps was not recorded") });
        }
        (oldest, count) = (Some(operation), count + 1);
        Ok(())
    })?;
    let oldest = oldest.ok_or_else(|| Failure::not_found("HISTORY_ENTRY_NOT_FOUND", "the key has no history"))?;
    restore(session, table, key, oldest.old.as_ref(), oldest.number)?;
    Answer::json(&RolledBack { success: true, key, rolled_back: count })
}
