//! Executes the SQL of one item: its statements one after the other, or its one statement for each entry of a batch.
//!
//! Called by [`super::run`], where the authorizer looks. A statement is prepared when the ones before it have run, since it may need
//! what they made.

use std::time::Instant;

use http::StatusCode;
use rusqlite::{Connection, Statement};
use serde_json::value::RawValue;

use super::super::{Failure, Session};
use super::item::Item;
use super::result::ItemResult;
use super::rows::{self, Format, Rows};
use super::statements::{self, Statement as Text};
use super::values::{Values, unfit};

/// Executes an item, whose rows may have `left` bytes.
///
/// # Errors
/// 400 SQL_ERROR or SQL_BIND_ERROR, what SQLite says, 413, 503 if the deadline passes.
pub(super) fn item(session: &Session<'_>, item: &Item, format: Format, left: usize) -> Result<ItemResult, Failure> {
    check_text(&item.sql)?;
    let texts = statements::split(&item.sql);
    if !item.batch.is_empty() {
        return batch(session, item, &texts);
    }
    let Some((last, others)) = texts.split_last() else { return nothing(item, format) };
    let mut taken = 0;
    for text in others {
        check_time(session)?;
        prepared(session.connection, text, |statement| {
            item.values.bind(statement, &mut taken, false)?;
            rows::exhaust(statement)
        })?;
    }
    check_time(session)?;
    prepared(session.connection, last, |statement| {
        item.values.bind(statement, &mut taken, true)?;
        if item.is_query || statement.column_count() > 0 {
            return rows::collect(statement, format, left).map(|rows| ItemResult::rows(rows, format));
        }
        update(session.connection, last, statement).map(ItemResult::updated)
    })
}

/// 400: a NUL would end the SQL before its end.
pub(super) fn check_text(sql: &str) -> Result<(), Failure> {
    if sql.contains('\0') { Err(refused("the SQL contains a NUL byte")) } else { Ok(()) }
}

fn refused(text: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "SQL_ERROR", text)
}

/// Between statements SQLite does not look at the clock.
fn check_time(session: &Session<'_>) -> Result<(), Failure> {
    if Instant::now() >= session.deadline { Err(Failure::timeout()) } else { Ok(()) }
}

/// SQL without a statement.
fn nothing(item: &Item, format: Format) -> Result<ItemResult, Failure> {
    if matches!(&item.values, Values::List(list) if !list.is_empty()) {
        return Err(unfit("there are values, and no statement"));
    }
    if !item.is_query {
        return Ok(ItemResult::updated(0));
    }
    let json = RawValue::from_string("[]".to_owned()).map_err(|error| Failure::internal(&error))?;
    Ok(ItemResult::rows(Rows { headers: Vec::new(), json, count: 0, is_truncated: false }, format))
}

fn batch(session: &Session<'_>, item: &Item, texts: &[Text<'_>]) -> Result<ItemResult, Failure> {
    let [text] = texts else { return Err(refused("a valuesBatch needs exactly one statement")) };
    prepared(session.connection, text, |statement| {
        let (mut counts, mut errors) = (Vec::with_capacity(item.batch.len()), Vec::new());
        for (index, values) in item.batch.iter().enumerate() {
            check_time(session)?;
            match values.bind(statement, &mut 0, true) {
                Ok(()) => counts.push(update(session.connection, text, statement)?),
                Err(failure) if item.no_fail && !failure.ends_all() => {
                    errors.push(format!("entry {index}: {}", failure.text))
                }
                Err(failure) => return Err(unfit(format!("entry {index}: {}", failure.text))),
            }
        }
        Ok(ItemResult::batch(counts, errors))
    })
}

/// Runs a statement that is bound, and counts the rows that it changed. SQLite's own counter stays as it was when a statement counts
/// nothing, as those do that change the schema.
fn update(connection: &Connection, text: &Text<'_>, statement: &mut Statement<'_>) -> Result<u64, Failure> {
    let before = connection.total_changes();
    rows::exhaust(statement)?;
    let has_counted = text.counts_changes() && connection.total_changes() != before;
    Ok(if has_counted { connection.changes() } else { 0 })
}

/// Prepares a statement, or takes one that was kept. What clients have prepared is kept under names of its own: the server's
/// statements were prepared without a look of the authorizer, and must not be had by saying the same words.
pub(super) fn prepared<T>(
    connection: &Connection,
    text: &Text<'_>,
    work: impl FnOnce(&mut Statement<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if text.is_kept() {
        return work(&mut *connection.prepare_cached(&format!("/*client*/{}", text.text))?);
    }
    work(&mut connection.prepare(text.text)?)
}
