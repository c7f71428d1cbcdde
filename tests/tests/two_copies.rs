//! Two copies of SQLite in one process, and close() of a second descriptor inside of transactions, while others write.
//!
//! On a plain disk each of the two drops the process's locks in the middle of a transaction, and the database is damaged.

use hoodydb_tests::clients::{python, second_copy};
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Crowd, Mount, runs};

const OPERATIONS: u64 = 100;

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
