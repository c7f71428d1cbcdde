//! A table back to what it was at a time: all of it or nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::super::kv::{Once, Request, Table, schema};
use super::super::work::{Create, Mode};
use super::super::{Answer, Call, Failure, Outcome, Roots, Session, Work};
use super::preview;
use super::rows::{Current, Rows, Stored};
use super::state::{Evidence, State};
use super::{CANDIDATES_MAX, Size, gap, moment, unconditional};

/// Keys that a request may name.
const KEYS_MAX: usize = 10_000;

/// Which keys a request names.
#[derive(Clone, Debug, Default, Deserialize)]
struct Selection {
    #[serde(default)]
    keys: Option<Vec<String>>,
    #[serde(default)]
    exclude_keys: Option<Vec<String>>,
}

impl Selection {
    fn parse(body: &[u8]) -> Result<Self, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let selection: Self = serde_json::from_slice(body).map_err(|_| Failure::parameters("Invalid JSON body"))?;
        let count = |keys: &Option<Vec<String>>| keys.as_ref().map_or(0, Vec::len);
        if count(&selection.keys) > KEYS_MAX || count(&selection.exclude_keys) > KEYS_MAX {
            return Err(Failure::too_large(format!("more than {KEYS_MAX} keys")));
        }
        Ok(selection)
    }

    /// The keys in order, and whether they are all.
    fn candidates(&self, rows: &Rows<'_>) -> Result<(Vec<String>, bool), Failure> {
        let (mut keys, is_complete) = match &self.keys {
            Some(keys) => (keys.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(), true),
            None => rows.candidates("")?,
        };
        let excluded: BTreeSet<&String> = self.exclude_keys.iter().flatten().collect();
        keys.retain(|key| !excluded.contains(key));
        Ok((keys, is_complete))
    }
}

/// What is to happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It was there, and is: it gets the value of then.
    Rollback,
    /// It was not there.
    Delete,
    /// It is there no more.
    Restore,
    /// It neither was nor is there: only its operations go.
    Forget,
}

/// What is to be done with a key.
pub(super) struct Step {
    pub(super) key: String,
    pub(super) action: Action,
    /// The first of its operations that goes.
    first: i64,
    /// How many of them are undone.
    pub(super) operations: usize,
    pub(super) then: Option<Stored>,
    pub(super) now: Option<Current>,
}

/// What is to be done with all keys, as figures.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) total: usize,
    pub(super) rollback: usize,
    pub(super) delete: usize,
    pub(super) restore: usize,
    pub(super) operations: usize,
    /// Keys that have no history.
    pub(super) untouched: Vec<String>,
}

/// Calls `take` with what is to be done for each key; changes nothing itself.
///
/// # Errors
/// 409 if a write that was not recorded hides what a key was, 413 if a key has too many operations; those of `take`.
fn plan(
    session: &Session<'_>,
    rows: &Rows<'_>,
    keys: Vec<String>,
    at: i64,
    mut take: impl FnMut(Step) -> Result<(), Failure>,
) -> Result<Figures, Failure> {
    let mut figures = Figures { total: keys.len(), ..Figures::default() };
    for key in keys {
        let newest = rows.newest(&key)?;
        if newest == 0 {
            figures.untouched.push(key);
            continue;
        }
        let Some(step) = step(session, rows, key, newest, at)? else { continue };
        let count = match step.action {
            Action::Rollback => Some(&mut figures.rollback),
            Action::Delete => Some(&mut figures.delete),
            Action::Restore => Some(&mut figures.restore),
            Action::Forget => None,
        };
        if let Some(count) = count {
            *count += 1;
        }
        figures.operations += step.operations;
        take(step)?;
    }
    Ok(figures)
}

/// What is to be done with a key; none if nothing came after the moment.
fn step(session: &Session<'_>, rows: &Rows<'_>, key: String, newest: i64, at: i64) -> Result<Option<Step>, Failure> {
    let evidence = Evidence::read(rows, &key, at)?;
    let then = match evidence.state(at) {
        State::Gap => return Err(gap(&format!("a write that was not recorded hides what the key {key} was"))),
        State::Absent | State::Expired => None,
        State::There(known) => Some(known.stored),
    };
    let first = evidence.last.map_or(1, |last| last.number + 1);
    if first > newest {
        return Ok(None);
    }
    let now = evidence.current;
    let is_there = now.as_ref().is_some_and(|now| now.stored.expire_at.is_none_or(|at| at > session.now));
    let action = match (&then, is_there) {
        (Some(_), true) => Action::Rollback,
        (Some(_), false) => Action::Restore,
        (None, true) => Action::Delete,
        (None, false) => Action::Forget,
    };
    let undone = usize::try_from(newest + 1 - first).unwrap_or(0);
    let operations = if action == Action::Rollback { undone } else { 0 };
    Ok(Some(Step { key, action, first, operations, then, now }))
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    success: bool,
    to_timestamp: i64,
    rolled_back: usize,
    deleted: usize,
    restored: usize,
    total_operations_reversed: usize,
    untouched_keys: Vec<String>,
    duration_ms: u64,
}

