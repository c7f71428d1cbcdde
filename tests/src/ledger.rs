//! Which rows were acknowledged to which client, and whether the database still has them. Called by tests that kill.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::clients::{Client, python};
use crate::database;

/// A `load.py` client and what it was told.
pub struct Inserter {
    client: Client,
    name: String,
}

/// Acknowledged rows as (client, number), and errors.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Rows that a client was told are committed.
    pub acknowledged: BTreeSet<(String, u64)>,
    /// Errors in the order of their arrival.
    pub errors: Vec<String>,
}

impl Inserter {
    /// Starts one and lets it insert, with a busy timeout in seconds.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(path: &Path, name: &str, timeout: u32) -> Self {
        let mut command: Command = python("load.py");
        command.arg(path).arg(name).arg(timeout.to_string());
        let mut client = Client::ready(command);
        client.tell("go");
        Self { client, name: name.to_owned() }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until one more row is acknowledged (or an error told).
    ///
    /// # Panics
    /// If nothing comes.
    pub fn wait_for_one(&mut self, ledger: &mut Ledger) {
        let line = self.client.line();
        ledger.note(&self.name, &line);
    }

    /// kill -9, and everything that was acknowledged before.
    ///
    /// # Panics
    /// If it does not die.
    pub fn kill(self, ledger: &mut Ledger) {
        self.client.signal(rustix::process::Signal::KILL);
        self.end(ledger);
    }

    /// Lets it end by itself, without waiting for that.
    pub fn stop(&mut self) {
        self.client.close();
    }

    /// Lets it end by itself, and everything that was acknowledged before.
    ///
    /// # Panics
    /// If it does not end.
    pub fn end(self, ledger: &mut Ledger) {
        let finished = self.client.finish();
        finished.output.iter().for_each(|line| ledger.note(&self.name, line));
    }
}

impl Ledger {
    fn note(&mut self, name: &str, line: &str) {
        match line.strip_prefix("ack ").and_then(|number| number.parse().ok()) {
            Some(number) => _ = self.acknowledged.insert((name.to_owned(), number)),
            // The last line of a killed client may be half of one.
            None if line.starts_with("error: ") => self.errors.push(line.to_owned()),
            None => {}
        }
    }

    /// Asserts that there was no error, and that the database has every acknowledged row exactly once and no other row.
    ///
    /// Only for clients that ended by themselves: one that was killed may have committed what it could not tell.
    ///
    /// # Panics
    /// If not.
    pub fn assert_exactly(&self, path: &Path) {
        assert!(self.errors.is_empty(), "{} errors, the first: {:?}", self.errors.len(), self.errors.first());
        self.assert_kept(path);
        let rows = database::events(path);
        assert_eq!(rows, self.acknowledged.len() as u64, "{}: rows that are there, and acknowledged", path.display());
    }

    /// Asserts that the database is sound and has every acknowledged row.
    ///
    /// # Panics
    /// If not.
    pub fn assert_kept(&self, path: &Path) {
        database::assert_sound(path);
        let connection = database::open(path);
        let mut query = connection.prepare("SELECT client, body FROM events").expect("a query");
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).expect("rows");
        let there: BTreeSet<(String, u64)> =
            rows.map(|row| row.expect("a row")).map(|(name, number)| (name, number.unsigned_abs())).collect();
        let lost: Vec<_> = self.acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "{}: {} acknowledged rows are lost: {lost:?}", path.display(), lost.len());
    }
}
