//! The table of the query history.
//!
//! Called by [`super`], within a transaction. A table that is not there is an empty one.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::pending::{KEPT, Waiting};

/// The table; an id is never given twice.
pub(in crate::api) const SCHEMA: &str = r#"CREATE TABLE IF NOT EXISTS "_query_history"(
  id INTEGER PRIMARY KEY AUTOINCREMENT, sql TEXT NOT NULL, is_statement INTEGER NOT NULL, error TEXT, row_count INTEGER NOT NULL,
  execution_time_us INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, client_ip TEXT NOT NULL, source TEXT NOT NULL);"#;

/// An entry as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    id: i64,
    sql: String,
    is_statement: bool,
    success: bool,
    row_count: i64,
    execution_time_ms: i64,
    timestamp: String,
    client_ip: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Figures of the whole history.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    total_queries: i64,
    success_count: i64,
    failure_count: i64,
    avg_exec_time_ms: f64,
    last_minute: i64,
    last_hour: i64,
}

/// Whether the table is there.
pub(super) fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_query_history'";
    connection.prepare_cached(sql)?.exists([])
}

/// Appends entries, and removes the oldest beyond those that are kept.
pub(super) fn append(connection: &Connection, batch: &[Arc<Waiting>]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        r#"INSERT INTO "_query_history"(sql, is_statement, error, row_count, execution_time_us, timestamp_ms, client_ip, source)
           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
    )?;
    for Waiting { record, at_ms, client, .. } in batch.iter().map(AsRef::as_ref) {
        let rows = i64::try_from(record.row_count).unwrap_or(i64::MAX);
        let time_us = i64::try_from(record.time.as_micros()).unwrap_or(i64::MAX);
        let source = record.source.name();
        insert.execute((&record.sql, record.is_statement, &record.error, rows, time_us, at_ms, client, source))?;
    }
    let trim = r#"DELETE FROM "_query_history"
                  WHERE id <= (SELECT id FROM "_query_history" ORDER BY id DESC LIMIT 1 OFFSET ?1)"#;
    connection.prepare_cached(trim)?.execute([i64::try_from(KEPT).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// How many there are, and a page of them, newest first.
pub(super) fn page(connection: &Connection, limit: i64, offset: i64) -> rusqlite::Result<(i64, Vec<Entry>)> {
    if !exists(connection)? {
        return Ok((0, Vec::new()));
    }
    let total = connection.query_row(r#"SELECT count(*) FROM "_query_history""#, [], |row| row.get(0))?;
    let mut query = connection.prepare_cached(
        r#"SELECT id, sql, is_statement, error, row_count, execution_time_us / 1000, timestamp_ms, client_ip, source
           FROM "_query_history" ORDER BY id DESC LIMIT ?1 OFFSET ?2"#,
    )?;
    let rows = query.query_map((limit, offset), |row| {
        let error: Option<String> = row.get(3)?;
        Ok(Entry {
            id: row.get(0)?,
            sql: row.get(1)?,
            is_statement: row.get(2)?,
            success: error.is_none(),
            row_count: row.get(4)?,
            execution_time_ms: row.get(5)?,
            timestamp: rfc3339_ms(row.get(6)?),
            client_ip: row.get(7)?,
            source: row.get(8)?,
            error,
        })
    })?;
    Ok((total, rows.collect::<Result<_, _>>()?))
}

/// Figures as of `now`, in seconds since 1970.
pub(super) fn stats(connection: &Connection, now: i64) -> rusqlite::Result<Stats> {
    let none = Stats {
        total_queries: 0,
        success_count: 0,
        failure_count: 0,
        avg_exec_time_ms: 0.0,
        last_minute: 0,
        last_hour: 0,
    };
    if !exists(connection)? {
        return Ok(none);
    }
    let sql = r#"SELECT count(*), count(*) - count(error), count(error), coalesce(avg(execution_time_us), 0.0) / 1000.0,
                   count(*) FILTER (WHERE timestamp_ms > ?1 - 60000), count(*) FILTER (WHERE timestamp_ms > ?1 - 3600000)
                 FROM "_query_history""#;
    let stats = connection.query_row(sql, [now.saturating_mul(1000)], |row| {
        Ok(Stats {
            total_queries: row.get(0)?,
            success_count: row.get(1)?,
            failure_count: row.get(2)?,
            avg_exec_time_ms: row.get(3)?,
            last_minute: row.get(4)?,
            last_hour: row.get(5)?,
        })
    });
    Ok(stats.optional()?.unwrap_or(none))
}

/// Removes all entries.
pub(super) fn clear(connection: &Connection) -> rusqlite::Result<()> {
    if exists(connection)? {
        connection.execute(r#"DELETE FROM "_query_history""#, [])?;
    }
    Ok(())
}

/// Removes an entry; whether there was one.
pub(super) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    Ok(exists(connection)? && connection.execute(r#"DELETE FROM "_query_history" WHERE id = ?1"#, [id])? > 0)
}

/// A moment as RFC 3339 in UTC, from milliseconds since 1970.
fn rfc3339_ms(ms: i64) -> String {
    let moment =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}
