//! Metrics of a real mount: well formed, equal to what `status` counts, on local addresses only, over a worker's death.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::traced::traced;
use hoodydb_tests::{Client, Mount, clients, eventually};

fn exchange(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// The address that status tells.
fn scrape(mount: &Mount) -> String {
    let status = mount.status();
    let address = status["metrics"].as_str().expect("an address");
    let host = address.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).expect("a URL");
    exchange(TcpStream::connect(host).expect("somebody listens"))
}

/// Every sample by its name and labels; strict about what the format allows.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (words.next(), words.next().expect("a name"), words.next().expect("words"));
            match kind {
                Some("HELP") => assert!(!rest.is_empty()),
                Some("TYPE") => assert!(types.insert(name, rest).is_none(), "{name} has two types"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|base| types.contains_key(base)));
        let kind = types.get(family.unwrap_or(name)).unwrap_or_else(|| panic!("{name} has no type"));
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        let value: f64 = value.parse().expect("a number");
        assert!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
    }
    samples
}

#[test]
fn counts_are_those_of_status() {
    let mount = traced(&["--metrics", "127.0.0.1:0"]);
    let name = "a \"b\".db";
    database::create(&mount.path(name), Mode::Wal);
    let mut command = clients::python("session.py");
    command.arg(mount.path(name));
    let mut writer = Client::ready(command);
    writer.does("INSERT INTO events(body) VALUES ('x')");
    writer.does("BEGIN IMMEDIATE");
    let counts = mount.status()["databases"][0].clone();
    let samples = parsed(&scrape(&mount));
    let of = |metric: &str| samples.get(&format!("{metric}{{database=\"a \\\"b\\\".db\"}}")).copied();
    assert_eq!(of("hoodydb_lock_acquisitions_total"), counts["granted"].as_f64());
    assert_eq!(of("hoodydb_lock_waits_total"), counts["waited"].as_f64());
    assert_eq!(of("hoodydb_locks_held"), counts["holders"].as_f64());
    assert!(of("hoodydb_wal_size_bytes") > Some(0.0), "{samples:#?}");
    let of_role = |metric: &str, role: &str| {
        samples.get(&format!("{metric}{{database=\"a \\\"b\\\".db\",role=\"{role}\"}}")).copied()
    };
    let waits = of_role("hoodydb_lock_wait_seconds_count", "WRITE").expect("calls for WRITE");
    let holds = of_role("hoodydb_lock_hold_seconds_count", "WRITE").expect("holds of WRITE");
    assert!(holds >= 1.0 && waits == holds + 1.0, "one is still held: {waits} taken, {holds} ended");
    assert_eq!(samples["hoodydb_history_up"], 1.0);
}

#[test]
fn they_go_on_after_each_handover() {
    let mount = traced(&["--metrics", "127.0.0.1:0"]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut command = clients::python("session.py");
    command.arg(mount.path("app.db"));
    let mut writer = Client::ready(command);
    let count = |mount: &Mount| parsed(&scrape(mount))["hoodydb_lock_acquisitions_total{database=\"app.db\"}"];
    let holds = |mount: &Mount| {
        let series = "hoodydb_lock_hold_seconds_count{database=\"app.db\",role=\"WRITE\"}";
        parsed(&scrape(mount)).get(series).copied().unwrap_or(0.0)
    };
    let mut before = count(&mount);
    for (number, handover) in Mount::HANDOVERS.iter().enumerate() {
        let holds_before = holds(&mount);
        handover(&mount);
        assert!(count(&mount) >= before, "handover {number}");
        writer.does("INSERT INTO events(body) VALUES ('x')");
        let after = count(&mount);
        assert!(after > before, "handover {number}: {before}, then {after}");
        eventually("the tracer's figures go on too", || holds(&mount) > holds_before);
        before = after;
    }
    let restarts = parsed(&scrape(&mount))["hoodydb_worker_restarts_total"];
    assert_eq!(Some(restarts), mount.status()["restarts"].as_f64());
}

#[test]
fn a_backup_that_fails_is_counted() {
    let mount = Mount::with(&["--metrics", "127.0.0.1:0"]);
    database::create(&mount.path("there.db"), Mode::Wal);
    let to = mount.outside().join("backups");
    for name in ["none.db", "there.db"] {
        let words = ["backup", "schedule", "add", name, "--every", "1h", "--to", to.to_str().expect("text")];
        assert!(mount.command(&words).status.success());
    }
    let of = |figure: &str, id: u64| parsed(&scrape(&mount))[&format!("hoodydb_backup_{figure}{{schedule=\"{id}\"}}")];
    eventually("both have run", || of("runs_total", 1) == 1.0 && of("runs_total", 2) == 1.0);
    assert_eq!([1, 2].map(|id| of("failures_total", id)), [1.0, 0.0]);
    assert_eq!([1, 2].map(|id| of("failures_in_a_row", id)), [1.0, 0.0]);
    assert_eq!(parsed(&scrape(&mount))["hoodydb_backup_schedules_up"], 1.0);
}

#[test]
fn a_unix_socket_is_served_and_goes_with_the_mount() {
    let place = hoodydb_tests::Place::new();
    let path = place.path().join("metrics");
    let mount = Mount::with(&["--metrics", &format!("unix:{}", path.display())]);
    parsed(&exchange(UnixStream::connect(&path).expect("somebody listens")));
    assert!(mount.unmount().status.success());
    hoodydb_tests::eventually("the socket is gone", || !path.exists());
}

#[test]
fn an_address_that_others_reach_is_refused_and_one_in_use_told() {
    let mount = Mount::with(&["--metrics", "127.0.0.1:0"]);
    let (point, data) = (mount.outside().join("other"), mount.outside().join("other-data"));
    for directory in [&point, &data] {
        std::fs::create_dir(directory).expect("mkdir");
    }
    let refused = |address: &str| {
        let output =
            mount.hoodydb().arg("mount").arg(&point).arg("--data").arg(&data).args(["--metrics", address]).output();
        let output = output.expect("hoodydb can be run");
        (output.status.code(), text(&output.stderr))
    };
    let (code, reason) = refused("0.0.0.0:9500");
    assert!(code == Some(2) && reason.contains("--metrics-anywhere"), "{code:?} {reason}");
    let (code, reason) = refused("nowhere");
    assert!(code == Some(2) && reason.contains("127.0.0.1:9500"), "{code:?} {reason}");
    let taken = mount.status()["metrics"].as_str().expect("an address").replace("http://", "").replace("/metrics", "");
    let (code, reason) = refused(&taken);
    assert!(
        code == Some(1) && reason.contains("cannot listen for metrics") && reason.contains(&taken),
        "{code:?} {reason}"
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
    assert!(!mounts.contains(point.to_str().expect("a plain path")), "nothing was mounted");
}
