//! Keeps the change log short: a day and a million changes, and beyond them only the newest change of each key that exists, which
//! is its ETag.
//!
//! Called after writes, a step at a time, and by the sweeper. A change is only looked at once, when it becomes too old: then the
//! older ones of its key go, and itself if it is not the newest.

use rusqlite::{Connection, OptionalExtension, params};

/// For how long changes are kept, in seconds.
const KEPT_S: i64 = 24 * 3600;

/// How many changes are kept.
const KEPT: i64 = 1_000_000;

/// Changes that become too old in one step, at most.
const STEP: i64 = 512;

/// Writes take a step each time so many changes have been logged; fewer than a step's, so that the log gets shorter.
pub(super) const EVERY: i64 = 256;

/// Removes changes from the old end of the log; how many of them were looked at.
///
/// # Errors
/// SQLite's.
pub(super) fn step(connection: &Connection, newest: i64, now: i64) -> rusqlite::Result<usize> {
    let oldest = "SELECT oldest FROM \"hoody:kv_meta\" LIMIT 1";
    let oldest: Option<i64> = connection.prepare_cached(oldest)?.query_row([], |row| row.get(0)).optional()?;
    let Some(oldest) = oldest else { return Ok(0) };
    let mut end = oldest;
    let mut looked_at = 0;
    let mut query =
        connection.prepare_cached("SELECT seq, ts FROM \"hoody:kv_changes\" WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = query.query(params![oldest, STEP])?;
    while let Some(row) = rows.next()? {
        let (seq, ts): (i64, i64) = (row.get(0)?, row.get(1)?);
        if ts > now - KEPT_S && seq > newest - KEPT {
            break;
        }
        end = seq + 1;
        looked_at += 1;
    }
    drop(rows);
    if end == oldest {
        return Ok(0);
    }
    let superseded = "DELETE FROM \"hoody:kv_changes\" WHERE seq IN ( \
          SELECT o.seq FROM \"hoody:kv_changes\" e JOIN \"hoody:kv_changes\" o \
          ON o.tbl = e.tbl AND o.key = e.key AND o.seq < e.seq WHERE e.seq >= ?1 AND e.seq < ?2)";
    connection.prepare_cached(superseded)?.execute([oldest, end])?;
    let over = "DELETE FROM \"hoody:kv_changes\" WHERE seq >= ?1 AND seq < ?2 AND (op IN ('delete', 'expire') OR EXISTS ( \
          SELECT 1 FROM \"hoody:kv_changes\" n WHERE n.tbl = \"hoody:kv_changes\".tbl AND n.key = \"hoody:kv_changes\".key \
          AND n.seq > \"hoody:kv_changes\".seq))";
    connection.prepare_cached(over)?.execute([oldest, end])?;
    connection.prepare_cached("UPDATE \"hoody:kv_meta\" SET oldest = ?1")?.execute([end])?;
    Ok(looked_at)
}

/// Removes every change but the newest of each key that exists.
///
/// # Errors
/// SQLite's.
pub(super) fn compact(connection: &Connection) -> rusqlite::Result<()> {
    let newest = "SELECT max(seq) FROM \"hoody:kv_changes\" GROUP BY tbl, key";
    let over = format!("DELETE FROM \"hoody:kv_changes\" WHERE op IN ('delete', 'expire') OR seq NOT IN ({newest})");
    connection.execute(&over, []).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::super::schema::{ensure, meta, newest};
    use super::*;

    fn log(connection: &Connection) -> Vec<(String, String)> {
        let mut query = connection.prepare("SELECT key, op FROM \"hoody:kv_changes\" ORDER BY seq").unwrap();
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    fn is(log: &[(String, String)], expected: &[(&str, &str)]) -> bool {
        log.iter().map(|(key, op)| (key.as_str(), op.as_str())).eq(expected.iter().copied())
    }

    #[test]
    fn what_is_too_old_goes_but_for_the_tags_of_keys_that_exist() {
        let connection = Connection::open_in_memory().unwrap();
        let table = Table::named("t").unwrap();
        ensure(&connection, &table, 1000).unwrap();
        let writes = "INSERT INTO t(key, value) VALUES ('a', 1), ('b', 1), ('c', 1); \
                      UPDATE t SET value = 2 WHERE key = 'a'; DELETE FROM t WHERE key = 'b';";
        connection.execute_batch(writes).unwrap();
        let age = "UPDATE \"hoody:kv_changes\" SET ts = 1000";
        connection.execute_batch(age).unwrap();
        assert_eq!(step(&connection, 5, 1000 + KEPT_S - 1), Ok(0));
        assert_eq!(log(&connection).len(), 5);
        assert_eq!(step(&connection, 5, 1000 + KEPT_S), Ok(5));
        assert!(is(&log(&connection), &[("c", "set"), ("a", "set")]));
        assert_eq!(meta(&connection, &table).unwrap().unwrap().oldest, 6);
        // A tag that is superseded later goes when its successor becomes too old.
        connection.execute_batch("UPDATE t SET value = 3 WHERE key = 'c'").unwrap();
        connection.execute_batch(age).unwrap();
        assert_eq!(log(&connection).len(), 3);
        assert_eq!(step(&connection, 6, 1000 + KEPT_S), Ok(1));
        assert!(is(&log(&connection), &[("a", "set"), ("c", "set")]));
        assert_eq!(newest(&connection), Ok(6));
    }

    #[test]
    fn more_than_the_most_changes_go_however_young() {
        let connection = Connection::open_in_memory().unwrap();
        let table = Table::named("t").unwrap();
        ensure(&connection, &table, 1000).unwrap();
        let skip = format!(
            "INSERT INTO t(key, value) VALUES ('a', 1); DELETE FROM t; \
             UPDATE sqlite_sequence SET seq = {KEPT} WHERE name = 'hoody:kv_changes'; INSERT INTO t(key, value) VALUES ('b', 1);"
        );
        connection.execute_batch(&skip).unwrap();
        assert_eq!(step(&connection, KEPT + 1, 1000), Ok(1));
        assert!(is(&log(&connection), &[("a", "delete"), ("b", "set")]));
        assert_eq!(step(&connection, KEPT + 2, 1000), Ok(1));
        assert!(is(&log(&connection), &[("b", "set")]));
        assert_eq!(meta(&connection, &table).unwrap().unwrap().oldest, 3);
    }
}
