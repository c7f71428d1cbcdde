//! Readers and long transactions in WAL mode: neither waits for the other.

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Client, Mount};

fn session(mount: &Mount, database: &str) -> Client {
    let mut command = python("session.py");
    command.arg(mount.path(database));
    Client::ready(command)
}

#[test]
fn a_new_reader_ends_while_a_writer_holds() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut writer = session(&mount, "app.db");
    writer.does("BEGIN IMMEDIATE");
    writer.does("INSERT INTO events(body) VALUES ('held')");
    for _ in 0..5 {
        let mut reader = session(&mount, "app.db");
        assert_eq!(reader.ask("rows SELECT count(*) FROM events"), "0");
        reader.does("close");
    }
    writer.does("COMMIT");
    assert_eq!(database::events(&mount.path("app.db")), 1);
}

#[test]
fn long_readers_never_block_writers() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut readers: Vec<Client> = (0..4).map(|_| session(&mount, "app.db")).collect();
    for reader in &mut readers {
        reader.does("BEGIN");
        assert_eq!(reader.ask("rows SELECT count(*) FROM events"), "0");
    }
    let mut writers: Vec<Client> = (0..2).map(|_| session(&mount, "app.db")).collect();
    for _ in 0..50 {
        writers.iter_mut().for_each(|writer| writer.does("INSERT INTO events(body) VALUES ('x')"));
    }
    for reader in &mut readers {
        assert_eq!(reader.ask("rows SELECT count(*) FROM events"), "0", "a reader keeps its snapshot");
        reader.does("COMMIT");
        assert_eq!(reader.ask("rows SELECT count(*) FROM events"), "100");
    }
}

#[test]
fn a_reader_that_becomes_a_writer_on_an_old_snapshot_is_refused_at_once() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut late = session(&mount, "app.db");
    late.does("BEGIN");
    assert_eq!(late.ask("rows SELECT count(*) FROM events"), "0");
    let mut writer = session(&mount, "app.db");
    writer.does("BEGIN IMMEDIATE");
    writer.does("INSERT INTO events(body) VALUES ('x')");
    // The holder still holds: the refusal does not wait for it.
    assert_eq!(late.ask("INSERT INTO events(body) VALUES ('late')"), "error: database is locked");
    writer.does("COMMIT");
    assert_eq!(database::events(&mount.path("app.db")), 1);
}
