//! Connection pools: several threads with connections of their own in each of two processes.
//!
//! Conflicts between connections of one process are answered by SQLite itself before any lock call; see
//! docs/OPERATIONS.md.

use std::process::Command;

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Crowd, Mount, Report};

const CONNECTIONS: u64 = 4;
const OPERATIONS: u64 = 50;

fn two_pools(mount: &Mount, mode: Mode, timeout: u32) -> Report {
    let path = mount.path(&format!("{}-{timeout}.db", mode.name()));
    database::create(&path, mode);
    let pool = || -> Command {
        let mut command = python("pool.py");
        command.arg(&path).args([CONNECTIONS, OPERATIONS, timeout.into()].map(|number| number.to_string()));
        command
    };
    let report = Crowd::ready([pool(), pool()]).report();
    assert_eq!(database::events(&path), report.done, "{mode:?}: the rows are those that were acknowledged");
    database::assert_sound(&path);
    report
}

#[test]
fn with_a_timeout_no_error() {
    let mount = Mount::new();
    for mode in Mode::ALL {
        let report = two_pools(&mount, mode, 5);
        assert_eq!(report, Report { done: 2 * CONNECTIONS * OPERATIONS, errors: Default::default() }, "{mode:?}");
    }
}

#[test]
fn without_a_timeout_the_errors_are_busy_and_nothing_is_lost() {
    let mount = Mount::new();
    for mode in Mode::ALL {
        let report = two_pools(&mount, mode, 0);
        let errors: u64 = report.errors.values().sum();
        eprintln!(
            "{mode:?}: {errors} of {} inserts were refused inside of a process: {:?}",
            2 * CONNECTIONS * OPERATIONS,
            report.errors
        );
        assert_eq!(report.done + errors, 2 * CONNECTIONS * OPERATIONS);
        assert!(report.errors.keys().all(|name| name.starts_with("SQLITE_BUSY")), "{mode:?}: {:?}", report.errors);
    }
}
