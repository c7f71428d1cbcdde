//! `hoodydb trace` on a real mount: every call, in order, whatever happens to the daemon meanwhile.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hoodydb_tests::clients::puppet;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::traced::{ask, sample, traced};
use hoodydb_tests::{Client, Mount};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Runs Python on the mount and gives what it printed.
fn run(mount: &Mount, program: &str) -> String {
    let output =
        Command::new("python3").args(["-c", program]).current_dir(mount.point()).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// `hoodydb trace --json`, with every event up to and with `count` lines.
struct Trace {
    child: std::process::Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Trace {
    fn start(mount: &Mount, arguments: &[&str]) -> Self {
        let mut command = mount.hoodydb();
        command.args(["trace", "--json"]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().expect("hoodydb can be run");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A trace that has begun: a client locks until its first event shows.
fn trace_of(mount: &Mount, client: &mut Client, arguments: &[&str]) -> Trace {
    let mut trace = Trace::start(mount, arguments);
    client.does("f = open('first', 'w+b')");
    // Without a first event nobody knows that the trace has begun.
    let number = std::sync::atomic::AtomicBool::new(false);
    let first = std::thread::scope(|scope| {
        let read = scope.spawn(|| {
            let first = trace.next();
            number.store(true, std::sync::atomic::Ordering::Relaxed);
            first
        });
        while !number.load(std::sync::atomic::Ordering::Relaxed) {
            client.does("lock(f, fcntl.LOCK_EX)");
            std::thread::sleep(Duration::from_millis(5));
        }
        read.join().expect("a first event")
    });
    assert_eq!(first["path"], "first");
    client.does("f.close()");
    while trace.next()["kind"] != "close" {}
    trace
}

#[test]
fn a_trace_is_complete_and_in_order() {
    let mount = traced(&[]);
    let mut client = puppet(&mount.point());
    let mut trace = trace_of(&mount, &mut client, &[]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let ours = client.id();
    client.does("c = connect('app.db')");
    client.does("c.execute('BEGIN IMMEDIATE') and None");
    client.does("c.execute('INSERT INTO events(body) VALUES (1)') and None");
    client.does("c.execute('COMMIT') and None");
    client.does("g = open('mark', 'w+b')");
    client.does("lock(g, fcntl.LOCK_EX, 5, 2)");
    let mut events = Vec::new();
    loop {
        let event = trace.next();
        assert!(event["lost"].is_null(), "{event}");
        if event["path"] == "mark" {
            assert_eq!((&event["start"], &event["end"], &event["role"]), (&json!(5), &json!(6), &json!("BYTES")));
            break;
        }
        events.push(event);
    }
    let times: Vec<u64> = events.iter().map(|event| event["ended_ns"].as_u64().expect("a time")).collect();
    assert!(times.is_sorted());
    events.retain(|event| event["pid"] == ours);
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            format!(
                "{} {} {}",
                event["path"].as_str().unwrap(),
                event["kind"].as_str().unwrap(),
                event["role"].as_str().unwrap()
            )
        })
        .collect();
    let position =
        |what: &str| told.iter().position(|line| line == what).unwrap_or_else(|| panic!("{what}: {told:#?}"));
    let order = [
        "app.db read OPENING",
        "app.db read SHARED",
        "app.db unlock OPENING",
        "app.db-shm read DMS",
        "app.db-shm write WRITE",
        "app.db-shm unlock WRITE",
    ];
    let positions = order.map(position);
    assert!(positions.is_sorted(), "{told:#?}");
    // The statement's own transaction is the last: its unlock tells how long WRITE was held.
    let unlock = events.iter().rfind(|event| event["kind"] == "unlock" && event["role"] == "WRITE").expect("an unlock");
    assert!(unlock["held_ns"].as_u64() > Some(0) && unlock["comm"] == "python3");
    client.signal(Signal::KILL);
    let mut closed = Vec::new();
    while closed.len() < 3 {
        let event = trace.next();
        assert_eq!((&event["kind"], &event["pid"], &event["comm"]), (&json!("close"), &json!(ours), &json!("python3")));
        closed.push(format!("{} {}", event["path"].as_str().unwrap(), event["role"].as_str().unwrap()));
    }
    closed.sort();
    assert_eq!(closed, ["app.db SHARED", "app.db-shm DMS", "mark BYTES"]);
}

#[test]
fn a_trace_of_one_database_shows_its_wal_index_too() {
    let mount = traced(&[]);
    for name in ["a.db", "b.db"] {
        database::create(&mount.path(name), Mode::Wal);
    }
    let mut trace = Trace::start(&mount, &["--db", "a.db", "--count", "40"]);
    let insert = "import sqlite3\nfor n in 'ab':\n c = sqlite3.connect(n + '.db'); c.execute('INSERT INTO events(body) VALUES (1)'); c.commit(); c.close()";
    let mut paths = Vec::new();
    std::thread::scope(|scope| {
        let reading =
            scope.spawn(|| (0..40).map(|_| trace.next()["path"].as_str().unwrap_or_default().to_owned()).collect());
        while !reading.is_finished() {
            run(&mount, insert);
        }
        paths = reading.join().expect("forty lines");
    });
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths, ["a.db", "a.db-shm"]);
}

#[test]
fn a_trace_goes_on_over_each_handover() {
    let mount = traced(&[]);
    let mut client = puppet(&mount.point());
    let mut trace = trace_of(&mount, &mut client, &[]);
    client.does("g = open('mark', 'w+b')");
    for byte in 0..6 {
        client.does(&format!("lock(g, fcntl.LOCK_EX, {byte}, 1)"));
        Mount::HANDOVERS[byte % 3](&mount);
    }
    // What a worker had taken out of the kernel when it died is told as missing.
    let (mut seen, mut lost) = (Vec::new(), 0);
    while seen.len() as u64 + lost < 6 {
        let event = trace.next();
        match event["lost"].as_u64() {
            Some(more) => lost += more,
            None => seen.push(event["start"].as_u64().expect("a byte")),
        }
    }
    assert!(seen.is_sorted() && seen.len() >= 4 && seen.last() == Some(&5), "{seen:?}, {lost} lost");
}

#[test]
fn ten_thousand_events_a_second_are_read_without_a_loss() {
    let mount = traced(&[]);
    const SECONDS: u64 = 3;
    const EACH: u64 = 5_000 * SECONDS;
    // Two processes at a steady pace: what is under test is the reading, not how fast this machine locks.
    let program = "import fcntl, os, sys, time\nf = open(sys.argv[1], 'w+b')\nprint('ready', flush=True); sys.stdin.readline()\n\
        begun = time.monotonic()\nfor n in range(int(sys.argv[2]) // 2):\n\
        \x20fcntl.lockf(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_UN)\n\
        \x20ahead = n / 2500 - (time.monotonic() - begun)\n\
        \x20if ahead > 0.002: time.sleep(ahead)\nprint('took', time.monotonic() - begun, flush=True)";
    let mut clients: Vec<Client> = ["x", "y"]
        .iter()
        .map(|name| {
            let mut command = Command::new("python3");
            command.args(["-c", program]).arg(mount.path(name)).arg(EACH.to_string());
            Client::ready(command)
        })
        .collect();
    let mut cursor =
        ask(&mount, json!({ "command": "events", "cursor": null, "db": null }))["events"]["cursor"].clone();
    clients.iter_mut().for_each(|client| client.tell("go"));
    let mut seen = 0;
    let begun = Instant::now();
    while seen < 2 * EACH {
        let answer = ask(&mount, json!({ "command": "events", "cursor": cursor, "db": null }));
        assert_eq!(answer["events"]["lost"], 0);
        let events = answer["events"]["events"].as_array().expect("events").len() as u64;
        seen += events;
        cursor = answer["events"]["cursor"].clone();
        std::thread::sleep(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(60), "{seen} of {}", 2 * EACH);
    }
    assert_eq!(seen, 2 * EACH);
    assert_eq!(sample(&mount)["lost_events"], 0);
    for mut client in clients {
        eprintln!("{} calls: {} s", EACH, client.line());
    }
}

#[test]
fn names_of_processes_cannot_speak_to_a_terminal() {
    let mount = traced(&[]);
    let mut client = puppet(&mount.point());
    client.does("libc.prctl(15, b'\\x1b[2J\\x9b\\x07', 0, 0, 0) or None");
    let mut command = mount.hoodydb();
    command.args(["trace", "--count", "3"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("hoodydb can be run");
    client.does("f = open('evil\\x1b]0;x\\x07', 'w+b')");
    while child.try_wait().expect("a child").is_none() {
        client.does("lock(f, fcntl.LOCK_EX)");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output").stdout;
    let text = String::from_utf8(output).expect("text");
    assert!(text.contains("\\u{1b}[2J") && text.contains("evil\\u{1b}]0;x\\u{7}"), "{text}");
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
}
