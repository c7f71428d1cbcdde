//! The rows that time travel reads: those of keys now, and those of their history.
//!
//! Called by the other files of [`super`], within one snapshot. A table that is not there has no rows.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::super::Failure;
use super::super::kv::Table;
use super::{CANDIDATES_MAX, OPERATIONS_MAX};

/// A value with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) value: Vec<u8>,
    pub(super) content_type: String,
    pub(super) expire_at: Option<i64>,
}

/// A key as it is now, expired or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) stored: Stored,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// An operation of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) number: i64,
    pub(super) op: String,
    pub(super) path: String,
    pub(super) delta: Option<i64>,
    pub(super) ts: i64,
    pub(super) unrecorded_until: Option<i64>,
    pub(super) old: Option<Stored>,
    pub(super) new: Option<Stored>,
}

impl Operation {
    /// Whether it says only that something was written.
    pub(super) fn is_unrecorded(&self) -> bool {
        self.op == "UNRECORDED"
    }
}

/// The columns of an operation.
const COLUMNS: &str = "op_number, op, path, delta, ts, unrecorded_until, CAST(old_value AS BLOB), old_content_type, old_expire_at, \
                       CAST(new_value AS BLOB), new_content_type, new_expire_at";

/// A table of keys and its history, as far as they are there.
pub(super) struct Rows<'c> {
    connection: &'c Connection,
    keys: Option<String>,
    history: Option<String>,
}

impl<'c> Rows<'c> {
    /// Looks what there is.
    pub(super) fn of(connection: &'c Connection, table: &Table) -> Result<Self, Failure> {
        // Refuses a table that is none of keys.
        super::super::kv::schema::look(connection, table)?;
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
        let mut there = connection.prepare_cached(sql)?;
        let keys = there.exists([table.name()])?.then(|| table.quoted());
        let history = there.exists([table.history_name()])?.then(|| table.history());
        Ok(Self { connection, keys, history })
    }

    /// A key as it is now.
    pub(super) fn current(&self, key: &str) -> Result<Option<Current>, Failure> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let sql = format!(
            "SELECT CAST(value AS BLOB), content_type, expire_at, created_at, updated_at FROM {keys} WHERE key = ?1"
        );
        let current = self.connection.prepare_cached(&sql)?.query_row([key], |row| {
            let stored = Stored { value: row.get(0)?, content_type: row.get(1)?, expire_at: row.get(2)? };
            Ok(Current { stored, created_at: row.get(3)?, updated_at: row.get(4)? })
        });
        Ok(current.optional()?)
    }

    /// The newest operation of a key up to a moment.
    pub(super) fn last_until(&self, key: &str, at: i64) -> Result<Option<Operation>, Failure> {
        self.one("key = ?1 AND ts <= ?2 ORDER BY op_number DESC LIMIT 1", (key, at))
    }

    /// The first operation of a key after a number.
    pub(super) fn first_after(&self, key: &str, number: i64) -> Result<Option<Operation>, Failure> {
        self.one("key = ?1 AND op_number > ?2 ORDER BY op_number LIMIT 1", (key, number))
    }

    /// An operation by its number.
    pub(super) fn numbered(&self, key: &str, number: i64) -> Result<Option<Operation>, Failure> {
        self.one("key = ?1 AND op_number = ?2", (key, number))
    }

    /// The number of a key's newest operation; 0 without any.
    ///
    /// # Errors
    /// 413 if there are more than are read.
    pub(super) fn newest(&self, key: &str) -> Result<i64, Failure> {
        let Some(history) = &self.history else { return Ok(0) };
        // Numbers are given without a hole, so that the newest is the count.
        let sql = format!("SELECT coalesce(max(op_number), 0) FROM {history} WHERE key = ?1");
        let newest = self.connection.prepare_cached(&sql)?.query_row([key], |row| row.get(0))?;
        if newest > OPERATIONS_MAX {
            return Err(Failure::too_large(format!("the key {key} has more than {OPERATIONS_MAX} operations")));
        }
        Ok(newest)
    }

    /// Calls `take` for operations of a key, from the newest on, until it says stop.
    pub(super) fn newest_first(
        &self,
        key: &str,
        most: i64,
        take: impl FnMut(Operation) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.each("key = ?1 ORDER BY op_number DESC LIMIT ?2", (key, most), take)
    }

    /// Calls `take` for operations of a key after one moment and until another, oldest first.
    pub(super) fn between(
        &self,
        key: &str,
        from: i64,
        to: i64,
        take: impl FnMut(Operation) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.each("key = ?1 AND ts > ?2 AND ts <= ?3 ORDER BY op_number", (key, from, to), take)
    }

    /// Keys that begin with a prefix and are, or were, there; in order. False if there are more than are looked at.
    pub(super) fn candidates(&self, prefix: &str) -> Result<(Vec<String>, bool), Failure> {
        let part =
            |table: &Option<String>| table.as_ref().map(|table| format!("SELECT key FROM {table} WHERE key >= ?1"));
        let parts: Vec<String> = [part(&self.keys), part(&self.history)].into_iter().flatten().collect();
        if parts.is_empty() {
            return Ok((Vec::new(), true));
        }
        let sql = format!("{} ORDER BY key LIMIT ?2", parts.join(" UNION "));
        let mut query = self.connection.prepare_cached(&sql)?;
        let mut rows = query.query((prefix, CANDIDATES_MAX + 1))?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            // Whatever is no text is no key.
            let Ok(key) = row.get::<_, String>(0) else { continue };
            if !key.starts_with(prefix) {
                break;
            }
            if keys.len() == CANDIDATES_MAX as usize {
                return Ok((keys, false));
            }
            keys.push(key);
        }
        Ok((keys, true))
    }

    fn one(&self, condition: &str, params: impl Params) -> Result<Option<Operation>, Failure> {
        let Some(history) = &self.history else { return Ok(None) };
        let sql = format!("SELECT {COLUMNS} FROM {history} WHERE {condition}");
        Ok(self.connection.prepare_cached(&sql)?.query_row(params, operation).optional()?)
    }

    fn each(
        &self,
        condition: &str,
        params: impl Params,
        mut take: impl FnMut(Operation) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(history) = &self.history else { return Ok(()) };
        let sql = format!("SELECT {COLUMNS} FROM {history} WHERE {condition}");
        let mut query = self.connection.prepare_cached(&sql)?;
        let mut rows = query.query(params)?;
        while let Some(row) = rows.next()? {
            take(operation(row)?)?;
        }
        Ok(())
    }
}

fn operation(row: &Row<'_>) -> rusqlite::Result<Operation> {
    let stored = |at: usize| -> rusqlite::Result<Option<Stored>> {
        let Some(value) = row.get::<_, Option<Vec<u8>>>(at)? else { return Ok(None) };
        let content_type: Option<String> = row.get(at + 1)?;
        Ok(Some(Stored { value, content_type: content_type.unwrap_or_default(), expire_at: row.get(at + 2)? }))
    };
    Ok(Operation {
        number: row.get(0)?,
        op: row.get(1)?,
        path: row.get(2)?,
        delta: row.get(3)?,
        ts: row.get(4)?,
        unrecorded_until: row.get(5)?,
        old: stored(6)?,
        new: stored(9)?,
    })
}
