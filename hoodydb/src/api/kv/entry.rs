//! A key as it is stored, read with its ETag by one statement.
//!
//! Called by every endpoint of keys. It makes nothing: a table that does not exist is an empty store. What native programs store in
//! other types than ours is read as the text that SQLite prints.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::super::Failure;
use super::schema::{self, State};
use super::{Table, content};

/// A row of a table of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Entry {
    pub(in crate::api) value: Vec<u8>,
    pub(in crate::api) content_type: String,
    /// Seconds since 1970, as the next two.
    pub(in crate::api) created_at: i64,
    pub(in crate::api) updated_at: i64,
    pub(in crate::api) expire_at: Option<i64>,
    /// With its quotes; none where nobody logs the changes of the table.
    pub(in crate::api) etag: Option<String>,
}

/// The ETag of a key whose newest change has this number, with its quotes.
pub(in crate::api) fn etag(epoch: &str, seq: i64) -> String {
    format!("\"{epoch}.{seq}\"")
}

impl Entry {
    /// Whether the key still exists at a moment.
    pub(in crate::api) fn is_live(&self, now: i64) -> bool {
        self.expire_at.is_none_or(|expire_at| expire_at > now)
    }

    /// Reads a key, its time over or not.
    ///
    /// # Errors
    /// 409 CONFLICT if the table cannot hold keys; SQLite's.
    pub(in crate::api) fn read(connection: &Connection, table: &Table, key: &str) -> Result<Option<Self>, Failure> {
        let entry = |row: &Row<'_>| Ok((Self::of(row)?, row.get::<_, bool>(7)?));
        match connection.prepare_cached(table.read()) {
            Ok(mut query) => match query.query_row([key, table.tbl(), table.insert_trigger()], entry).optional()? {
                Some((mut entry, is_logged)) => {
                    if entry.etag.is_some() && !is_logged {
                        // VACUUM may have moved the trigger in the schema; or it is gone, and the tag says nothing.
                        let logged = matches!(schema::look(connection, table)?, State::Logged(_));
                        entry.etag = entry.etag.filter(|_| logged);
                    }
                    Ok(Some(entry))
                }
                None => Ok(None),
            },
            Err(error) => Self::read_plain(connection, table, key, error),
        }
    }

    /// Reads a key where a table is missing.
    fn read_plain(
        connection: &Connection,
        table: &Table,
        key: &str,
        error: rusqlite::Error,
    ) -> Result<Option<Self>, Failure> {
        match schema::look(connection, table)? {
            State::Absent => Ok(None),
            State::Logged(_) => Err(error.into()),
            State::Plain => {
                let query = format!(
                    "SELECT value, content_type, created_at, updated_at, expire_at, NULL, NULL FROM {} WHERE key = ?1",
                    table.quoted()
                );
                Ok(connection.prepare_cached(&query)?.query_row([key], Self::of).optional()?)
            }
        }
    }

    /// The first seven columns of [`Table::read`].
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let etag = match (row.get_ref(5)?, row.get_ref(6)?) {
            (ValueRef::Integer(seq), ValueRef::Text(epoch)) => Some(etag(&String::from_utf8_lossy(epoch), seq)),
            _ => None,
        };
        Ok(Self {
            value: bytes(row.get_ref(0)?),
            content_type: content_type(row.get_ref(1)?),
            created_at: seconds(row.get_ref(2)?).unwrap_or(0),
            updated_at: seconds(row.get_ref(3)?).unwrap_or(0),
            expire_at: seconds(row.get_ref(4)?),
            etag,
        })
    }
}

/// The bytes of a value.
pub(in crate::api) fn bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => number.to_string().into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_owned(),
    }
}

/// A key, or another text of a row.
pub(in crate::api) fn text(value: ValueRef<'_>) -> String {
    String::from_utf8(bytes(value)).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A content type.
pub(in crate::api) fn content_type(value: ValueRef<'_>) -> String {
    let text = text(value);
    if text.is_empty() { content::UNKNOWN.to_owned() } else { text }
}

/// A moment; what is no number is none, which SQLite also takes for later than any number.
pub(in crate::api) fn seconds(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(seconds) => Some(seconds),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a fraction of a second does not count, and the cast saturates"
        )]
        ValueRef::Real(seconds) => Some(seconds as i64),
        ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{StatementStatus, params_from_iter};

    use super::*;

    #[test]
    fn a_key_is_sought_by_a_plan_that_is_made_once() {
        let connection = Connection::open_in_memory().unwrap();
        let table = Table::named("t").unwrap();
        schema::ensure(&connection, &table, 1).unwrap();
        for sql in [table.read(), table.load(), table.store(), table.touch(), table.remove(), table.record()] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let count = plan.parameter_count();
            let steps = plan.query_map(params_from_iter(vec!["a"; count]), |row| row.get(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(steps.iter().all(|step| !step.starts_with("SCAN")), "{sql}: {steps:?}");
            for value in ["a", "t", "b"] {
                let mut statement = connection.prepare_cached(sql).unwrap();
                let mut rows = statement.query(params_from_iter(vec![value; count])).unwrap();
                while rows.next().unwrap().is_some() {}
            }
            let statement = connection.prepare_cached(sql).unwrap();
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
        }
    }
}
