//! The patterns that programs are made of, eight processes at once, busy timeout 0 and 5: no error, no row lost.
//!
//! Each case also says what the same load does on the plain disk, where it fails by the hundred: see `cargo xtask demo`.

use std::path::Path;
use std::process::Command;

use hoodydb_tests::clients::python;
use hoodydb_tests::crowd::assert_all_succeeded;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Crowd, Mount, gated, runs};

const PROCESSES: usize = 8;
const OPERATIONS: usize = 50;
/// The sum of both.
const TOTAL: u64 = 400;

fn client(path: &Path, pattern: &str, timeout: u32, mode: Mode) -> Command {
    let mut command = python("everyday.py");
    command.arg(path).args([pattern, &OPERATIONS.to_string(), &timeout.to_string(), mode.name()]);
    command
}

/// Runs a pattern in both modes with both timeouts, each on a new database, and gives every database to `check`.
fn run(patterns: [&str; 2], tables: bool, check: impl Fn(&Path, Mode)) {
    let mount = Mount::new();
    for round in 0..runs(20) {
        for mode in Mode::ALL {
            for timeout in [0, 5] {
                let path = mount.path(&format!("{}-{timeout}-{round}.db", mode.name()));
                if tables {
                    database::create(&path, mode);
                }
                let clients = (0..PROCESSES).map(|index| client(&path, patterns[index % 2], timeout, mode));
                let report = Crowd::ready(clients).report();
                let case = format!("{patterns:?}, {mode:?}, timeout {timeout}, round {round}");
                assert!(report.errors.is_empty(), "{case}: {:?}", report.errors);
                assert_eq!(report.done, TOTAL, "{case}");
                check(&path, mode);
                database::assert_sound(&path);
            }
        }
    }
}

fn every_row_is_there(path: &Path, _: Mode) {
    assert_eq!(database::events(path), TOTAL);
}

fn no_update_is_lost(path: &Path, _: Mode) {
    assert_eq!(database::number(path, "SELECT value FROM counter"), TOTAL);
}

#[test]
fn connect_insert_close() {
    run(["reopen"; 2], true, every_row_is_there);
}

#[test]
fn a_kept_connection() {
    run(["insert"; 2], true, every_row_is_there);
}

#[test]
fn everybody_creates_the_tables_at_first_start() {
    run(["first_start"; 2], false, every_row_is_there);
}

#[test]
fn begin_immediate() {
    run(["immediate"; 2], true, no_update_is_lost);
}

#[test]
fn begin_select_update_commit() {
    run(["upgrade"; 2], true, no_update_is_lost);
}

#[test]
fn readers_beside_writers() {
    run(["insert", "read"], true, |path, _| assert_eq!(database::events(path), TOTAL / 2));
}

#[test]
fn eight_processes_set_wal_on_a_file_that_is_not_there() {
    run(["journal_mode"; 2], false, |path, _| {
        let mode: String =
            database::open(path).query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a journal mode");
        assert_eq!(mode, "wal");
    });
}

#[test]
fn forty_command_line_shells_at_once() {
    let mount = Mount::new();
    for round in 0..runs(20) {
        for mode in Mode::ALL {
            let path = mount.path(&format!("{}-{round}.db", mode.name()));
            database::create(&path, mode);
            let shells = (0..40).map(|number| {
                let mut shell = gated("sqlite3");
                shell.arg(&path).arg(format!("INSERT INTO events(client, body) VALUES ('shell', {number})"));
                shell
            });
            assert_all_succeeded(&Crowd::ready(shells).run());
            assert_eq!(database::events(&path), 40);
            database::assert_sound(&path);
        }
    }
}

#[test]
fn command_line_scripts() {
    let mount = Mount::new();
    let script = "INSERT INTO events(client, body) VALUES ('script', 'x');\n".repeat(OPERATIONS);
    for round in 0..runs(20) {
        for mode in Mode::ALL {
            let path = mount.path(&format!("{}-{round}.db", mode.name()));
            database::create(&path, mode);
            let shells = (0..PROCESSES).map(|_| {
                let mut shell = gated("sqlite3");
                shell.arg(&path);
                shell
            });
            assert_all_succeeded(&Crowd::ready(shells).run_with_input(&script));
            assert_eq!(database::events(&path), TOTAL);
            database::assert_sound(&path);
        }
    }
}
