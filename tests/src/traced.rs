//! A mount with its lock tracer, and what the tracer counted. Called by the tests of the tracer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::{Mount, eventually};

/// A mount whose tracer is at work.
///
/// # Panics
/// If there is no tracer.
pub fn traced(options: &[&str]) -> Mount {
    let mount = Mount::with(options);
    eventually("the tracer is at work", || mount.status()["tracer"] != "starting");
    let status = mount.status();
    assert_eq!(status["tracer"], "on", "{}", status["tracer_missing"]);
    mount
}

/// Asks the daemon as `hoodydb top` and `hoodydb trace` do.
///
/// # Panics
/// If it does not answer.
pub fn ask(mount: &Mount, mut question: Value) -> Value {
    let sockets =
        std::fs::read_dir(mount.run_directory()).expect("a run directory").flatten().map(|entry| entry.path());
    let socket = sockets.into_iter().find(|path| path.extension().is_some_and(|end| end == "sock")).expect("a socket");
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    question["version"] = json!(1);
    stream.write_all(format!("{question}\n").as_bytes()).expect("the question is taken");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Everything that the tracer counted; nothing was lost on the way.
///
/// # Panics
/// If the daemon does not answer, or something was lost.
pub fn sample(mount: &Mount) -> Value {
    let answer = ask(mount, json!({ "command": "sample" }));
    let sample = answer["sample"].clone();
    for lost in ["lost_rows", "lost_starts", "lost_holds"] {
        assert_eq!(sample[lost], 0, "{lost}");
    }
    assert!(sample.is_object(), "{answer}");
    sample
}

/// A count, summed up over the rows that are meant.
///
/// # Panics
/// If a row has no such count.
pub fn sum(sample: &Value, count: &str, meant: impl Fn(&Value) -> bool) -> u64 {
    let rows = sample["rows"].as_array().expect("rows");
    rows.iter().filter(|row| meant(row)).map(|row| row[count].as_u64().expect("a count")).sum()
}

/// The largest of a figure over the rows that are meant, 0 if there is none.
///
/// # Panics
/// If a row has no such figure.
pub fn largest(sample: &Value, figure: &str, meant: impl Fn(&Value) -> bool) -> u64 {
    let rows = sample["rows"].as_array().expect("rows");
    rows.iter().filter(|row| meant(row)).map(|row| row[figure].as_u64().expect("a figure")).max().unwrap_or(0)
}

/// Lock calls and unlocks that the tracer saw.
///
/// # Panics
/// As [`sample`].
pub fn calls_traced(mount: &Mount) -> u64 {
    let sample = sample(mount);
    sum(&sample, "calls", |_| true) + sum(&sample, "unlocks", |_| true)
}

/// Lock calls and unlocks that the daemon was asked for.
///
/// # Panics
/// If the daemon does not answer.
pub fn calls_answered(mount: &Mount) -> u64 {
    mount.status()["requests"]["SETLK"].as_u64().unwrap_or(0)
}

/// Asserts that tracer and daemon counted the same; a client's calls end a moment after the daemon has answered them.
///
/// # Panics
/// If the counts stay apart.
pub fn assert_same_count(mount: &Mount) {
    eventually("the tracer counts what the daemon counts", || calls_traced(mount) == calls_answered(mount));
}
