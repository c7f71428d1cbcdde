//! A client's connection to PostgreSQL, with the same statements as SQLite's. Called by [`crate::client`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, Statement};

use crate::client::{BODY, BULK_ROWS, ROWS, Session};
use crate::sqlite_client::run_shell;

/// The superuser of the temporary cluster.
pub const USER: &str = "postgres";

/// A kept connection, made at its first use.
pub struct PostgresClient {
    socket: PathBuf,
    programs: PathBuf,
    is_durable: bool,
    kept: Option<Kept>,
}

struct Kept {
    client: Client,
    select: Statement,
    insert: Statement,
}

impl PostgresClient {
    /// Connects to nothing yet.
    pub fn new(socket: &Path, programs: &Path, is_durable: bool) -> Self {
        Self { socket: socket.to_owned(), programs: programs.to_owned(), is_durable, kept: None }
    }

    fn connect(&self) -> Result<Client> {
        let mut client = connect(&self.socket)?;
        let commit = if self.is_durable { "on" } else { "off" };
        client.batch_execute(&format!("SET synchronous_commit = {commit}"))?;
        Ok(client)
    }

    fn kept(&mut self) -> Result<&mut Kept> {
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let mut client = self.connect()?;
                let select = client.prepare("SELECT body FROM items WHERE id = $1")?;
                let insert = client.prepare("INSERT INTO events(body) VALUES ($1)")?;
                Kept { client, select, insert }
            }
        };
        Ok(self.kept.insert(kept))
    }

    fn transaction(&mut self, work: impl FnOnce(&mut Kept) -> Result<()>) -> Result<()> {
        let kept = self.kept()?;
        kept.client.batch_execute("BEGIN")?;
        let done = work(kept);
        kept.client.batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        done
    }
}

impl Kept {
    fn select(&mut self, key: i64) -> Result<()> {
        let row = self.client.query_one(&self.select, &[&key])?;
        ensure!(row.try_get::<_, &str>(0)? == BODY, "row {key} is not what was written");
        Ok(())
    }

    fn insert(&mut self) -> Result<()> {
        self.client.execute(&self.insert, &[&BODY])?;
        Ok(())
    }
}

impl Session for PostgresClient {
    fn select(&mut self, key: i64) -> Result<()> {
        self.kept()?.select(key)
    }

    fn insert(&mut self) -> Result<()> {
        self.kept()?.insert()
    }

    fn write_transaction(&mut self) -> Result<()> {
        self.transaction(Kept::insert)
    }

    fn ten_and_ten(&mut self, keys: [i64; 10]) -> Result<()> {
        self.transaction(|kept| keys.iter().try_for_each(|key| kept.select(*key).and_then(|()| kept.insert())))
    }

    fn bulk(&mut self) -> Result<()> {
        self.transaction(|kept| (0..BULK_ROWS).try_for_each(|_| kept.insert()))
    }

    fn scan(&mut self) -> Result<()> {
        let row = self.kept()?.client.query_one("SELECT sum(length(body)) FROM wide", &[])?;
        let bytes: i64 = row.try_get(0)?;
        ensure!(bytes == 200_000_000, "the scan read {bytes} bytes");
        Ok(())
    }

    fn open(&mut self, key: i64) -> Result<()> {
        let mut client = connect(&self.socket)?;
        let row = client.query_one("SELECT body FROM items WHERE id = $1", &[&key])?;
        ensure!(row.try_get::<_, &str>(0)? == BODY, "row {key} is not what was written");
        client.close()?;
        Ok(())
    }

    fn shell(&mut self, key: i64) -> Result<()> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-XAqt", "-U", USER, "-d", USER, "-h"]).arg(&self.socket);
        run_shell(psql.arg("-c").arg(format!("SELECT body FROM items WHERE id = {key}")))
    }

    fn refusal(&self, error: &anyhow::Error) -> Option<String> {
        let code = error.downcast_ref::<postgres::Error>()?.code()?;
        let busy = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];
        busy.contains(code).then(|| format!("SQLSTATE {}", code.code()))
    }
}

/// Connects by the cluster's socket.
///
/// # Errors
/// If nobody serves there.
pub fn connect(socket: &Path) -> Result<Client> {
    let mut config = Config::new();
    config.host_path(socket).user(USER).dbname(USER);
    config.connect(NoTls).context("cannot connect to the temporary PostgreSQL")
}

/// Makes the tables anew, as [`crate::sqlite_client::create`] does.
///
/// # Errors
/// If PostgreSQL cannot.
pub fn create(socket: &Path, with_wide: bool) -> Result<()> {
    let mut client = connect(socket)?;
    client.batch_execute(&format!(
        "DROP TABLE IF EXISTS items, events;
        CREATE TABLE events(id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body TEXT);
        CREATE TABLE items(id BIGINT PRIMARY KEY, body TEXT);
        INSERT INTO items SELECT i, '{BODY}' FROM generate_series(1, {ROWS}) i;"
    ))?;
    if with_wide {
        client.batch_execute(
            "DROP TABLE IF EXISTS wide; CREATE TABLE wide(id BIGINT PRIMARY KEY, body BYTEA);
            INSERT INTO wide SELECT i, decode(repeat('00', 1000), 'hex') FROM generate_series(1, 200000) i;",
        )?;
        client.batch_execute("VACUUM ANALYZE wide")?;
    }
    client.batch_execute("VACUUM ANALYZE items")?;
    client.batch_execute("CHECKPOINT")?;
    Ok(())
}

/// Removes the wide table.
///
/// # Errors
/// If PostgreSQL cannot.
pub fn remove_wide(socket: &Path) -> Result<()> {
    Ok(connect(socket)?.batch_execute("DROP TABLE IF EXISTS wide")?)
}
