//! The lock tracer on a real mount: what it counts is what the daemon counted, and its times are those of the clients' clocks.
//!
//! These tests need what the tracer needs (root, a kernel with type information) and fail where that is missing.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hoodydb_tests::clients::puppet;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Client, Mount, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A mount whose tracer is at work.
fn traced(options: &[&str]) -> Mount {
    let mount = Mount::with(options);
    eventually("the tracer is at work", || mount.status()["tracer"] != "starting");
    let status = mount.status();
    assert_eq!(status["tracer"], "on", "{}", status["tracer_missing"]);
    mount
}

/// Asks the daemon as `hoodydb top` and `hoodydb trace` do.
fn ask(mount: &Mount, mut question: Value) -> Value {
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

fn sample(mount: &Mount) -> Value {
    let answer = ask(mount, json!({ "command": "sample" }));
    let sample = answer["sample"].clone();
    for lost in ["lost_rows", "lost_starts", "lost_holds"] {
        assert_eq!(sample[lost], 0, "{lost}");
    }
    assert!(sample.is_object(), "{answer}");
    sample
}

/// A count, summed up over the rows that are meant.
fn sum(sample: &Value, count: &str, meant: impl Fn(&Value) -> bool) -> u64 {
    let rows = sample["rows"].as_array().expect("rows");
    rows.iter().filter(|row| meant(row)).map(|row| row[count].as_u64().expect("a count")).sum()
}

/// Lock calls and unlocks that the tracer saw.
fn calls_traced(mount: &Mount) -> u64 {
    let sample = sample(mount);
    sum(&sample, "calls", |_| true) + sum(&sample, "unlocks", |_| true)
}

/// Lock calls and unlocks that the daemon was asked for.
fn calls_answered(mount: &Mount) -> u64 {
    mount.status()["requests"]["SETLK"].as_u64().unwrap_or(0)
}

/// A client's calls end a moment after the daemon has answered them.
fn assert_same_count(mount: &Mount) {
    eventually("the tracer counts what the daemon counts", || calls_traced(mount) == calls_answered(mount));
}

fn python_in(mount: &Mount, program: &str) -> Client {
    let mut client = puppet(&mount.point());
    client.does(program);
    client
}

/// Runs Python on the mount and gives what it printed.
fn run(mount: &Mount, program: &str) -> String {
    let output =
        Command::new("python3").args(["-c", program]).current_dir(mount.point()).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn inode(mount: &Mount, name: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(mount.path(name)).expect("a file").ino()
}

#[test]
fn every_call_of_sqlite_is_counted_once() {
    let mount = traced(&[]);
    for (mode, name) in Mode::ALL.into_iter().zip(["a.db", "b.db"]) {
        database::create(&mount.path(name), mode);
    }
    let mut crowd: Vec<Client> = (0..6)
        .map(|index| {
            let program = "import sqlite3, sys\nprint('ready', flush=True); sys.stdin.readline()\n\
                 for _ in range(40):\n c = sqlite3.connect(sys.argv[1], timeout=5); \
                 c.execute('INSERT INTO events(body) VALUES (1)'); c.commit(); c.close()";
            let mut command = Command::new("python3");
            command.args(["-c", program]).arg(mount.path(if index % 2 == 0 { "a.db" } else { "b.db" }));
            Client::ready(command)
        })
        .collect();
    crowd.iter_mut().for_each(|client| client.tell("go"));
    for client in crowd {
        let finished = client.finish();
        assert!(finished.status.success(), "{}", finished.errors);
    }
    assert_same_count(&mount);
    let sample = sample(&mount);
    assert!(sum(&sample, "calls", |_| true) > 1_000, "{sample:#}");
    let [granted, refused, interrupted, calls] =
        ["granted", "refused", "interrupted", "calls"].map(|count| sum(&sample, count, |_| true));
    assert_eq!(granted + refused + interrupted, calls);
    let totals = &mount.status()["totals"];
    assert_eq!(json!(granted), totals["granted"], "grants");
    let refusals = totals["refusals"].as_object().expect("refusals").values().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(refused, refusals, "refusals");
    let held: u64 = sample["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| row["holds"].as_array().expect("buckets"))
        .filter_map(Value::as_u64)
        .sum();
    // An upgrade that is taken back ends two holds by one call, so only the order is exact.
    assert!(held >= granted / 2, "{held} holds of {granted} grants have ended");
}

#[test]
fn calls_that_the_kernel_answers_itself_are_not_counted() {
    let mount = traced(&[]);
    let mut client = python_in(&mount, "f = open('plain', 'wb')");
    client.does("lock(f, fcntl.LOCK_EX)");
    assert_eq!(client.ask("lock(open('plain', 'rb'), fcntl.LOCK_EX)"), "EBADF");
    assert_eq!(
        client.ask("fcntl.fcntl(f, fcntl.F_SETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, -5, 0, 0))"),
        "EINVAL"
    );
    client.does("fcntl.flock(f, fcntl.LOCK_EX)");
    client.does("fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_UNLCK, 0, 0, 0, 0)) and None");
    client.does("lock(f, fcntl.LOCK_UN)");
    assert_same_count(&mount);
    let sample = sample(&mount);
    assert_eq!(sum(&sample, "calls", |row| row["role"] == "BYTES"), 1);
    assert_eq!(sum(&sample, "unlocks", |_| true), 2);
}

#[test]
fn locks_of_an_ordinary_file_are_no_locks_of_sqlite() {
    let mount = traced(&[]);
    let mut client = python_in(&mount, "f = open('plain', 'w+b')");
    for (start, length) in [(120, 1), (123, 5), (100, 100), (0, 0)] {
        client.does(&format!("lock(f, fcntl.LOCK_EX, {start}, {length})"));
        client.does(&format!("lock(f, fcntl.LOCK_UN, {start}, {length})"));
    }
    client.does("index = open('x.db-shm', 'w+b')");
    client.does("lock(index, fcntl.LOCK_EX, 120, 1)");
    client.does("lock(index, fcntl.LOCK_EX, 124, 4)");
    client.does("lock(index, fcntl.LOCK_EX, 0, 0)");
    let sample = sample(&mount);
    let of = |name: &str, role: &str| {
        let ino = inode(&mount, name);
        sum(&sample, "calls", |row| row["ino"] == ino && row["role"] == role)
    };
    assert_eq!((of("plain", "BYTES"), of("plain", "WRITE")), (4, 0));
    assert_eq!((of("x.db-shm", "WRITE"), of("x.db-shm", "READ1"), of("x.db-shm", "BYTES")), (1, 1, 1));
}

/// A lock taken and let go of by one client, with the times that its own clock told: (least, most) that it can have been held.
fn held_by_clock(client: &mut Client, take: &str, sleep: f64, let_go: &str) -> (u64, u64) {
    client.does(&format!(
        "def hold():\\n global begun, granted, freeing\\n begun = time.monotonic_ns(); {take}; granted = time.monotonic_ns()\\n \
         time.sleep({sleep})\\n freeing = time.monotonic_ns(); {let_go}"
    ));
    client.does("hold()");
    client.does("freed = time.monotonic_ns()");
    let mut read = |name: &str| client.ask(name).parse::<u64>().expect("a time");
    let (begun, granted, freeing, freed) = (read("begun"), read("granted"), read("freeing"), read("freed"));
    (freeing - granted, freed - begun)
}

#[test]
fn a_lock_is_shown_as_held_for_as_long_as_its_holder_held_it() {
    let mount = traced(&[]);
    database::create(&mount.path("app.db"), Mode::Delete);
    let mut holder = python_in(&mount, "c = connect('app.db')");
    let (least, most) = held_by_clock(&mut holder, "c.execute('BEGIN IMMEDIATE')", 2.0, "c.execute('COMMIT')");
    let pid = holder.id();
    let sample = sample(&mount);
    let reserved = |row: &Value| row["pid"] == pid && row["role"] == "RESERVED";
    let held = sum(&sample, "held_ns_max", reserved);
    assert!((least..=most).contains(&held), "{least} <= {held} <= {most}");
    assert!(most - least < 100_000_000, "the client's own calls took {} ns", most - least);
    let rows = sample["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| reserved(row)).expect("a row");
    assert_eq!(row["comm"], "python3");
    assert_eq!(row["dev"], rustix::fs::stat(mount.point()).expect("the mount").st_dev);
    assert_eq!(row["ino"], inode(&mount, "app.db"));
    // 2^30 ns <= 2 s < 2^31 ns.
    assert_eq!(row["holds"][30], 1);
}

#[test]
fn a_hold_ends_by_close() {
    let mount = traced(&[]);
    let mut client = python_in(&mount, "f = open('plain', 'w+b')");
    let (least, most) = held_by_clock(&mut client, "lock(f, fcntl.LOCK_EX, 7, 1)", 0.2, "f.close()");
    let sample = sample(&mount);
    let held = sum(&sample, "held_ns_total", |row| row["role"] == "BYTES");
    assert!((least..=most).contains(&held), "{least} <= {held} <= {most}");
    // Of an open file description: only with its last descriptor.
    client.does("f = open('other', 'w+b'); g = os.dup(f.fileno())");
    let take = "fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))";
    let (least, _) = held_by_clock(&mut client, take, 0.2, "os.close(g); time.sleep(0.1); f.close()");
    eventually("the hold ends", || {
        let ino = inode(&mount, "other");
        sum(&self::sample(&mount), "held_ns_total", |row| row["ino"] == ino) > least + 100_000_000
    });
}

#[test]
fn a_hold_ends_by_kill() {
    let mount = traced(&[]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut holder = python_in(&mount, "c = connect('app.db')");
    let begun = Instant::now();
    holder.does("c.execute('BEGIN IMMEDIATE') and None");
    let granted = Instant::now();
    let index = inode(&mount, "app.db-shm");
    std::thread::sleep(Duration::from_millis(300));
    let least = granted.elapsed();
    holder.signal(Signal::KILL);
    let holds = || {
        let sample = sample(&mount);
        sum(&sample, "held_ns_max", |row| row["ino"] == index && row["role"] == "WRITE")
    };
    eventually("the hold of a killed process ends", || holds() > 0);
    let (held, most) = (Duration::from_nanos(holds()), begun.elapsed());
    assert!(least <= held && held <= most, "{least:?} <= {held:?} <= {most:?}");
    // Its rows become those of all that have ended, and nothing is lost by that.
    let before = calls_traced(&mount);
    let pid = holder.id();
    drop(holder);
    eventually("the row of the dead is folded", || {
        let sample = sample(&mount);
        sum(&sample, "calls", |row| row["pid"] == pid) == 0
    });
    assert_eq!(calls_traced(&mount), before);
    assert!(sum(&sample(&mount), "held_ns_max", |row| row["ino"] == index && row["pid"] == 0) > 0);
}

#[test]
fn waits_agree_with_the_clocks_of_those_who_waited() {
    let mount = traced(&[]);
    let mut holder = python_in(&mount, "f = open('plain', 'w+b')");
    let mut total = Duration::ZERO;
    let mut waiter = python_in(&mount, "f = open('plain', 'w+b')");
    for round in 0..10_u64 {
        holder.does("lock(f, fcntl.LOCK_EX)");
        waiter.tell("begun = time.monotonic_ns(); fcntl.lockf(f, fcntl.LOCK_EX); took = time.monotonic_ns() - begun");
        eventually("it waits", || mount.status()["waiters"] == 1);
        std::thread::sleep(Duration::from_millis(20 + round));
        holder.does("lock(f, fcntl.LOCK_UN)");
        waiter.expect("ok");
        total += Duration::from_nanos(waiter.ask("took").parse().expect("a time"));
        waiter.does("lock(f, fcntl.LOCK_UN)");
    }
    let pid = waiter.id();
    let sample = sample(&mount);
    let waited = Duration::from_nanos(sum(&sample, "wait_ns_total", |row| row["pid"] == pid));
    assert!(waited <= total && waited > total.mul_f64(0.99), "{waited:?} of {total:?}");
    let rows = sample["rows"].as_array().expect("rows");
    let long: u64 = rows
        .iter()
        .filter(|row| row["pid"] == pid)
        .flat_map(|row| {
            row["waits"].as_array().expect("buckets")[20..].iter().filter_map(Value::as_u64).collect::<Vec<_>>()
        })
        .sum();
    assert_eq!(long, 10, "waits of a millisecond and more");
}

#[test]
fn refusals_and_interruptions_are_told_apart() {
    let mount = traced(&["--max-wait", "1s"]);
    let mut holder = python_in(&mount, "f = open('plain', 'w+b')");
    let mut other = python_in(&mount, "f = open('plain', 'w+b')");
    holder.does("lock(f, fcntl.LOCK_EX)");
    for _ in 0..3 {
        assert_eq!(other.ask("lock(f, fcntl.LOCK_EX)"), "EAGAIN");
    }
    let pid = other.id();
    assert_eq!(sum(&sample(&mount), "refused", |row| row["pid"] == pid), 3);
    // A process that is killed while it waits leaves no call at work behind.
    other.tell("fcntl.lockf(f, fcntl.LOCK_EX)");
    eventually("it waits", || mount.status()["waiters"] == 1);
    other.signal(Signal::KILL);
    eventually("the call of a killed process ends", || sum(&sample(&mount), "interrupted", |_| true) == 1);
    assert_same_count(&mount);
}

#[test]
fn counts_go_on_when_a_worker_dies() {
    let mount = traced(&[]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut client = python_in(&mount, "c = connect('app.db')");
    let mut begun = python_in(&mount, "f = open('plain', 'w+b')");
    begun.does("lock(f, fcntl.LOCK_EX)");
    let mut before = calls_traced(&mount);
    let held = Instant::now();
    for _ in 0..5 {
        mount.kill_worker();
        client.does("c.execute('INSERT INTO events(body) VALUES (1)') and None");
        let status = mount.status();
        assert_eq!(status["tracer"], "on", "{}", status["tracer_missing"]);
        let now = calls_traced(&mount);
        assert!(now > before, "{now} after {before}");
        before = now;
    }
    assert_same_count(&mount);
    // A hold from before the first death has its whole length.
    let least = held.elapsed();
    begun.does("lock(f, fcntl.LOCK_UN)");
    assert!(sum(&sample(&mount), "held_ns_max", |row| row["role"] == "BYTES") >= least.as_nanos() as u64);
}

#[test]
fn counts_go_on_when_the_keeper_dies_and_over_an_upgrade() {
    let mount = traced(&[]);
    let mut client = python_in(&mount, "f = open('plain', 'w+b')");
    client.does("lock(f, fcntl.LOCK_EX)");
    mount.kill_keeper();
    client.does("lock(f, fcntl.LOCK_UN)");
    assert_same_count(&mount);
    assert_eq!(mount.status()["tracer"], "on");
    let output = mount.command(&["upgrade"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    client.does("lock(f, fcntl.LOCK_EX)");
    assert_same_count(&mount);
    let sample = sample(&mount);
    assert_eq!((sum(&sample, "calls", |_| true), sum(&sample, "unlocks", |_| true)), (2, 1));
}

#[test]
fn nothing_stays_in_the_kernel_behind_a_mount() {
    let programs = || {
        let fds = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = fds.flat_map(|process| std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten());
        all.filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .filter(|link| link.starts_with("anon_inode:bpf_link"))
            .count()
    };
    let before = programs();
    let mount = traced(&[]);
    assert!(programs() > before);
    drop(mount);
    eventually("the programs are gone", || programs() == before);
}

#[test]
fn a_mount_without_a_tracer_says_so() {
    let mount = Mount::with(&["--no-trace"]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let status = mount.status();
    assert_eq!(status["tracer"], "off");
    assert!(status["tracer_missing"].as_str().is_some_and(|why| why.contains("--no-trace")), "{status:#}");
    let text = mount.command(&["status"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("tracer     off: it was left out (--no-trace)"), "{text:?}");
    let output = mount.command(&["trace"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lock calls are not traced: it was left out"));
    mount.kill_worker();
    assert_eq!(mount.status()["tracer"], "off");
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
fn a_trace_goes_on_when_a_worker_dies() {
    let mount = traced(&[]);
    let mut client = puppet(&mount.point());
    let mut trace = trace_of(&mount, &mut client, &[]);
    client.does("g = open('mark', 'w+b')");
    for byte in 0..6 {
        client.does(&format!("lock(g, fcntl.LOCK_EX, {byte}, 1)"));
        mount.kill_worker();
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

#[test]
fn ten_thousand_processes_lose_no_count() {
    let mount = traced(&[]);
    // Each is a process of its own with a row of its own, which is folded when it has ended.
    let program = "import os, fcntl\nf = os.open('plain', os.O_RDWR | os.O_CREAT)\nfor n in range(10000):\n \
         if os.fork() == 0:\n  fcntl.lockf(f, fcntl.LOCK_EX, 1, n)\n  os._exit(0)\n \
         if n > 20: os.wait()";
    run(&mount, program);
    assert_same_count(&mount);
    let sample = sample(&mount);
    assert_eq!(sum(&sample, "calls", |_| true), 10_000);
}
