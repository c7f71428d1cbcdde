//! All keys of a table at a time: as a list, or with their values.

use rusqlite::Connection;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::inline::Inline;
use super::super::kv::{Request, Table};
use super::super::work::{Create, Mode};
use super::super::{Answer, Call, Failure, Roots, Work};
use super::rows::Rows;
use super::state::{Evidence, Known, State};
use super::{LIMIT_MAX, Size, moment, not_negative, unconditional};

/// Keys of a page if the request says nothing.
const LIMIT: i64 = 100;

/// What was not to be told.
#[derive(Debug, Serialize)]
pub(super) struct Gaps {
    pub(super) has_gaps: bool,
    pub(super) gap_keys: Option<Vec<String>>,
    pub(super) candidate_truncated: bool,
}

impl Gaps {
    pub(super) fn of(keys: Vec<String>, is_complete: bool) -> Self {
        Self {
            has_gaps: !keys.is_empty(),
            gap_keys: (!keys.is_empty()).then_some(keys),
            candidate_truncated: !is_complete,
        }
    }
}

/// A list of keys at a time.
#[derive(Debug, Serialize)]
struct List {
    success: bool,
    timestamp: i64,
    count: usize,
    offset: i64,
    items: Option<Vec<Item>>,
    #[serde(flatten)]
    gaps: Gaps,
}

/// A key that was there.
#[derive(Debug, Serialize)]
struct Item {
    key: String,
    content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    op_number: Option<i64>,
    size_estimate: usize,
    existed_at_timestamp: bool,
}

/// A table at a time.
#[derive(Debug, Serialize)]
struct Snapshot {
    success: bool,
    timestamp: i64,
    snapshot_time: String,
    total_keys_at_snapshot: usize,
    count: usize,
    keys: Option<Vec<Entry>>,
    #[serde(flatten)]
    gaps: Gaps,
}

/// A key and its value.
#[derive(Debug, Serialize)]
struct Entry {
    key: String,
    #[serde(flatten)]
    value: Inline,
    content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    op_number: Option<i64>,
}

/// Calls `take` with the count so far for each key that was there, in order.
fn visit(
    connection: &Connection,
    table: &Table,
    prefix: &str,
    at: i64,
    mut take: impl FnMut(usize, String, Known) -> Result<(), Failure>,
) -> Result<(usize, Gaps), Failure> {
    let rows = Rows::of(connection, table)?;
    let (candidates, is_complete) = rows.candidates(prefix)?;
    let (mut count, mut gaps) = (0, Vec::new());
    for key in candidates {
        match Evidence::read(&rows, &key, at)?.state(at) {
            State::There(known) => {
                take(count, key, known)?;
                count += 1;
            }
            State::Gap => gaps.push(key),
            State::Absent | State::Expired => (),
        }
    }
    Ok((count, Gaps::of(gaps, is_complete)))
}

/// How many keys are asked for; 0 means all.
fn limit(call: &Call) -> Result<usize, Failure> {
    Ok(match not_negative(call, "limit")?.unwrap_or(LIMIT) {
        0 => usize::MAX,
        limit => usize::try_from(limit.min(LIMIT_MAX)).unwrap_or(usize::MAX),
    })
}

/// `GET /kv?at_timestamp=T`, for a `T` that is not 0.
pub(in crate::api) fn list_at(call: &Call, roots: &Roots, timestamp: i64) -> Result<Work, Failure> {
    let at = super::checked(call, "at_timestamp", timestamp)?;
    if call.params.first("after").is_some_and(|after| !after.is_empty()) {
        return Err(Failure::parameters("after does not go with at_timestamp"));
    }
    unconditional(call)?;
    let offset = not_negative(call, "offset")?.unwrap_or(0);
    let first = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = first.saturating_add(limit(call)?);
    let prefix = call.params.first("prefix").unwrap_or_default().to_owned();
    let request = Request::of(call, roots, "LIST", &prefix)?;
    Ok(request.run(Mode::ReadAlone, Create::No, None, move |session, table| {
        let (mut items, mut size) = (Vec::new(), Size::of(session));
        let (_, gaps) = visit(session.connection, table, &prefix, at, |count, key, known| {
            if (first..end).contains(&count) {
                size.add(key.len() + 100)?;
                let (op_number, content_type) = (known.origin.numbers().0, known.stored.content_type);
                let size_estimate = known.stored.value.len();
                items.push(Item { key, content_type, op_number, size_estimate, existed_at_timestamp: true });
            }
            Ok(())
        })?;
        let count = items.len();
        let items = (count > 0).then_some(items);
        Answer::json(&List { success: true, timestamp: at, count, offset, items, gaps })
    }))
}

/// `GET /kv/snapshot`.
pub(in crate::api) fn table_snapshot(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let at = moment(call, "timestamp")?;
    let end = limit(call)?;
    let prefix = call.params.first("prefix").unwrap_or_default().to_owned();
    let request = Request::of(call, roots, "TABLE SNAPSHOT", &prefix)?;
    Ok(request.run(Mode::ReadAlone, Create::No, None, move |session, table| {
        let (mut keys, mut size) = (Vec::new(), Size::of(session));
        let (total, gaps) = visit(session.connection, table, &prefix, at, |count, key, known| {
            if count < end {
                size.add(key.len() + known.stored.value.len() + 40)?;
                let op_number = known.origin.numbers().0;
                let content_type = known.stored.content_type;
                let value = Inline::of(&known.stored.value, &content_type);
                keys.push(Entry { key, value, content_type, op_number });
            }
            Ok(())
        })?;
        let time = OffsetDateTime::from_unix_timestamp(at).ok().and_then(|time| time.format(&Rfc3339).ok());
        let count = keys.len();
        Answer::json(&Snapshot {
            success: true,
            timestamp: at,
            snapshot_time: time.unwrap_or_default(),
            total_keys_at_snapshot: total,
            count,
            keys: (count > 0).then_some(keys),
            gaps,
        })
    }))
}
