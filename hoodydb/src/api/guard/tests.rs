//! The authorizer on a real connection.

use super::*;

fn guarded() -> (Connection, Guard) {
    let mut connection = Connection::open_in_memory().unwrap();
    let guard = Guard::attach(&mut connection).unwrap();
    connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, n TEXT); BEGIN").unwrap();
    (connection, guard)
}

/// Runs each as a client does; whether it was refused by the authorizer.
fn is_refused(connection: &Connection, guard: &Guard, sql: &str) -> bool {
    let done = guard.enforce(|| {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
        Ok(())
    });
    match done {
        Ok(()) => false,
        Err(rusqlite::Error::SqliteFailure(error, _)) | Err(rusqlite::Error::SqlInputError { error, .. }) => {
            error.code == rusqlite::ErrorCode::AuthorizationForStatementDenied
                || error.extended_code == rusqlite::ffi::SQLITE_ERROR
        }
        Err(error) => panic!("{sql}: {error}"),
    }
}

#[test]
fn what_leads_out_of_the_transaction_or_the_file_is_refused() {
    let (connection, guard) = guarded();
    for sql in [
        "BEGIN",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ATTACH '/tmp/x.db' AS x",
        "ATTACH '/tmp/' || 'x.db' AS x",
        "ATTACH ? AS x",
        "DETACH x",
        "VACUUM",
        "VACUUM INTO '/tmp/x.db'",
        "SELECT load_extension('x')",
        "SELECT Load_Extension('x', 'y')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT sqlite_log(1, 'x')",
        "PRAGMA writable_schema",
        "PRAGMA main.writable_schema = 1",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA data_store_directory",
        "PRAGMA journal_mode = memory",
        "PRAGMA locking_mode(exclusive)",
        "PRAGMA query_only = 0",
        "PRAGMA soft_heap_limit = 1",
        "PRAGMA wal_checkpoint",
        "SAVEPOINT \"hoody:item\"",
        "RELEASE \"HOODY:item\"",
    ] {
        assert!(is_refused(&connection, &guard, sql), "{sql}");
    }
    assert!(!connection.is_autocommit());
    for sql in [
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "RELEASE a",
        "PRAGMA journal_mode",
        "PRAGMA table_info('t')",
        "SELECT * FROM pragma_table_info('t')",
        "PRAGMA foreign_keys = ON",
        "PRAGMA user_version = 7",
        "CREATE TABLE u AS SELECT * FROM t",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "INSERT INTO f VALUES ('a')",
        "ANALYZE",
        "REINDEX",
        "DROP TABLE t",
    ] {
        assert!(!is_refused(&connection, &guard, sql), "{sql}");
    }
    assert!(!guard.is_spent());
}

#[test]
fn the_servers_own_statements_pass() {
    let (connection, guard) = guarded();
    guard.protect(true);
    connection.execute_batch("COMMIT; PRAGMA query_only = 0; CREATE TABLE \"hoody:kv_meta\"(a)").unwrap();
}

#[test]
fn what_stays_on_a_connection_spends_it() {
    for sql in [
        "CREATE TEMP TABLE x(a)",
        "CREATE TABLE temp.x(a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIEW temp.x AS SELECT 1",
        "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
        "PRAGMA recursive_triggers = 1",
        "PRAGMA case_sensitive_like = 1",
    ] {
        let (connection, guard) = guarded();
        assert!(!is_refused(&connection, &guard, sql), "{sql}");
        assert!(guard.is_spent(), "{sql}");
    }
}

#[test]
fn the_change_capture_is_its_own() {
    let (connection, guard) = guarded();
    let capture = "CREATE TABLE \"hoody:kv_changes\"(seq INTEGER PRIMARY KEY AUTOINCREMENT, key); CREATE TABLE kv(key);
        CREATE TRIGGER \"hoody:kv_insert:kv\" AFTER INSERT ON kv
          BEGIN INSERT INTO \"hoody:kv_changes\"(key) VALUES (NEW.key); END;
        CREATE VIEW v AS SELECT key FROM \"hoody:kv_changes\";
        CREATE TRIGGER bad AFTER DELETE ON t BEGIN DELETE FROM \"hoody:kv_changes\"; END;
        CREATE TRIGGER worse AFTER UPDATE ON t BEGIN DELETE FROM sqlite_sequence; END;
        INSERT INTO t(n) VALUES ('a')";
    connection.execute_batch(capture).unwrap();
    for (sql, needs_capture) in [
        ("SELECT * FROM 'hoody:kv_changes'", true),
        ("SELECT count(*) FROM \"hoody:kv_changes\"", true),
        ("SELECT * FROM v", true),
        ("DELETE FROM t", true),
        ("UPDATE t SET n = 'b'", true),
        ("INSERT INTO [HOODY:KV_CHANGES](key) VALUES (1)", true),
        ("ALTER TABLE \"hoody:kv_changes\" RENAME TO x", true),
        ("DROP TABLE \"hoody:kv_changes\"", true),
        ("CREATE TABLE \"hoody:kv_meta\"(a)", false),
        ("CREATE VIEW \"hoody:kv_meta\" AS SELECT 1", false),
        ("CREATE TRIGGER \"hoody:kv_x\" AFTER INSERT ON t BEGIN SELECT 1; END", false),
        ("CREATE TRIGGER x AFTER INSERT ON \"hoody:kv_changes\" BEGIN SELECT 1; END", false),
        ("CREATE INDEX x ON \"hoody:kv_changes\"(key)", false),
    ] {
        guard.protect(true);
        assert!(is_refused(&connection, &guard, sql) && guard.has_refused_internal(), "{sql}");
        guard.protect(false);
        connection.execute_batch("SAVEPOINT a").unwrap();
        assert_eq!(is_refused(&connection, &guard, sql), !needs_capture, "{sql}");
        connection.execute_batch("ROLLBACK TO a; RELEASE a").unwrap();
    }
    guard.protect(true);
    for sql in ["INSERT INTO kv VALUES ('a')", "DROP TABLE t", "DROP TABLE kv", "ANALYZE"] {
        assert!(!is_refused(&connection, &guard, sql), "{sql}");
    }
    assert!(!guard.has_refused_internal());
}
