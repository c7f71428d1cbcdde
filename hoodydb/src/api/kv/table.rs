//! The table that a request names: its own keys, its own history, and the SQL that both are reached by.
//!
//! Called by every endpoint of keys. A name that passes here is quoted wherever it stands in SQL; nothing else of a request does.

use std::sync::{Arc, LazyLock};

use super::super::{Failure, Params};

/// The table of requests that name none.
pub(in crate::api) const DEFAULT: &str = "kv_store";

/// The most bytes of a name.
const NAME_MAX: usize = 64;

/// A table of keys.
#[derive(Clone, Debug)]
pub(in crate::api) struct Table(Arc<Texts>);

/// A table's names and statements.
#[derive(Debug)]
struct Texts {
    name: String,
    tbl: String,
    trigger: String,
    read: String,
    load: String,
    store: String,
    touch: String,
    remove: String,
    record: String,
}

impl Table {
    /// The table that the parameter `table` names.
    ///
    /// # Errors
    /// 400 if it cannot be the name of one.
    pub(in crate::api) fn of(params: &Params) -> Result<Self, Failure> {
        static USUAL: LazyLock<Table> = LazyLock::new(|| Table(Arc::new(Texts::new(DEFAULT))));
        match params.first("table") {
            None | Some(DEFAULT) => Ok(USUAL.clone()),
            Some(name) => Self::named(name),
        }
    }

    /// The table of a name.
    ///
    /// # Errors
    /// 400 if it cannot be the name of one.
    pub(in crate::api) fn named(name: &str) -> Result<Self, Failure> {
        let lower = name.to_ascii_lowercase();
        let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !starts || !rest || name.len() > NAME_MAX {
            return Err(Failure::parameters(
                "table must be letters, digits and underscores, not a digit first, of at most 64",
            ));
        }
        if lower.starts_with("sqlite_") || lower.ends_with("_history") {
            return Err(Failure::parameters("table must not start with sqlite_ or end with _history"));
        }
        Ok(Self(Arc::new(Texts::new(name))))
    }

    /// The name as it was sent.
    pub(in crate::api) fn name(&self) -> &str {
        &self.0.name
    }

    /// The name in the internal tables: SQLite takes names whatever their case, so it is lower there.
    pub(in crate::api) fn tbl(&self) -> &str {
        &self.0.tbl
    }

    /// The name for use in SQL.
    pub(in crate::api) fn quoted(&self) -> String {
        format!("\"{}\"", self.0.name)
    }

    /// The name of the history.
    pub(in crate::api) fn history_name(&self) -> String {
        format!("{}_history", self.0.name)
    }

    /// The name of the history for use in SQL.
    pub(in crate::api) fn history(&self) -> String {
        format!("\"{}_history\"", self.0.name)
    }

    /// The names of the triggers that tell the change log: of inserts, updates, changed keys and deletes.
    pub(super) fn triggers(&self) -> [String; 4] {
        ["insert", "update", "move", "delete"].map(|of| format!("hoody:kv_{of}:{}", self.0.tbl))
    }

    /// The name of the trigger of inserts.
    pub(super) fn insert_trigger(&self) -> &str {
        &self.0.trigger
    }

    /// Reads the key `?1` of the table `?2`, which has the trigger `?3`, see [`super::entry::Entry`]; no row if it does not exist.
    ///
    /// Parameters are cast, here and below: SQLite looks at the value of a bare one when it plans a join, and would plan anew, which
    /// takes ten times as long as the statement itself, whenever a kept statement is used again.
    pub(super) fn read(&self) -> &str {
        &self.0.read
    }

    /// The same of `?1` and `?2`, with the schema that the table was last ensured under; always a row if it ever was.
    pub(super) fn load(&self) -> &str {
        &self.0.load
    }

    /// Stores `?1` key, `?2` value, `?3` content type, `?4` made at, `?5` written at, `?6` expiry.
    pub(super) fn store(&self) -> &str {
        &self.0.store
    }

    /// Gives the key `?1` the expiry `?2`.
    pub(super) fn touch(&self) -> &str {
        &self.0.touch
    }

    /// Removes the key `?1`.
    pub(super) fn remove(&self) -> &str {
        &self.0.remove
    }

    /// Adds an operation to the history, and gives the newest change of its key; `?12` is the table.
    pub(super) fn record(&self) -> &str {
        &self.0.record
    }
}

impl Texts {
    fn new(name: &str) -> Self {
        let tbl = name.to_ascii_lowercase();
        let (key, second) = ("CAST(?1 AS TEXT)", "CAST(?2 AS TEXT)");
        let newest =
            |tbl| format!("(SELECT max(c.seq) FROM \"hoody:kv_changes\" c WHERE c.tbl = {tbl} AND c.key = {key})");
        let columns =
            format!("t.value, t.content_type, t.created_at, t.updated_at, t.expire_at, {}, m.epoch", newest(second));
        // A table that somebody dropped and made again has lost its triggers, and its old tags say nothing of its new rows.
        let read = format!(
            "SELECT {columns}, s.rowid IS NOT NULL FROM \"{name}\" t LEFT JOIN \"hoody:kv_meta\" m ON m.tbl = {second} \
             LEFT JOIN sqlite_schema s ON s.rowid = m.trigger_row AND s.name = CAST(?3 AS TEXT) WHERE t.key = {key}"
        );
        let load = format!(
            "SELECT {columns}, m.schema, t.key IS NOT NULL FROM \"hoody:kv_meta\" m LEFT JOIN \"{name}\" t ON t.key = {key} \
             WHERE m.tbl = {second}"
        );
        let store = format!(
            "INSERT INTO \"{name}\"(key, value, content_type, created_at, updated_at, expire_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT(key) DO UPDATE SET value = excluded.value, content_type = excluded.content_type, \
             created_at = excluded.created_at, updated_at = excluded.updated_at, expire_at = excluded.expire_at"
        );
        let touch = format!("UPDATE \"{name}\" SET expire_at = ?2 WHERE key = ?1");
        let remove = format!("DELETE FROM \"{name}\" WHERE key = ?1");
        let record = format!(
            "INSERT INTO \"{name}_history\"(key, op_number, op, path, delta, ts, old_value, old_content_type, old_expire_at, \
             new_value, new_content_type, new_expire_at) \
             VALUES (?1, (SELECT coalesce(max(h.op_number), 0) + 1 FROM \"{name}_history\" h WHERE h.key = {key}), \
             ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING {}",
            newest("CAST(?12 AS TEXT)")
        );
        let trigger = format!("hoody:kv_insert:{tbl}");
        Self { name: name.to_owned(), tbl, trigger, read, load, store, touch, remove, record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_something_else_are_refused() {
        for name in [
            "",
            "1a",
            "a-b",
            "a b",
            "a\"b",
            "é",
            "sqlite_x",
            "SQLite_x",
            "a_history",
            "_query_history",
            &"a".repeat(65),
        ] {
            assert_eq!(Table::named(name).unwrap_err().code, "INVALID_PARAMETERS", "{name}");
        }
        for name in ["a", "_", "Cache9", &"a".repeat(64)] {
            assert_eq!(Table::named(name).unwrap().name(), name);
        }
        assert_eq!(Table::named("Cache").unwrap().tbl(), "cache");
        assert_eq!(Table::of(&Params::default()).unwrap().name(), DEFAULT);
    }
}
