//! The benchmark itself: it measures on a real mount, and leaves nothing behind. What it finds out is in docs/BENCHMARKS.md.

use std::process::{Command, Output, Stdio};

use hoodydb_tests::Place;
use hoodydb_tests::mount::{binary, text};
use serde_json::Value;

/// Runs it to its end, and gives what it said and its process id.
fn bench(arguments: &[&str]) -> (Output, u32) {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_hoodydb-bench"));
    bench.env("HOODYDB_BIN", binary()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let bench = bench.spawn().expect("the benchmark can be run");
    let pid = bench.id();
    (bench.wait_with_output().expect("the benchmark ends"), pid)
}

#[test]
fn a_case_is_measured_by_mount_and_disk() {
    let place = Place::new();
    let json = place.path().join("results.json");
    let path = json.to_str().expect("a temporary path is text");
    let (output, pid) = bench(&["--quick", "--without-postgres", "--only", "insert-wal-normal", "--json", path]);
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
    let beside = std::fs::read_dir(place.path().parent().expect("a directory")).expect("the directory");
    let places = beside.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<String> = places.filter(|name| name.starts_with(&format!("hoodydb-{pid}-"))).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn an_unknown_case_is_told_in_one_line() {
    let (output, _) = bench(&["--only", "no-such-case"]);
    assert!(!output.status.success());
    let errors = text(&output.stderr);
    let expected = "hoodydb-bench: no case is named so; there are: select-wal, ";
    assert!(errors.starts_with(expected) && errors.lines().count() == 1, "{errors}");
}
