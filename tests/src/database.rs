//! Databases as the tests make and check them, with an SQLite of their own. Called by the tests, never while it would
//! take part in what they measure.

use std::path::Path;

use rusqlite::Connection;

/// How a database keeps its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A rollback journal, deleted at each commit.
    Delete,
    /// A write-ahead log.
    Wal,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Delete, Self::Wal];

    /// SQLite's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Wal => "wal",
        }
    }
}

/// Opens with no busy timeout.
///
/// # Panics
/// If it cannot be opened.
pub fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    connection.busy_timeout(std::time::Duration::ZERO).expect("a timeout can be set");
    connection
}

/// Makes a new database with `events(id, client, body)` and a counter `counter(value)` at 0.
///
/// # Panics
/// If it cannot be made.
pub fn create(path: &Path, mode: Mode) {
    let connection = open(path);
    set_mode(&connection, mode);
    let tables = "CREATE TABLE events(id INTEGER PRIMARY KEY, client, body);
        CREATE TABLE counter(value); INSERT INTO counter VALUES (0);";
    connection.execute_batch(tables).expect("the tables can be made");
}

fn set_mode(connection: &Connection, mode: Mode) {
    let set: String = connection
        .query_row(&format!("PRAGMA journal_mode = {}", mode.name()), [], |row| row.get(0))
        .expect("the journal mode can be set");
    assert_eq!(set, mode.name());
}

/// One number.
///
/// # Panics
/// If the query fails.
pub fn number(path: &Path, query: &str) -> u64 {
    let value: i64 =
        open(path).query_row(query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{query}: {error}"));
    u64::try_from(value).expect("a count")
}

/// Rows of `events`.
///
/// # Panics
/// If the query fails.
pub fn events(path: &Path) -> u64 {
    number(path, "SELECT count(*) FROM events")
}

/// Asserts that SQLite finds nothing wrong.
///
/// # Panics
/// If it does.
pub fn assert_sound(path: &Path) {
    let connection = open(path);
    let mut check = connection.prepare("PRAGMA integrity_check").expect("the check can be prepared");
    let lines: Vec<String> =
        check.query_map([], |row| row.get(0)).expect("the check runs").map(|line| line.expect("a line")).collect();
    assert_eq!(lines, ["ok"], "{}", path.display());
}
