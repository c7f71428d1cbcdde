//! The tables of keys, their history, and the change log that triggers keep of them, whoever writes.
//!
//! Called by every write before it touches a key, and by readers that find something missing. Only [`ensure`] makes anything;
//! what is looked up here is kept until the schema changes, by the number that SQLite gives each schema.
//!
//! ```text
//! "kv_store" --triggers--> "hoody:kv_changes"(seq, tbl, key, op, ts, expire_at)     ETag of a key: epoch "." newest seq
//!                          "hoody:kv_meta"(tbl, epoch, generation, oldest, ..)      one row per table
//! ```

use rusqlite::{Connection, OptionalExtension, params};

use super::super::Failure;
use super::Table;
use super::usable::{self, Shape};

#[cfg(test)]
mod tests;

/// What is known of a table whose changes are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Meta {
    /// Which log of this database it is: another one after its changes were reset.
    pub(in crate::api) epoch: String,
    /// Counts how often the table was found without its triggers, dropped and made again for example.
    pub(in crate::api) generation: i64,
    /// The lowest `seq` from which on no change is missing in the log.
    pub(in crate::api) oldest: i64,
}

/// What a reader finds of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum State {
    /// There is none: an empty store.
    Absent,
    /// A table whose changes nobody logs: its keys have no ETag.
    Plain,
    /// A table whose changes are logged.
    Logged(Meta),
}

