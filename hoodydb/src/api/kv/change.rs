//! Every change of a key: the row, its history and its new ETag, within the transaction of the request.
//!
//! Called by the endpoints that write. A key whose time is over is removed before it is written again, so that the change log says
//! so; everywhere else it does not exist.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{Failure, Session};
use super::entry::{Entry, etag};
use super::{Table, prune, schema};

/// A key as a write finds it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// What it is; none if it does not exist, or its time is over.
    pub(super) entry: Option<Entry>,
    /// Whether there is a row whose time is over.
    is_over: bool,
    epoch: String,
}

/// What a key becomes.
#[derive(Clone, Copy, Debug)]
pub(super) enum To<'a> {
    /// Another value.
    Value { value: &'a [u8], content_type: &'a str, expire_at: Option<i64> },
    /// The same value until another moment.
    Expiry(Option<i64>),
    /// Gone.
    Nothing,
}

/// What the history says of a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation<'a> {
    /// `SET` and so on.
    pub(super) op: &'static str,
    pub(super) path: &'a str,
    pub(super) delta: Option<i64>,
    /// Whether it is recorded; if not, only the time is.
    pub(super) is_recorded: bool,
}

impl Found {
    /// Reads a key for a write, and makes what is missing of its table.
    ///
    /// # Errors
    /// 409 CONFLICT if the table cannot hold keys; SQLite's.
    pub(super) fn load(session: &Session<'_>, table: &Table, key: &str) -> Result<Self, Failure> {
        let connection = session.connection;
        // Whatever the first look fails with, the second one fails with again, unless a table was only missing.
        if let Ok(Some((found, schema))) = Self::read(connection, table, key, session.now)
            && schema == schema::version(connection)?
        {
            return Ok(found);
        }
        schema::ensure(connection, table, session.now)?;
        let found = Self::read(connection, table, key, session.now)?;
        found.map(|(found, _)| found).ok_or_else(|| Failure::internal(&"a table was not made"))
    }

    /// Reads it, with the schema that its table was looked at under; none if that has never happened.
    fn read(connection: &Connection, table: &Table, key: &str, now: i64) -> rusqlite::Result<Option<(Self, i64)>> {
        let mut query = connection.prepare_cached(table.load())?;
        let found = query.query_row([key, table.tbl()], |row| {
            let entry = if row.get(8)? { Some(Entry::of(row)?) } else { None };
            let is_over = entry.as_ref().is_some_and(|entry| !entry.is_live(now));
            Ok((Self { entry: entry.filter(|_| !is_over), is_over, epoch: row.get(6)? }, row.get(7)?))
        });
        found.optional()
    }

    /// The key, which must exist.
    ///
    /// # Errors
    /// 404 KEY_NOT_FOUND.
    pub(super) fn existing(&self) -> Result<&Entry, Failure> {
        self.entry.as_ref().ok_or_else(not_found)
    }

    /// Its ETag.
    pub(super) fn etag(&self) -> Option<&str> {
        self.entry.as_ref().and_then(|entry| entry.etag.as_deref())
    }

    /// Changes the key and gives its new ETag.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn change(
        &self,
        session: &Session<'_>,
        table: &Table,
        key: &str,
        to: To<'_>,
        operation: Operation<'_>,
    ) -> Result<String, Failure> {
        let (connection, now) = (session.connection, session.now);
        if self.is_over {
            connection.prepare_cached(table.remove())?.execute([key])?;
        }
        match to {
            To::Value { value, content_type, expire_at } => {
                let created_at = self.entry.as_ref().map_or(now, |entry| entry.created_at);
                let row = params![key, value, content_type, created_at, now, expire_at];
                connection.prepare_cached(table.store())?.execute(row)?;
            }
            To::Expiry(expire_at) => {
                connection.prepare_cached(table.touch())?.execute(params![key, expire_at])?;
            }
            To::Nothing => {
                connection.prepare_cached(table.remove())?.execute([key])?;
            }
        }
        let seq = if operation.is_recorded {
            self.record(connection, table, key, to, operation, now)?
        } else {
            leave_unrecorded(connection, table, key, now)?
        };
        if seq % prune::EVERY == 0 {
            prune::step(connection, seq, now)?;
        }
        Ok(etag(&self.epoch, seq))
    }

    /// Adds a row to the history; gives the number of the key's newest change.
    fn record(
        &self,
        connection: &Connection,
        table: &Table,
        key: &str,
        to: To<'_>,
        operation: Operation<'_>,
        now: i64,
    ) -> rusqlite::Result<i64> {
        let old = self.entry.as_ref();
        let old_value = old.map(|old| old.value.as_slice());
        let (old_type, old_expire_at) = (old.map(|old| old.content_type.as_str()), old.and_then(|old| old.expire_at));
        let (new_value, new_type, new_expire_at) = match to {
            To::Value { value, content_type, expire_at } => (Some(value), Some(content_type), expire_at),
            To::Expiry(expire_at) => (old_value, old_type, expire_at),
            To::Nothing => (None, None, None),
        };
        let Operation { op, path, delta, .. } = operation;
        let row = params![
            key,
            op,
            path,
            delta,
            now,
            old_value,
            old_type,
            old_expire_at,
            new_value,
            new_type,
            new_expire_at,
            table.tbl()
        ];
        connection.prepare_cached(table.record())?.query_row(row, |row| row.get(0))
    }
}

/// Notes only that something was written; consecutive such notes are one row. Gives the number of the key's newest change.
fn leave_unrecorded(connection: &Connection, table: &Table, key: &str, now: i64) -> rusqlite::Result<i64> {
    let history = table.history();
    let last = format!("SELECT max(op_number) FROM {history} WHERE key = CAST(?1 AS TEXT)");
    let extend = format!(
        "UPDATE {history} SET unrecorded_until = max(coalesce(unrecorded_until, ts), ?2) \
         WHERE key = CAST(?1 AS TEXT) AND op_number = ({last}) AND op = 'UNRECORDED'"
    );
    if connection.prepare_cached(&extend)?.execute(params![key, now])? == 0 {
        let add = format!(
            "INSERT INTO {history}(key, op_number, op, ts, unrecorded_until) \
             VALUES (?1, coalesce(({last}), 0) + 1, 'UNRECORDED', ?2, ?2)"
        );
        connection.prepare_cached(&add)?.execute(params![key, now])?;
    }
    let newest = "SELECT coalesce(max(seq), 0) FROM \"hoody:kv_changes\" \
                  WHERE tbl = CAST(?1 AS TEXT) AND key = CAST(?2 AS TEXT)";
    connection.prepare_cached(newest)?.query_row([table.tbl(), key], |row| row.get(0))
}

/// 404 of a key.
pub(super) fn not_found() -> Failure {
    Failure::not_found("KEY_NOT_FOUND", "Key not found")
}
