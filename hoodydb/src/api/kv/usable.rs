//! Whether a table that somebody made can hold keys, and whether anything in the schema would make the change log lie.
//!
//! Called by [`super::schema`]. It reads the schema only. Whatever it refuses is 409 CONFLICT, and nothing was changed.

use rusqlite::{Connection, OptionalExtension};

use super::super::Failure;
use super::Table;

/// The columns that keys need.
const COLUMNS: [&str; 6] = ["key", "value", "content_type", "created_at", "updated_at", "expire_at"];

/// The columns that their history needs.
const HISTORY: [&str; 13] = [
    "key",
    "op_number",
    "op",
    "path",
    "delta",
    "ts",
    "unrecorded_until",
    "old_value",
    "old_content_type",
    "old_expire_at",
    "new_value",
    "new_content_type",
    "new_expire_at",
];

/// What is under a table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing.
    Absent,
    /// A table with the columns of keys.
    Table,
}

/// What is under the name.
///
/// # Errors
/// 409 CONFLICT if it is no table, or one without the columns of keys.
pub(super) fn shape(connection: &Connection, table: &Table) -> Result<Shape, Failure> {
    columns(connection, table.name(), &COLUMNS)
}

/// Whether keys can be written, or a table for them be made.
///
/// # Errors
/// 409 CONFLICT with the reason if not.
pub(super) fn check(connection: &Connection, table: &Table) -> Result<(), Failure> {
    triggers(connection, table)?;
    columns(connection, &table.history_name(), &HISTORY)?;
    if shape(connection, table)? == Shape::Absent {
        return Ok(());
    }
    let name = table.name();
    if !has_unique_key(connection, name)? {
        return refuse(format!("the table {name} does not keep its keys unique"));
    }
    if has(connection, name, CASCADES)? {
        return refuse(format!("the table {name} refers to itself with an action that changes rows"));
    }
    if has(connection, name, EXPRESSIONS)? {
        return refuse(format!("the table {name} has a unique index of expressions only"));
    }
    if has(connection, name, HIDDEN_ROWID)? {
        return refuse(format!("the columns of the table {name} hide its rowid"));
    }
    Ok(())
}

/// A foreign key to its own table that changes rows by itself.
const CASCADES: &str = "SELECT 1 FROM pragma_foreign_key_list(?1) \
     WHERE \"table\" = ?1 COLLATE NOCASE AND (on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT') \
     OR on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))";

/// A unique index without a column.
const EXPRESSIONS: &str = "SELECT 1 FROM pragma_index_list(?1) l WHERE l.\"unique\" \
     AND NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(l.name) x WHERE x.key AND x.cid <> -2)";

/// A table with rowids that have no name left.
const HIDDEN_ROWID: &str = "SELECT 1 FROM pragma_table_list(?1) l WHERE NOT l.wr AND l.schema = 'main' \
     AND 3 = (SELECT count(*) FROM pragma_table_xinfo(?1) x WHERE lower(x.name) IN ('rowid', '_rowid_', 'oid'))";

/// A unique index of the key alone.
const UNIQUE_KEY: &str = "SELECT 1 FROM pragma_index_list(?1) l WHERE l.\"unique\" AND NOT l.partial \
     AND 1 = (SELECT count(*) FROM pragma_index_info(l.name)) \
     AND EXISTS (SELECT 1 FROM pragma_index_info(l.name) i WHERE i.name = 'key' COLLATE NOCASE)";

fn has_unique_key(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    has(connection, name, UNIQUE_KEY)
}

fn has(connection: &Connection, name: &str, query: &str) -> rusqlite::Result<bool> {
    connection.prepare(query)?.exists([name])
}

fn refuse<T>(text: String) -> Result<T, Failure> {
    Err(Failure::conflict(text))
}

/// Looks at the columns under a name.
fn columns(connection: &Connection, name: &str, wanted: &[&str]) -> Result<Shape, Failure> {
    let found: Option<(String, Option<String>)> = connection
        .prepare_cached(
            "SELECT type, sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view', 'index')",
        )?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((kind, sql)) = found else { return Ok(Shape::Absent) };
    let is_virtual = sql.is_some_and(|sql| sql.to_ascii_uppercase().starts_with("CREATE VIRTUAL"));
    if kind != "table" || is_virtual {
        return refuse(format!("{name} is no ordinary table"));
    }
    let mut query = connection.prepare_cached("SELECT lower(name) FROM pragma_table_xinfo(?1)")?;
    let names = query.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|column| !names.iter().any(|name| name == column)).collect();
    if missing.is_empty() {
        return Ok(Shape::Table);
    }
    refuse(format!("the table {name} has no column {}", missing.join(", ")))
}