/// `POST /kv/rollback`.
pub(in crate::api) fn table_rollback(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    unconditional(call)?;
    let at = moment(call, "to_timestamp")?;
    let selection = Selection::parse(&call.body)?;
    let request = Request::of(call, roots, "TABLE ROLLBACK", "")?;
    if call.params.flag("dry_run")?.unwrap_or(false) {
        return Ok(request.run(Mode::ReadAlone, Create::No, None, move |session, table| {
            let rows = Rows::of(session.connection, table)?;
            let (keys, is_complete) = selection.candidates(&rows)?;
            let (mut steps, mut size) = (Vec::new(), Size::of(session));
            let figures = plan(session, &rows, keys, at, |step| {
                let bytes = |stored: Option<&Stored>| stored.map_or(0, |stored| stored.value.len());
                size.add(step.key.len() + bytes(step.then.as_ref()) + bytes(step.now.as_ref().map(|now| &now.stored)))?;
                steps.push(step);
                Ok(())
            })?;
            Answer::json(&preview::of(figures, steps, at, is_complete))
        }));
    }
    if call.params.first("confirm") != Some("yes") {
        return Err(Failure::parameters("a rollback of a table needs dry_run=true or confirm=yes"));
    }
    let (create, once) = (super::create(call)?, Once::of(call)?);
    Ok(request.run(Mode::WriteAlone, create, once, move |session, table| roll_back(session, table, &selection, at)))
}

fn roll_back(session: &Session<'_>, table: &Table, selection: &Selection, at: i64) -> Outcome {
    let begun = Instant::now();
    schema::ensure(session.connection, table, session.now)?;
    let rows = Rows::of(session.connection, table)?;
    let (keys, is_complete) = selection.candidates(&rows)?;
    if !is_complete {
        return Err(Failure::too_large(format!(
            "the table has more than {CANDIDATES_MAX} keys: name those to roll back"
        )));
    }
    let figures =
        plan(session, &rows, keys, at, |step| restore(session, table, &step.key, step.then.as_ref(), step.first))?;
    let done = Done {
        success: true,
        to_timestamp: at,
        rolled_back: figures.rollback,
        deleted: figures.delete,
        restored: figures.restore,
        total_operations_reversed: figures.operations,
        untouched_keys: figures.untouched,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Answer::json(&done)
}

/// Gives a key what it was before one of its operations, and removes that operation and those after it. The triggers of the table
/// tell the change log, as of any write.
pub(super) fn restore(
    session: &Session<'_>,
    table: &Table,
    key: &str,
    then: Option<&Stored>,
    first: i64,
) -> Result<(), Failure> {
    let (connection, keys, history) = (session.connection, table.quoted(), table.history());
    match then {
        None => {
            connection.prepare_cached(&format!("DELETE FROM {keys} WHERE key = ?1"))?.execute([key])?;
        }
        Some(Stored { value, content_type, expire_at }) => {
            // A key that is there no more was made when its history says, or else as long ago as the history reaches.
            let made = format!(
                "SELECT coalesce((SELECT ts FROM {history} WHERE key = ?1 AND op_number < ?2 AND old_value IS NULL \
                 AND op <> 'UNRECORDED' ORDER BY op_number DESC LIMIT 1), min(ts)) FROM {history} WHERE key = ?1"
            );
            let made: Option<i64> =
                connection.prepare_cached(&made)?.query_row((key, first), |row| row.get(0)).optional()?.flatten();
            let store = format!(
                "INSERT INTO {keys}(key, value, content_type, created_at, updated_at, expire_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT(key) DO UPDATE SET value = excluded.value, content_type = excluded.content_type, \
                 updated_at = excluded.updated_at, expire_at = excluded.expire_at"
            );
            let now = session.now;
            connection.prepare_cached(&store)?.execute(params![
                key,
                value,
                content_type,
                made.unwrap_or(now),
                now,
                expire_at
            ])?;
        }
    }
    let forget = format!("DELETE FROM {history} WHERE key = ?1 AND op_number >= ?2");
    connection.prepare_cached(&forget)?.execute((key, first))?;
    Ok(())
}
