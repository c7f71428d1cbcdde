//! Two copies of SQLite in one process, and close() of a second descriptor inside of transactions, while others write.
//!
//! On a plain disk each of the two drops the process's locks in the middle of a transaction, and the database is damaged.

use std::path::{Path, PathBuf};
use std::process::Command;

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Crowd, Mount, runs};

const OPERATIONS: u64 = 100;

/// A copy of the system's libsqlite3 under another name, so that the loader takes it for another library.
fn second_copy(directory: &Path) -> PathBuf {
    let listing =
        Command::new("ldconfig").arg("-p").output().or_else(|_| Command::new("/sbin/ldconfig").arg("-p").output());
    let listing = String::from_utf8(listing.expect("ldconfig runs").stdout).expect("text");
    let line = listing.lines().find(|line| line.contains("libsqlite3.so")).expect("libsqlite3 is installed");
    let library = line.rsplit(" => ").next().expect("a path");
    let copy = directory.join("libanother.so");
    std::fs::copy(library, &copy).expect("the library can be copied");
    copy
}

#[test]
fn two_copies_and_a_second_descriptor_survive() {
    let mount = Mount::new();
    let library = second_copy(mount.outside());
    for round in 0..runs(20) {
        for mode in Mode::ALL {
            let path = mount.path(&format!("{}-{round}.db", mode.name()));
            database::create(&path, mode);
            let clients = (0..3).map(|_| {
                let mut command = python("two_copies.py");
                command.arg(&path).arg(OPERATIONS.to_string()).arg(&library);
                command
            });
            let report = Crowd::ready(clients).report();
            assert!(report.errors.is_empty(), "{mode:?}: {:?}", report.errors);
            assert_eq!(report.done, 3 * OPERATIONS, "{mode:?}");
            assert_eq!(database::events(&path), 3 * OPERATIONS, "{mode:?}");
            assert_eq!(database::number(&path, "SELECT value FROM counter"), 3 * OPERATIONS, "{mode:?}");
            database::assert_sound(&path);
        }
    }
}
