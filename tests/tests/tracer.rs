//! The lock tracer on a real mount: what it counts is what the daemon counted, and its times are those of the clients' clocks.
//!
//! These tests need what the tracer needs (root, a kernel with type information) and fail where that is missing.

use std::process::Command;
use std::time::{Duration, Instant};

use hoodydb_tests::clients::puppet;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::traced::{self, assert_same_count, calls_traced, largest, sample, sum, traced};
use hoodydb_tests::{Client, Mount, clients, eventually, is_long};
use rustix::process::Signal;
use serde_json::{Value, json};

fn python_in(mount: &Mount, program: &str) -> Client {
    let mut client = puppet(&mount.point());
    client.does(program);
    client
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
    let held = largest(&sample, "held_ns_max", reserved);
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
        sum(&traced::sample(&mount), "held_ns_total", |row| row["ino"] == ino) > least + 100_000_000
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
        largest(&sample, "held_ns_max", |row| row["ino"] == index && row["role"] == "WRITE")
    };
    // Of whoever made the database there are short ones.
    eventually("the hold of a killed process ends", || u128::from(holds()) >= least.as_nanos());
    let (held, most) = (Duration::from_nanos(holds()), begun.elapsed());
    assert!(held <= most, "{held:?} <= {most:?}");
    // Its rows become those of all that have ended, and nothing is lost by that.
    let before = calls_traced(&mount);
    let pid = holder.id();
    drop(holder);
    eventually("the row of the dead is folded", || {
        let sample = sample(&mount);
        sum(&sample, "calls", |row| row["pid"] == pid) == 0
    });
    assert_eq!(calls_traced(&mount), before);
    assert!(largest(&sample(&mount), "held_ns_max", |row| row["ino"] == index && row["pid"] == 0) > 0);
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
    assert!(largest(&sample(&mount), "held_ns_max", |row| row["role"] == "BYTES") >= least.as_nanos() as u64);
}

#[test]
fn counts_are_exact_when_workers_die_amid_writers() {
    let mount = traced(&[]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut writers: Vec<Client> = (0..8)
        .map(|_| {
            let mut command = clients::python("load.py");
            command.arg(mount.path("app.db")).arg("load").arg("30");
            Client::ready(command)
        })
        .collect();
    writers.iter_mut().for_each(|writer| writer.tell("go"));
    for _ in 0..4 {
        // Somebody waits at the moment of the kill: the kernel sends that call again.
        eventually("writers wait", || mount.status()["waiters"].as_u64() > Some(1));
        mount.kill_worker();
    }
    for mut writer in writers {
        writer.close();
        let finished = writer.finish();
        assert!(finished.status.success(), "{}", finished.errors);
    }
    // Not the number of requests: a call that a worker had read and not answered is read again by the next one.
    eventually("the tracer counts what the lock manager counts", || {
        let sample = sample(&mount);
        let totals = &mount.status()["totals"];
        let refusals =
            totals["refusals"].as_object().expect("refusals").values().filter_map(Value::as_u64).sum::<u64>();
        (sum(&sample, "granted", |_| true), sum(&sample, "refused", |_| true))
            == (totals["granted"].as_u64().expect("a count"), refusals)
    });
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

#[test]
fn ended_processes_lose_no_count() {
    let mount = traced(&[]);
    let processes = if is_long() { 10_000 } else { 1_500 };
    // Each has a row of its own, which is folded when it has ended.
    let program = "import os, fcntl\nf = os.open('plain', os.O_RDWR | os.O_CREAT)\nfor n in range(COUNT):\n \
         if os.fork() == 0:\n  fcntl.lockf(f, fcntl.LOCK_EX, 1, n)\n  os._exit(0)\n \
         if n > 20: os.wait()";
    let mut command = Command::new("python3");
    command.args(["-c", &program.replace("COUNT", &processes.to_string())]).current_dir(mount.point());
    assert!(command.status().is_ok_and(|status| status.success()));
    assert_same_count(&mount);
    assert_eq!(sum(&sample(&mount), "calls", |_| true), processes);
    eventually("all of them are one row", || {
        let sample = sample(&mount);
        assert_eq!(sum(&sample, "calls", |_| true), processes);
        sample["rows"].as_array().is_some_and(|rows| rows.len() == 1)
    });
}

#[test]
fn ten_thousand_rows_of_the_living_are_shown_at_once() {
    let mount = traced(&[]);
    // Rows are of processes, files and roles: 100 processes on 100 files make as many as 10,000 processes, and start sooner.
    let program = "import os, fcntl, sys, time\nfiles = [os.open('f%d' % n, os.O_RDWR | os.O_CREAT) for n in range(100)]\n\
         r, w = os.pipe()\nfor n in range(100):\n if os.fork() == 0:\n  for f in files: fcntl.lockf(f, fcntl.LOCK_SH, 1, n)\n\
         \x20 os.write(w, b'.'); sys.stdin.read(); os._exit(0)\n\
         seen = 0\nwhile seen < 100: seen += len(os.read(r, 100))\nprint('ready', flush=True); sys.stdin.read()";
    let mut command = Command::new("python3");
    command.args(["-c", program]).current_dir(mount.point());
    let client = Client::ready(command);
    let begun = Instant::now();
    let sample = sample(&mount);
    eprintln!("a sample of {} rows: {:?}", sample["rows"].as_array().map_or(0, Vec::len), begun.elapsed());
    assert_eq!(sum(&sample, "calls", |_| true), 10_000);
    assert_eq!(sample["rows"].as_array().map_or(0, Vec::len), 10_000);
    assert!(client.finish().status.success());
    assert_same_count(&mount);
}
