//! The benchmark itself: it measures on a real mount, and leaves nothing behind. What it finds out is in docs/BENCHMARKS.md.

use std::path::Path;
use std::process::{Command, Output};

use hoodydb_tests::Place;
use hoodydb_tests::mount::{binary, text};
use serde_json::Value;

fn bench(place: &Path, arguments: &[&str]) -> Output {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_hoodydb-bench"));
    bench.env("HOODYDB_BIN", binary()).env("HOODYDB_TEST_DIR", place).args(arguments);
    bench.output().expect("the benchmark can be run")
}

#[test]
fn a_case_is_measured_by_mount_and_disk() {
    let place = Place::new();
    let json = place.path().join("results.json");
    let within = place.directory("within");
    let path = json.to_str().expect("a temporary path is text");
    let output = bench(&within, &["--quick", "--without-postgres", "--only", "insert-wal-normal", "--json", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let results: Value = serde_json::from_slice(&std::fs::read(&json).expect("the results")).expect("JSON");
    let cases = results["cases"].as_array().expect("cases");
    let peers: Vec<&str> = cases.iter().filter_map(|case| case["peer"].as_str()).collect();
    assert_eq!(peers, ["Mount", "Disk"]);
    for case in cases {
        for round in case["rounds"].as_array().expect("rounds") {
            assert!(round["writes"]["operations"].as_u64() > Some(0), "{case:#}");
            assert_eq!(round["writes"]["errors"], serde_json::json!({}), "{case:#}");
        }
    }
    assert_eq!(std::fs::read_dir(&within).expect("the directory").count(), 0, "something is left behind");
}

#[test]
fn an_unknown_case_is_told_in_one_line() {
    let place = Place::new();
    let output = bench(place.path(), &["--only", "no-such-case"]);
    assert!(!output.status.success());
    let errors = text(&output.stderr);
    assert!(
        errors.starts_with("hoodydb-bench: no case is named so; there are: select-wal") && errors.lines().count() == 1,
        "{errors}"
    );
}
