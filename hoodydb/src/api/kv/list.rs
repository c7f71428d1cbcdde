//! A page of keys, in the order of their bytes.
//!
//! Called by the route of a table. A page and its place in the change log come from one snapshot.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use super::super::changes::Position;
use super::super::{Answer, Call, Failure, Roots, Session, Work, time_travel};
use super::Table;
use super::entry::{content_type, etag, seconds, text};
use super::request::Request;
use super::schema::{self, Meta, State};

/// Keys of a page, if the request says nothing, and at most.
const LIMIT: i64 = 100;
const LIMIT_MAX: i64 = 1000;

/// What a list answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Page<'a> {
    success: bool,
    count: usize,
    limit: i64,
    offset: i64,
    has_more: bool,
    next_after: Option<&'a str>,
    change_cursor: Option<String>,
    items: Option<&'a [Item]>,
}

/// A key of a list.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Item {
    key: String,
    content_type: String,
    size: i64,
    created_at: i64,
    updated_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_at: Option<i64>,
    etag: Option<String>,
}

/// Which keys.
struct Wish {
    prefix: String,
    after: Option<String>,
    limit: i64,
    offset: i64,
}

/// `GET /kv`.
pub(in crate::api) fn list(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let at = call.params.integer("at_timestamp")?.unwrap_or(0);
    if at != 0 {
        return time_travel::list_at(call, roots, at);
    }
    let not_negative = |name: &str| match call.params.integer(name)? {
        Some(number) if number < 0 => Err(Failure::parameters(format!("{name} must not be negative"))),
        number => Ok(number),
    };
    let wish = Wish {
        prefix: call.params.first("prefix").unwrap_or_default().to_owned(),
        after: call.params.first("after").map(str::to_owned),
        limit: not_negative("limit")?.unwrap_or(LIMIT).min(LIMIT_MAX),
        offset: not_negative("offset")?.unwrap_or(0),
    };
    if wish.after.as_ref().is_some_and(|after| !after.is_empty()) && wish.offset > 0 {
        return Err(Failure::parameters("after does not go with offset"));
    }
    let request = Request::of(call, roots, "LIST", &wish.prefix)?;
    Ok(request.read(move |session, table| wish.page(session, table)))
}

impl Wish {
    fn page(&self, session: &Session<'_>, table: &Table) -> Result<Answer, Failure> {
        let mut items = match schema::look(session.connection, table)? {
            State::Absent => Vec::new(),
            State::Plain => self.items(session.connection, table, session.now, None)?,
            State::Logged(meta) => self.items(session.connection, table, session.now, Some(&meta))?,
        };
        let limit = usize::try_from(self.limit).unwrap_or(0);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|item| item.key.as_str());
        let next_after = if self.limit == 0 { self.after.as_deref() } else { last.filter(|_| has_more) };
        Answer::json(&Page {
            success: true,
            count: items.len(),
            limit: self.limit,
            offset: self.offset,
            has_more,
            next_after,
            change_cursor: Some(Position::read(session.connection, table)?.end().encode()),
            items: Some(items.as_slice()).filter(|items| !items.is_empty()),
        })
    }

    /// The keys of the page, and one more if there are more.
    fn items(
        &self,
        connection: &Connection,
        table: &Table,
        now: i64,
        meta: Option<&Meta>,
    ) -> rusqlite::Result<Vec<Item>> {
        let newest = match meta {
            Some(_) => "(SELECT max(c.seq) FROM \"hoody:kv_changes\" c WHERE c.tbl = ?1 AND c.key = t.key)",
            None => "NULL",
        };
        let mut query = format!(
            "SELECT t.key, t.content_type, octet_length(t.value), t.created_at, t.updated_at, t.expire_at, {newest} \
             FROM {} t WHERE (t.expire_at IS NULL OR t.expire_at > ?2)",
            table.quoted()
        );
        let mut values = vec![Value::from(table.tbl().to_owned()), Value::from(now)];
        let bounds = [
            ("t.key >= ?", Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty())),
            ("t.key < ?", end(&self.prefix)),
            ("t.key > ?", self.after.clone()),
        ];
        for (bound, value) in bounds {
            if let Some(value) = value {
                query = query + " AND " + bound;
                values.push(value.into());
            }
        }
        query += " ORDER BY t.key LIMIT ? OFFSET ?";
        values.extend([Value::from(self.limit + 1), Value::from(self.offset)]);
        let mut query = connection.prepare_cached(&query)?;
        let items = query.query_map(params_from_iter(values), |row| item(row, meta))?;
        items.collect()
    }
}

fn item(row: &Row<'_>, meta: Option<&Meta>) -> rusqlite::Result<Item> {
    let seq: Option<i64> = row.get(6)?;
    Ok(Item {
        key: text(row.get_ref(0)?),
        content_type: content_type(row.get_ref(1)?),
        size: row.get::<_, Option<i64>>(2)?.unwrap_or(0),
        created_at: seconds(row.get_ref(3)?).unwrap_or(0),
        updated_at: seconds(row.get_ref(4)?).unwrap_or(0),
        expire_at: seconds(row.get_ref(5)?),
        etag: seq.zip(meta).map(|(seq, meta)| etag(&meta.epoch, seq)),
    })
}

/// The first text after all that start with a prefix; none if nothing comes after them.
pub(in crate::api) fn end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        assert_eq!(end("a:").as_deref(), Some("a;"));
        assert_eq!(end("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end("\u{10ffff}"), None);
        assert_eq!(end(""), None);
    }
}
