//! A database of 12 GB, made of real pages; only in long runs.

#![cfg(long_tests)]

use hoodydb_tests::database;
use hoodydb_tests::{Mount, Place};

const ROWS: u64 = 12_000;
const BYTES_PER_ROW: u64 = 1_000_000;

#[test]
fn twelve_gigabytes_insert_index_scan_vacuum() {
    // Two copies of it must fit.
    let mount = Mount::new();
    let path = mount.path("large.db");
    let mut connection = database::open(&path);
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE blobs(id INTEGER PRIMARY KEY, kind, body);")
        .expect("a table");
    for _ in 0..ROWS / 100 {
        let transaction = connection.transaction().expect("a transaction");
        let insert = format!("INSERT INTO blobs(kind, body) VALUES (abs(random()) % 100, randomblob({BYTES_PER_ROW}))");
        (0..100).for_each(|_| assert_eq!(transaction.execute(&insert, []).expect("an insert"), 1));
        transaction.commit().expect("a commit");
    }
    connection.execute_batch("CREATE INDEX by_kind ON blobs(kind);").expect("an index");
    assert!(std::fs::metadata(&path).expect("the file").len() > 11_000_000_000);
    let scanned = database::number(&path, "SELECT sum(length(body)) FROM blobs");
    assert_eq!(scanned, ROWS * BYTES_PER_ROW);
    let kinds = database::number(&path, "SELECT count(*) FROM blobs WHERE kind BETWEEN 0 AND 99");
    assert_eq!(kinds, ROWS);
    let place = Place::within(&mount.point());
    let copy = place.path().join("copy.db");
    connection.execute("VACUUM INTO ?", [copy.to_str().expect("a temporary path is text")]).expect("VACUUM INTO");
    assert_eq!(database::number(&copy, "SELECT count(*) FROM blobs"), ROWS);
    drop(connection);
    database::assert_sound(&path);
}
