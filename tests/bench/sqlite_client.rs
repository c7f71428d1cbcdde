//! A client's connection to an SQLite file, on the mount or on the disk alike. Called by [`crate::client`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, ErrorCode};

use crate::cases::Journal;
use crate::client::{BODY, BULK_ROWS, ROWS, Session};

const SELECT: &str = "SELECT body FROM items WHERE id = ?";
const INSERT: &str = "INSERT INTO events(body) VALUES (?)";

/// Bytes of one row of the wide table, and its rows: 200 MB.
const WIDE_ROW_BYTES: i64 = 1_000;
const WIDE_ROWS: i64 = 200_000;

/// A kept connection, made at its first use.
pub struct SqliteClient {
    path: PathBuf,
    journal: Journal,
    busy_timeout: Duration,
    kept: Option<Connection>,
}

impl SqliteClient {
    /// Opens nothing yet.
    pub fn new(path: &Path, journal: Journal, busy_timeout: Duration) -> Self {
        Self { path: path.to_owned(), journal, busy_timeout, kept: None }
    }

    fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "synchronous", self.journal.synchronous())?;
        Ok(connection)
    }

    fn connection(&mut self) -> Result<&Connection> {
        let connection = match self.kept.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.kept.insert(connection))
    }

    /// Does `work` inside BEGIN IMMEDIATE and COMMIT.
    ///
    /// # Errors
    /// If a statement fails; the transaction is rolled back.
    pub fn transaction<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection()?;
        execute(connection, "BEGIN IMMEDIATE")?;
        let done = work(connection).and_then(|given| execute(connection, "COMMIT").map(|()| given));
        if done.is_err() && !connection.is_autocommit() {
            execute(connection, "ROLLBACK")?;
        }
        done
    }
}

impl Session for SqliteClient {
    fn select(&mut self, key: i64) -> Result<()> {
        select(self.connection()?, key)
    }

    fn insert(&mut self) -> Result<()> {
        insert(self.connection()?)
    }

    fn write_transaction(&mut self) -> Result<()> {
        self.transaction(insert)
    }

    fn ten_and_ten(&mut self, keys: [i64; 10]) -> Result<()> {
        self.transaction(|connection| {
            keys.iter().try_for_each(|key| select(connection, *key).and_then(|()| insert(connection)))
        })
    }

    fn bulk(&mut self) -> Result<()> {
        self.transaction(|connection| (0..BULK_ROWS).try_for_each(|_| insert(connection)))
    }

    fn scan(&mut self) -> Result<()> {
        let mut statement = self.connection()?.prepare_cached("SELECT sum(length(body)) FROM wide")?;
        let bytes: i64 = statement.query_row([], |row| row.get(0))?;
        ensure!(bytes == WIDE_ROWS * WIDE_ROW_BYTES, "the scan read {bytes} bytes");
        Ok(())
    }

    fn open(&mut self, key: i64) -> Result<()> {
        select(&self.connect()?, key)
    }

    fn shell(&mut self, key: i64) -> Result<()> {
        let mut shell = Command::new("sqlite3");
        run_shell(shell.arg("-batch").arg(&self.path).arg(format!("SELECT body FROM items WHERE id = {key}")))
    }

    fn refusal(&self, error: &anyhow::Error) -> Option<String> {
        let error = error.downcast_ref::<rusqlite::Error>()?;
        let busy = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
        let code = error.sqlite_error_code().filter(|code| busy.contains(code));
        code.map(|_| error.sqlite_error().map_or_else(|| error.to_string(), named))
    }
}

/// The name that SQLite's documentation has for what contention can answer.
fn named(error: &rusqlite::ffi::Error) -> String {
    match error.extended_code {
        rusqlite::ffi::SQLITE_BUSY => "SQLITE_BUSY".to_owned(),
        rusqlite::ffi::SQLITE_BUSY_SNAPSHOT => "SQLITE_BUSY_SNAPSHOT".to_owned(),
        rusqlite::ffi::SQLITE_BUSY_RECOVERY => "SQLITE_BUSY_RECOVERY".to_owned(),
        code => format!("SQLITE_BUSY ({code})"),
    }
}

/// Runs a shell that must print the row.
///
/// # Errors
/// If it fails or prints something else.
pub fn run_shell(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let is_row = output.status.success() && output.stdout.trim_ascii() == BODY.as_bytes();
    ensure!(is_row, "{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn execute(connection: &Connection, statement: &str) -> Result<()> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

fn select(connection: &Connection, key: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(SELECT)?;
    let is_row = statement.query_row([key], |row| Ok(row.get_ref(0)?.as_bytes()? == BODY.as_bytes()))?;
    ensure!(is_row, "row {key} is not what was written");
    Ok(())
}

/// Writes one row.
///
/// # Errors
/// If SQLite refuses.
pub fn insert(connection: &Connection) -> Result<()> {
    connection.prepare_cached(INSERT)?.execute([BODY])?;
    Ok(())
}

/// Makes a new database: `items` with [`ROWS`] rows, and `events` with none.
///
/// # Errors
/// If SQLite cannot.
pub fn create(path: &Path, journal: Journal) -> Result<()> {
    let connection = Connection::open(path).with_context(|| path.display().to_string())?;
    connection.pragma_update(None, "journal_mode", journal.mode())?;
    connection.execute_batch("BEGIN; CREATE TABLE events(id INTEGER PRIMARY KEY, body TEXT);")?;
    fill_items(&connection)?;
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Makes the table `items` in a running transaction.
///
/// # Errors
/// If SQLite cannot.
pub fn fill_items(connection: &Connection) -> Result<()> {
    connection.execute_batch("CREATE TABLE items(id INTEGER PRIMARY KEY, body TEXT);")?;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO items SELECT i, ? FROM n";
    connection.execute(fill, (ROWS, BODY))?;
    Ok(())
}

/// Adds the wide table.
///
/// # Errors
/// If SQLite cannot.
pub fn create_wide(path: &Path) -> Result<()> {
    let connection = Connection::open(path).with_context(|| path.display().to_string())?;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO wide SELECT i, zeroblob(?) FROM n";
    connection.execute_batch("CREATE TABLE wide(id INTEGER PRIMARY KEY, body BLOB);")?;
    connection.execute(fill, (WIDE_ROWS, WIDE_ROW_BYTES))?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Removes a database that nobody has open.
///
/// # Errors
/// If one of its files is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| Path::new(&file).display().to_string());
            }
            _ => {}
        }
    }
    Ok(())
}