/// The internal tables.
const INTERNAL: &str = r#"
CREATE TABLE IF NOT EXISTS "hoody:kv_meta"(
  tbl TEXT PRIMARY KEY NOT NULL, epoch TEXT NOT NULL, generation INTEGER NOT NULL, oldest INTEGER NOT NULL,
  schema INTEGER NOT NULL, trigger_row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS "hoody:kv_changes"(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, key TEXT NOT NULL, op TEXT NOT NULL, ts INTEGER NOT NULL,
  expire_at INTEGER);
CREATE INDEX IF NOT EXISTS "hoody:kv_changes_key" ON "hoody:kv_changes"(tbl, key, seq);
CREATE TABLE IF NOT EXISTS "hoody:kv_replies"(
  name TEXT PRIMARY KEY NOT NULL, digest BLOB NOT NULL, ts INTEGER NOT NULL, etag TEXT, body BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS "hoody:kv_replies_ts" ON "hoody:kv_replies"(ts);
"#;

/// What a table of keys is, with `@t` for its name and `@l` for its name in lower case.
const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS "@t"(
  key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,
  content_type TEXT NOT NULL DEFAULT 'application/octet-stream',
  created_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s','now') AS INTEGER)),
  updated_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s','now') AS INTEGER)),
  expire_at INTEGER);
CREATE INDEX IF NOT EXISTS "hoody:kv_expiry:@l" ON "@t"(expire_at) WHERE expire_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS "@t_history"(
  key TEXT NOT NULL, op_number INTEGER NOT NULL,
  op TEXT NOT NULL, path TEXT NOT NULL DEFAULT '', delta INTEGER,
  ts INTEGER NOT NULL, unrecorded_until INTEGER,
  old_value BLOB, old_content_type TEXT, old_expire_at INTEGER,
  new_value BLOB, new_content_type TEXT, new_expire_at INTEGER,
  PRIMARY KEY(key, op_number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS "@t_history_ts" ON "@t_history"(ts);
"#;

/// What logs the changes of a table, in the order of [`Table::triggers`].
const TRIGGERS: [&str; 4] = [
    r#"CREATE TRIGGER "hoody:kv_insert:@l" AFTER INSERT ON "@t" BEGIN
  INSERT INTO "hoody:kv_changes"(tbl, key, op, ts, expire_at)
  VALUES ('@l', NEW.key, 'set', CAST(strftime('%s','now') AS INTEGER), NEW.expire_at); END"#,
    r#"CREATE TRIGGER "hoody:kv_update:@l" AFTER UPDATE ON "@t" BEGIN
  INSERT INTO "hoody:kv_changes"(tbl, key, op, ts, expire_at)
  VALUES ('@l', NEW.key, CASE WHEN NEW.expire_at IS NOT OLD.expire_at AND NEW.value IS OLD.value
    AND NEW.content_type IS OLD.content_type AND NEW.key IS OLD.key THEN 'ttl' ELSE 'set' END,
    CAST(strftime('%s','now') AS INTEGER), NEW.expire_at); END"#,
    r#"CREATE TRIGGER "hoody:kv_move:@l" AFTER UPDATE OF key ON "@t" WHEN NEW.key IS NOT OLD.key BEGIN
  INSERT INTO "hoody:kv_changes"(tbl, key, op, ts)
  VALUES ('@l', OLD.key, 'delete', CAST(strftime('%s','now') AS INTEGER)); END"#,
    r#"CREATE TRIGGER "hoody:kv_delete:@l" AFTER DELETE ON "@t" BEGIN
  INSERT INTO "hoody:kv_changes"(tbl, key, op, ts)
  VALUES ('@l', OLD.key, CASE WHEN OLD.expire_at <= CAST(strftime('%s','now') AS INTEGER) THEN 'expire' ELSE 'delete' END,
    CAST(strftime('%s','now') AS INTEGER)); END"#,
];

fn text(template: &str, table: &Table) -> String {
    template.replace("@t", table.name()).replace("@l", table.tbl())
}

/// The number of the schema as it is now.
///
/// # Errors
/// SQLite's.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// What a reader finds of a table; makes nothing.
///
/// # Errors
/// 409 CONFLICT if it cannot hold keys; SQLite's.
pub(in crate::api) fn look(connection: &Connection, table: &Table) -> Result<State, Failure> {
    if usable::shape(connection, table)? == Shape::Absent {
        return Ok(State::Absent);
    }
    Ok(match meta(connection, table)? {
        Some(meta) if is_logged(connection, table)? => State::Logged(meta),
        _ => State::Plain,
    })
}

/// The row of a table in the internal table; none if there is none.
///
/// # Errors
/// SQLite's.
pub(in crate::api) fn meta(connection: &Connection, table: &Table) -> rusqlite::Result<Option<Meta>> {
    if !exists(connection, "hoody:kv_meta")? {
        return Ok(None);
    }
    let mut query =
        connection.prepare_cached("SELECT epoch, generation, oldest FROM \"hoody:kv_meta\" WHERE tbl = ?1")?;
    let meta = |row: &rusqlite::Row<'_>| Ok(Meta { epoch: row.get(0)?, generation: row.get(1)?, oldest: row.get(2)? });
    query.query_row([table.tbl()], meta).optional()
}

/// The number of the newest change of any table; 0 if there is none.
///
/// # Errors
/// SQLite's.
pub(in crate::api) fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    if !exists(connection, "hoody:kv_changes")? {
        return Ok(0);
    }
    // The newest change itself may have been removed, its number is not given out again.
    let newest = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'hoody:kv_changes'), 0), \
                  coalesce((SELECT max(seq) FROM \"hoody:kv_changes\"), 0))";
    connection.prepare_cached(newest)?.query_row([], |row| row.get(0))
}

/// Whether a table exists and its changes are logged.
///
/// # Errors
/// SQLite's.
pub(super) fn is_logged(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2 COLLATE NOCASE";
    connection.prepare_cached(query)?.exists([&table.triggers()[0], table.name()])
}

/// Whether a table exists.
pub(super) fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?.exists([table])
}

/// Where a trigger stands in the schema.
fn trigger_row(connection: &Connection, trigger: &str) -> rusqlite::Result<Option<i64>> {
    let query = "SELECT rowid FROM sqlite_schema WHERE type = 'trigger' AND name = ?1";
    connection.prepare_cached(query)?.query_row([trigger], |row| row.get(0)).optional()
}

/// Sees to it that a table can be written: makes what is missing of the table, its history, the change log and its triggers, and
/// gives rows that were there before an ETag. Cheap as long as nobody changes the schema.
///
/// # Errors
/// 409 CONFLICT if a table of that name cannot hold keys, see [`usable`]; SQLite's.
pub(in crate::api) fn ensure(connection: &Connection, table: &Table, now: i64) -> Result<(), Failure> {
    if known(connection, table)? == Some(version(connection)?) {
        return Ok(());
    }
    usable::check(connection, table)?;
    connection.execute_batch(INTERNAL)?;
    connection.execute_batch(&text(TABLE, table))?;
    let logs = attach(connection, table)?;
    if !logs {
        log_rows(connection, table, now, "1")?;
    }
    let row = trigger_row(connection, &table.triggers()[0])?.unwrap_or(0);
    let schema = version(connection)?;
    connection.execute(
        "INSERT INTO \"hoody:kv_meta\"(tbl, epoch, generation, oldest, schema, trigger_row) \
         VALUES (?1, coalesce((SELECT epoch FROM \"hoody:kv_meta\" LIMIT 1), lower(hex(randomblob(5)))), 1, \
           coalesce((SELECT oldest FROM \"hoody:kv_meta\" LIMIT 1), 1), ?2, ?3) \
         ON CONFLICT(tbl) DO UPDATE SET schema = ?2, trigger_row = ?3, generation = generation + ?4",
        params![table.tbl(), schema, row, !logs],
    )?;
    Ok(())
}

/// Logs rows as if they were written now.
fn log_rows(connection: &Connection, table: &Table, now: i64, which: &str) -> rusqlite::Result<()> {
    let log = format!(
        "INSERT INTO \"hoody:kv_changes\"(tbl, key, op, ts, expire_at) SELECT '{}', t.key, 'set', ?1, t.expire_at \
         FROM {} t WHERE {which}",
        table.tbl(),
        table.quoted()
    );
    connection.execute(&log, [now]).map(|_| ())
}

/// Under which schema a table was ensured last.
fn known(connection: &Connection, table: &Table) -> rusqlite::Result<Option<i64>> {
    match connection.prepare_cached("SELECT schema FROM \"hoody:kv_meta\" WHERE tbl = ?1") {
        Ok(mut query) => query.query_row([table.tbl()], |row| row.get(0)).optional(),
        Err(_) if !exists(connection, "hoody:kv_meta")? => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the triggers that are missing or other than they should be; whether all of them were there.
fn attach(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let mut complete = true;
    for (name, template) in table.triggers().iter().zip(TRIGGERS) {
        let sql = text(template, table);
        let query = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1";
        let there: Option<String> = connection.query_row(query, [name], |row| row.get(0)).optional()?;
        // A renamed table takes its triggers along, which then say its new name.
        if there.as_ref().is_some_and(|there| there.eq_ignore_ascii_case(&sql)) {
            continue;
        }
        complete = false;
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS \"{name}\""))?;
        connection.execute_batch(&sql)?;
    }
    Ok(complete)
}

/// Begins a new epoch: no cursor and no ETag of before matches any more.
///
/// # Errors
/// SQLite's.
pub(in crate::api) fn reset_changes(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    if !exists(connection, "hoody:kv_meta")? || !exists(connection, "hoody:kv_changes")? {
        return Ok(());
    }
    super::prune::compact(connection)?;
    let mut query = connection.prepare("SELECT tbl FROM \"hoody:kv_meta\"")?;
    let tables = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    for table in tables.iter().filter_map(|tbl| Table::named(tbl).ok()) {
        // Whoever replaced the file may have brought rows that no trigger has seen.
        if usable::shape(connection, &table).is_ok_and(|shape| shape == Shape::Table) {
            let unseen = "NOT EXISTS (SELECT 1 FROM \"hoody:kv_changes\" c WHERE c.tbl = '@l' AND c.key = t.key)";
            log_rows(connection, &table, now, &text(unseen, &table))?;
        }
    }
    let epoch = "UPDATE \"hoody:kv_meta\" SET oldest = ?1, epoch = (SELECT lower(hex(randomblob(5))))";
    connection.execute(epoch, [newest(connection)? + 1])?;
    Ok(())
}
