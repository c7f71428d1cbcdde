//! A database whose content is right or wrong at one look: the sum over its accounts never changes.
//!
//! Called by the tests of backup, restore and vacuum.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::clients::python;
use crate::database::{self, Mode};
use crate::{Client, Report};

/// Makes one of about so many megabytes, whose state is called `name`.
///
/// # Panics
/// If it cannot be made.
pub fn create(path: &Path, mode: Mode, megabytes: u32, name: &str) {
    database::create(path, mode);
    let connection = database::open(path);
    let tables = "BEGIN; CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance); CREATE TABLE filling(id INTEGER PRIMARY KEY, x);
        CREATE TABLE state(name);
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) INSERT INTO accounts SELECT i, 100 FROM n;";
    connection.execute_batch(tables).expect("the tables can be made");
    let filling = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO filling SELECT i, randomblob(970) FROM n";
    connection.execute(filling, [megabytes * 1000]).expect("it can be filled");
    connection.execute("INSERT INTO state VALUES (?)", [name]).expect("its state can be named");
    connection.execute_batch("COMMIT; CREATE INDEX by_content ON filling(x)").expect("it can be committed");
}

/// Asserts that a database on the mount is sound and its sum right; gives the name of its state.
///
/// # Panics
/// If not.
pub fn state(path: &Path) -> String {
    state_of(&database::open(path), path)
}

/// The same for a file that nobody writes to: nothing is made beside it.
///
/// # Panics
/// If not.
pub fn state_of_file(path: &Path) -> String {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(&uri, flags).unwrap_or_else(|error| panic!("{uri}: {error}"));
    state_of(&connection, path)
}

fn state_of(connection: &Connection, path: &Path) -> String {
    let shown = path.display();
    let sum: i64 =
        connection.query_row("SELECT sum(balance) FROM accounts", [], |row| row.get(0)).expect("a sum over accounts");
    assert_eq!(sum, 100_000, "{shown}: money is lost or made");
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("the check runs");
    assert_eq!(sound, "ok", "{shown}");
    connection.query_row("SELECT name FROM state", [], |row| row.get(0)).expect("the state has a name")
}

/// Processes that move money until they are stopped.
pub struct Clerks(Vec<Client>);

impl Clerks {
    /// Lets `number` of them begin.
    ///
    /// # Panics
    /// If one cannot be started.
    pub fn begin(path: &Path, number: usize) -> Self {
        let clerk = |_| {
            let mut command = python("bank.py");
            command.arg(path);
            Client::ready(command)
        };
        let mut clerks: Vec<Client> = (0..number).map(clerk).collect();
        clerks.iter_mut().for_each(|clerk| clerk.tell("go"));
        Self(clerks)
    }

    /// Stops them, and gives what they did.
    ///
    /// # Panics
    /// If one ends badly.
    pub fn end(mut self) -> Report {
        self.0.iter_mut().for_each(Client::close);
        let mut sum = Report::default();
        for clerk in self.0 {
            let finished = clerk.finish();
            assert!(finished.status.success(), "{}: {}", finished.name, finished.errors);
            let line = finished.output.last().expect("a clerk reports");
            sum.add(serde_json::from_str(line).expect("a report"));
        }
        sum
    }
}
