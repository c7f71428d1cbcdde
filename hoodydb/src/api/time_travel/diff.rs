//! What differs in a table between two times.

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::inline::Inline;
use super::super::kv::Request;
use super::super::work::{Create, Mode};
use super::super::{Answer, Call, Failure, Roots, Session, Work};
use super::rows::{Rows, Stored};
use super::state::{Evidence, State};
use super::table::Gaps;
use super::{Size, moment};

/// The answer.
#[derive(Debug, Serialize)]
struct Diff {
    success: bool,
    from_timestamp: i64,
    to_timestamp: i64,
    stats: Stats,
    changes: Option<Vec<Change>>,
    #[serde(flatten)]
    gaps: Gaps,
}

/// How many keys changed how.
#[derive(Debug, Default, Serialize)]
struct Stats {
    created: usize,
    modified: usize,
    deleted: usize,
    unchanged: usize,
    total_changes: usize,
}

/// A key that differs.
#[derive(Debug, Serialize)]
struct Change {
    key: String,
    change_type: &'static str,
    #[serde(flatten)]
    from: Option<From>,
    #[serde(flatten)]
    to: Option<To>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operations_between: Vec<Between>,
}

/// What a key was at the earlier time.
#[derive(Debug, Serialize)]
struct From {
    #[serde(skip_serializing_if = "Option::is_none")]
    from_value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_value_base64: Option<String>,
    from_content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_expire_at: Option<i64>,
}

/// What a key was at the later time.
#[derive(Debug, Serialize)]
struct To {
    #[serde(skip_serializing_if = "Option::is_none")]
    to_value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_value_base64: Option<String>,
    to_content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_expire_at: Option<i64>,
}

/// An operation between the two times.
#[derive(Debug, Serialize)]
struct Between {
    op_number: i64,
    operation: String,
    path: String,
    delta: Option<i64>,
    timestamp: i64,
}

impl From {
    fn of(stored: &Stored) -> Self {
        let (from_value, from_value_base64) = Inline::of(&stored.value, &stored.content_type).parts();
        let (from_content_type, old_expire_at) = (stored.content_type.clone(), stored.expire_at);
        Self { from_value, from_value_base64, from_content_type, old_expire_at }
    }
}

impl To {
    fn of(stored: &Stored) -> Self {
        let (to_value, to_value_base64) = Inline::of(&stored.value, &stored.content_type).parts();
        let (to_content_type, new_expire_at) = (stored.content_type.clone(), stored.expire_at);
        Self { to_value, to_value_base64, to_content_type, new_expire_at }
    }
}

/// `GET /kv/diff`.
pub(in crate::api) fn table_diff(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let (from, to) = (moment(call, "from")?, moment(call, "to")?);
    if from >= to {
        return Err(Failure::parameters("from must be before to"));
    }
    let keys = call.params.first("keys").filter(|keys| !keys.is_empty());
    let keys: Option<Vec<String>> = keys.map(|keys| {
        let mut keys: Vec<String> = keys.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    });
    let request = Request::of(call, roots, "TABLE DIFF", "")?;
    Ok(request.run(Mode::ReadAlone, Create::No, None, move |session, table| {
        let rows = Rows::of(session.connection, table)?;
        let (keys, is_complete) = match &keys {
            Some(keys) => (keys.clone(), true),
            None => rows.candidates("")?,
        };
        compare(session, &rows, keys, (from, to), is_complete)
    }))
}

/// What a key was, if it was there; none for a gap.
fn known(rows: &Rows<'_>, key: &str, at: i64) -> Result<Option<Option<Stored>>, Failure> {
    Ok(match Evidence::read(rows, key, at)?.state(at) {
        State::There(known) => Some(Some(known.stored)),
        State::Absent | State::Expired => Some(None),
        State::Gap => None,
    })
}

fn compare(
    session: &Session<'_>,
    rows: &Rows<'_>,
    keys: Vec<String>,
    (from, to): (i64, i64),
    is_complete: bool,
) -> Result<Answer, Failure> {
    let (mut stats, mut changes, mut gaps, mut size) = (Stats::default(), Vec::new(), Vec::new(), Size::of(session));
    for key in keys {
        let (Some(before), Some(after)) = (known(rows, &key, from)?, known(rows, &key, to)?) else {
            gaps.push(key);
            continue;
        };
        let (change_type, count) = match (&before, &after) {
            (None, None) => continue,
            (None, Some(_)) => ("created", &mut stats.created),
            (Some(_), None) => ("deleted", &mut stats.deleted),
            (Some(before), Some(after)) if is_same(before, after) => {
                stats.unchanged += 1;
                continue;
            }
            (Some(_), Some(_)) => ("modified", &mut stats.modified),
        };
        *count += 1;
        let bytes = |stored: &Option<Stored>| stored.as_ref().map_or(0, |stored| stored.value.len());
        size.add(key.len() + bytes(&before) + bytes(&after) + 50)?;
        let mut operations_between = Vec::new();
        if change_type == "modified" {
            rows.between(&key, from, to, |row| {
                size.add(row.path.len() + 50)?;
                let (op_number, operation, path, delta) = (row.number, row.op, row.path, row.delta);
                operations_between.push(Between { op_number, operation, path, delta, timestamp: row.ts });
                Ok(())
            })?;
        }
        let (from, to) = (before.as_ref().map(From::of), after.as_ref().map(To::of));
        changes.push(Change { key, change_type, from, to, operations_between });
    }
    stats.total_changes = stats.created + stats.modified + stats.deleted;
    let (changes, gaps) = ((!changes.is_empty()).then_some(changes), Gaps::of(gaps, is_complete));
    let diff = Diff { success: true, from_timestamp: from, to_timestamp: to, stats, changes, gaps };
    Answer::json(&diff)
}

fn is_same(before: &Stored, after: &Stored) -> bool {
    before.value == after.value && before.content_type == after.content_type
}
