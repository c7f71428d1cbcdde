//! Time to live: `expire` and `persist`, and the removal of keys whose time is over.
//!
//! Called by the routes of a key, and by the server's sweeper. Whether a key exists never depends on its removal.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::super::{Call, Failure, Roots, Work};
use super::change::{Found, Operation, To};
use super::conditions::Demands;
use super::request::{Request, expiry, records, tagged};
use super::{Table, once, prune, schema};

/// What a change of the expiry answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Timed<'a> {
    success: bool,
    key: &'a str,
    expire_at: Option<i64>,
    etag: Option<&'a str>,
}

/// `POST /kv/{key}/expire`.
pub(super) fn expire(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let ttl = call.params.integer("ttl")?;
    let ttl = ttl.filter(|ttl| *ttl >= 1).ok_or_else(|| Failure::parameters("ttl must be at least 1"))?;
    let expire_at = expiry(ttl, call.now)?;
    set(call, roots, key, "EXPIRE", expire_at)
}

/// `POST /kv/{key}/persist`.
pub(super) fn persist(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    set(call, roots, key, "PERSIST", None)
}

fn set(call: &Call, roots: &Roots, key: String, told: &str, expire_at: Option<i64>) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, told, &key)?;
    let (demands, is_recorded) = (Demands::of(call)?, records(call)?);
    request.write(call, move |session, table| {
        let found = Found::load(session, table, &key)?;
        demands.check(found.entry.is_some(), found.etag())?;
        let entry = found.existing()?;
        if expire_at.is_none() && entry.expire_at.is_none() {
            let etag = found.etag();
            return tagged(&Timed { success: true, key: &key, expire_at, etag }, etag);
        }
        let operation = Operation { op: "SET", path: "", delta: None, is_recorded };
        let etag = found.change(session, table, &key, To::Expiry(expire_at), operation)?;
        tagged(&Timed { success: true, key: &key, expire_at, etag: Some(&etag) }, Some(&etag))
    })
}

/// Removes keys whose time is over, old changes and old replies, at most so many of each; how many there were. To be called within
/// a transaction, again while it gives as many as it may. Where there is nothing to remove it only reads.
///
/// # Errors
/// SQLite's.
pub(in crate::api) fn sweep(connection: &Connection, now: i64, most: usize) -> rusqlite::Result<usize> {
    if !schema::exists(connection, "hoody:kv_meta")? {
        return Ok(0);
    }
    let mut query = connection.prepare_cached("SELECT tbl FROM \"hoody:kv_meta\"")?;
    let tables = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut swept = 0;
    for table in tables.iter().filter_map(|tbl| Table::named(tbl).ok()) {
        if schema::is_logged(connection, &table)? {
            let over = format!("FROM {} WHERE expire_at IS NOT NULL AND expire_at <= ?1", table.quoted());
            swept += remove(connection, "key", &over, now, most - swept)?;
        }
    }
    let replies = "FROM \"hoody:kv_replies\" WHERE ts <= ?1";
    let replies = remove(connection, "name", replies, now - once::KEPT_S, most)?;
    let changes = prune::step(connection, schema::newest(connection)?, now)?;
    Ok(swept.max(replies).max(changes).min(most))
}

/// Removes some of the rows that `over` selects up to a moment, by a column that tells them apart.
fn remove(connection: &Connection, column: &str, over: &str, until: i64, most: usize) -> rusqlite::Result<usize> {
    if !connection.prepare_cached(&format!("SELECT 1 {over} LIMIT 1"))?.exists([until])? {
        return Ok(0);
    }
    let remove = format!("DELETE {over} AND {column} IN (SELECT {column} {over} LIMIT ?2)");
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection.prepare_cached(&remove)?.execute(params![until, most])
}