/// Triggers that are not ours, on the internal tables or on what names this table: the change log could not tell what they do.
fn triggers(connection: &Connection, table: &Table) -> Result<(), Failure> {
    let mut query =
        connection.prepare("SELECT name, lower(tbl_name), lower(sql) FROM sqlite_schema WHERE type = 'trigger'")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (name, on, sql): (String, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let own = Table::named(&on).is_ok_and(|on| on.triggers().contains(&name)) || table.triggers().contains(&name);
        if own {
            continue;
        }
        if on.starts_with("hoody:kv_") {
            return refuse(format!("the trigger {name} is on an internal table"));
        }
        if names(&sql.unwrap_or_default(), table.tbl()) {
            return refuse(format!("the trigger {name} names the table {}", table.name()));
        }
    }
    Ok(())
}

/// Whether a word stands in SQL.
fn names(sql: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
    sql.match_indices(word).any(|(at, _)| {
        let before = sql[..at].chars().next_back().is_some_and(is_part);
        let after = sql[at + word.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::super::schema::{State, ensure, look};
    use super::*;

    fn refusal(sql: &str) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let failure = ensure(&connection, &Table::named("t").unwrap(), 1).unwrap_err();
        assert_eq!(failure.code, "CONFLICT", "{sql}");
        failure.text
    }

    const GOOD: &str =
        "CREATE TABLE t(key TEXT PRIMARY KEY, value BLOB, content_type TEXT, created_at, updated_at, expire_at";

    #[test]
    fn what_cannot_hold_keys_is_a_conflict() {
        assert!(refusal("CREATE TABLE t(a)").contains("no column key, value"));
        assert!(refusal("CREATE VIEW t AS SELECT 1 AS key, 2 AS value").contains("no ordinary table"));
        assert!(refusal("CREATE TABLE t_history(a)").contains("t_history"));
        assert!(
            refusal("CREATE TABLE t(key, value, content_type, created_at, updated_at, expire_at)").contains("unique")
        );
        let unique = "CREATE UNIQUE INDEX u ON t(lower(value), updated_at + 1)";
        assert!(refusal(&format!("{GOOD}); {unique}")).contains("expressions"));
        assert!(refusal(&format!("{GOOD}, up REFERENCES t(key) ON DELETE SET NULL)")).contains("itself"));
        assert!(refusal(&format!("{GOOD}, rowid, _rowid_, OID)")).contains("hide its rowid"));
    }

    #[test]
    fn triggers_of_others_are_a_conflict() {
        let trigger = "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END";
        assert!(refusal(&format!("{GOOD}); {trigger}")).contains("names the table t"));
        let other = "CREATE TRIGGER x AFTER INSERT ON o BEGIN DELETE FROM \"T\"; END";
        assert!(refusal(&format!("CREATE TABLE o(a); {GOOD}); {other}")).contains("names the table t"));
        let connection = Connection::open_in_memory().unwrap();
        let unrelated = "CREATE TABLE o(a); CREATE TRIGGER x AFTER INSERT ON o BEGIN DELETE FROM o WHERE a = 'tt'; END";
        connection.execute_batch(unrelated).unwrap();
        let table = Table::named("t").unwrap();
        ensure(&connection, &table, 1).unwrap();
        let internal = "CREATE TRIGGER y AFTER INSERT ON \"hoody:kv_changes\" BEGIN SELECT 1; END";
        connection.execute_batch(internal).unwrap();
        assert!(ensure(&connection, &table, 1).unwrap_err().text.contains("internal table"));
    }

    #[test]
    fn a_table_that_others_made_is_used_as_it_is() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&format!("{GOOD}, note); INSERT INTO t(key, value) VALUES ('a', 'x')")).unwrap();
        let table = Table::named("t").unwrap();
        assert_eq!(look(&connection, &table), Ok(State::Plain));
        ensure(&connection, &table, 7).unwrap();
        assert!(matches!(look(&connection, &table), Ok(State::Logged(_))));
    }
}
