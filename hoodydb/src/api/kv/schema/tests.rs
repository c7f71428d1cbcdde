use super::*;

fn table() -> Table {
    Table::named("T").unwrap()
}

fn open(sql: &str) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

fn log(connection: &Connection) -> Vec<String> {
    let entry = "SELECT tbl || ' ' || key || ' ' || op || ' ' || coalesce(expire_at, '') FROM \"hoody:kv_changes\" ORDER BY seq";
    let mut query = connection.prepare(entry).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn known_meta(connection: &Connection) -> Meta {
    meta(connection, &table()).unwrap().unwrap()
}

#[test]
fn whoever_writes_is_logged() {
    let connection = open("");
    ensure(&connection, &table(), 5).unwrap();
    let sql = "INSERT INTO t(key, value) VALUES ('a', 'x'); UPDATE t SET expire_at = 4000000000; \
               UPDATE t SET value = 'y'; UPDATE t SET key = 'b'; UPDATE t SET expire_at = 1; DELETE FROM t; \
               INSERT INTO t(key, value) VALUES ('c', 'x'); DELETE FROM t;";
    connection.execute_batch(sql).unwrap();
    let log = log(&connection);
    assert_eq!(log[..3], ["t a set ", "t a ttl 4000000000", "t a set 4000000000"]);
    let mut moved = log[3..5].to_vec();
    moved.sort();
    assert_eq!(moved, ["t a delete ", "t b set 4000000000"]);
    assert_eq!(log[5..], ["t b ttl 1", "t b expire ", "t c set ", "t c delete "]);
}

#[test]
fn rows_from_before_get_a_tag_and_a_second_look_changes_nothing() {
    let made = text(TABLE, &table());
    let connection = open(&format!("{made}; INSERT INTO t(key, value, expire_at) VALUES ('a', 'x', 9)"));
    assert_eq!(look(&connection, &table()), Ok(State::Plain));
    ensure(&connection, &table(), 5).unwrap();
    assert_eq!(log(&connection), ["t a set 9"]);
    let before = (version(&connection).unwrap(), connection.total_changes());
    ensure(&connection, &table(), 5).unwrap();
    assert_eq!((version(&connection).unwrap(), connection.total_changes()), before);
    assert_eq!(look(&connection, &table()), Ok(State::Logged(known_meta(&connection))));
}

#[test]
fn a_table_that_was_made_again_is_another_generation() {
    let connection = open("");
    ensure(&connection, &table(), 5).unwrap();
    connection.execute_batch("INSERT INTO t(key, value) VALUES ('a', 'x'); DROP TABLE t;").unwrap();
    assert_eq!(look(&connection, &table()), Ok(State::Absent));
    connection
        .execute_batch(&format!("{}; INSERT INTO t(key, value) VALUES ('a', 'z')", text(TABLE, &table())))
        .unwrap();
    assert_eq!(look(&connection, &table()), Ok(State::Plain));
    ensure(&connection, &table(), 5).unwrap();
    let meta = known_meta(&connection);
    assert_eq!(meta.generation, 2);
    assert_eq!(log(&connection), ["t a set ", "t a set "]);
    // One that was renamed has taken the triggers along.
    connection.execute_batch("ALTER TABLE t RENAME TO old").unwrap();
    ensure(&connection, &table(), 5).unwrap();
    connection.execute_batch("INSERT INTO old(key, value) VALUES ('b', 'z')").unwrap();
    assert_eq!(log(&connection).len(), 2);
    assert_eq!(known_meta(&connection).generation, 3);
}

#[test]
fn a_reset_ends_cursors_and_tags_and_keeps_one_change_of_each_key() {
    let connection = open("");
    reset_changes(&connection, 5).unwrap();
    assert!(!exists(&connection, "hoody:kv_meta").unwrap());
    ensure(&connection, &table(), 5).unwrap();
    ensure(&connection, &Table::named("u").unwrap(), 5).unwrap();
    let sql = "INSERT INTO t(key, value) VALUES ('a', 'x'), ('b', 'x'), ('c', 'x'); UPDATE t SET value = 'y'; \
               DELETE FROM t WHERE key = 'b'; DELETE FROM \"hoody:kv_changes\" WHERE key = 'c';";
    connection.execute_batch(sql).unwrap();
    let before = known_meta(&connection);
    reset_changes(&connection, 5).unwrap();
    let after = known_meta(&connection);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.generation, before.generation);
    assert_eq!(log(&connection), ["t a set ", "t c set "]);
    assert_eq!(after.oldest, newest(&connection).unwrap() + 1);
    let other = meta(&connection, &Table::named("u").unwrap()).unwrap().unwrap();
    assert_eq!(other.epoch, after.epoch);
}
