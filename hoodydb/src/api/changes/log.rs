//! Reading the change log: events after a position, and the values that belong to them.
//!
//! Called by [`super`], within a snapshot. One look scans a bounded number of events, whatever is asked for.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::super::Failure;
use super::super::inline::Inline;
use super::super::kv::{Table, etag};
use super::cursor::{Cursor, Life, Position};

/// Events that one look scans.
const SCAN_MAX: usize = 10_000;

/// The most bytes of a value within an event.
const VALUE_MAX: usize = 256 << 10;

/// Bytes of values after which a page ends.
const PAGE_BYTES: usize = 8 << 20;

/// A change of a key.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) seq: i64,
    pub(super) cursor: String,
    pub(super) table: String,
    pub(super) key: String,
    op: String,
    ts: i64,
    expire_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(flatten)]
    content: Option<Content>,
}

/// The value after a change, or why it is not told.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Content {
    Current {
        #[serde(flatten)]
        value: Inline,
        content_type: String,
    },
    Omitted {
        value_omitted: &'static str,
    },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) table: Table,
    pub(super) prefix: String,
    pub(super) include_values: bool,
}

impl Filter {
    /// Whether it asks for the changes of a key of a table, as the log names it.
    pub(super) fn takes(&self, table: &str, key: &str) -> bool {
        self.table.tbl() == table && key.starts_with(&self.prefix)
    }
}

/// What a look has found.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) events: Vec<Event>,
    /// Where the next look begins.
    pub(super) next: Cursor,
    /// Whether there is more now.
    pub(super) has_more: bool,
}

/// A row of the log.
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) table: String,
    pub(super) key: String,
    op: String,
    ts: i64,
    expire_at: Option<i64>,
}

impl Row {
    /// The event that it is in a life of its table.
    pub(super) fn event(self, life: Option<&Life>) -> Event {
        let Self { seq, table, key, op, ts, expire_at } = self;
        let is_there = matches!(op.as_str(), "set" | "ttl");
        let etag = life.filter(|_| is_there).map(|life| etag(&life.epoch, seq));
        let cursor = Cursor { life: life.cloned(), seq }.encode();
        Event { seq, cursor, table, key, op, ts, expire_at: expire_at.filter(|_| is_there), etag, content: None }
    }
}

/// Calls `take` for each row after a position until it says stop; whether the end was reached.
pub(super) fn rows(connection: &Connection, after: i64, mut take: impl FnMut(Row) -> bool) -> rusqlite::Result<bool> {
    let sql =
        r#"SELECT seq, tbl, CAST(key AS BLOB), op, ts, expire_at FROM "hoody:kv_changes" WHERE seq > ?1 ORDER BY seq"#;
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        // A native writer may have put anything there.
        let key = String::from_utf8_lossy(row.get_ref(2)?.as_blob()?).into_owned();
        let (seq, table, op) = (row.get(0)?, row.get(1)?, row.get(3)?);
        if !take(Row { seq, table, key, op, ts: row.get(4)?, expire_at: row.get(5)? }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Events of a table after a cursor that [`Position::check`] takes; `now` tells which values have expired.
pub(super) fn scan(
    connection: &Connection,
    position: &Position,
    filter: &Filter,
    since: &Cursor,
    limit: usize,
    now: i64,
) -> Result<Scan, Failure> {
    let (mut events, mut scanned, mut last, mut is_end) = (Vec::new(), 0, since.seq, true);
    if position.newest > since.seq {
        is_end = rows(connection, since.seq, |row| {
            let takes = filter.takes(&row.table, &row.key);
            if scanned == SCAN_MAX || takes && events.len() == limit {
                return false;
            }
            (scanned, last) = (scanned + 1, row.seq);
            if takes {
                events.push(row.event(position.life.as_ref()));
            }
            true
        })?;
    }
    if filter.include_values
        && let Some(cut) = fill_all(connection, filter, &mut events, now)?
    {
        events.truncate(cut);
        (last, is_end) = (events.last().map_or(since.seq, |event| event.seq), false);
    }
    let seq = if is_end { position.newest.max(last) } else { last };
    Ok(Scan { events, next: Cursor { life: position.life.clone(), seq }, has_more: !is_end })
}

/// Adds the values to events; after how many the page is large enough, if before its end.
fn fill_all(
    connection: &Connection,
    filter: &Filter,
    events: &mut [Event],
    now: i64,
) -> rusqlite::Result<Option<usize>> {
    let mut bytes = 0;
    let count = events.len();
    for (at, event) in events.iter_mut().enumerate().filter(|(_, event)| event.etag.is_some()) {
        let (content, size) = content(connection, filter, event, now)?;
        event.content = Some(content);
        bytes += size;
        if bytes > PAGE_BYTES && at + 1 < count {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// The value that belongs to an event, and its size.
fn content(connection: &Connection, filter: &Filter, event: &Event, now: i64) -> rusqlite::Result<(Content, usize)> {
    let omitted = |value_omitted| Ok((Content::Omitted { value_omitted }, 0));
    let sql = r#"SELECT max(seq) FROM "hoody:kv_changes" WHERE tbl = ?1 AND key = ?2"#;
    let newest: Option<i64> =
        connection.prepare_cached(sql)?.query_row((&event.table, &event.key), |row| row.get(0))?;
    if newest != Some(event.seq) {
        return omitted("superseded");
    }
    let table = filter.table.quoted();
    let sql = format!(
        "SELECT expire_at, content_type, CASE WHEN length(CAST(value AS BLOB)) <= {VALUE_MAX} THEN CAST(value AS BLOB) END \
         FROM {table} WHERE key = ?1"
    );
    let row = connection.prepare_cached(&sql)?.query_row([&event.key], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<Vec<u8>>>(2)?))
    });
    match row.optional()? {
        None => omitted("superseded"),
        Some((Some(expire_at), ..)) if expire_at <= now => omitted("expired"),
        Some((_, _, None)) => omitted("too_large"),
        Some((_, content_type, Some(value))) => {
            Ok((Content::Current { value: Inline::of(&value, &content_type), content_type }, value.len()))
        }
    }
}
