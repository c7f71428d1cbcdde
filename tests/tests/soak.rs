//! Everything at once, for a minute (30 minutes in a long run): writers, readers, names, copies and VACUUM, while the worker is
//! killed at random, the daemon upgraded, and the keeper killed. No client may notice anything.
//!
//! The random numbers are the same in every run; what they meet is not. Each client checks what it sees itself (soak.py).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::{binary, text};
use hoodydb_tests::{Client, Mount, eventually, is_long};
use serde::Deserialize;
use serde_json::Value;

const UPGRADE_EVERY: Duration = Duration::from_secs(10);
const KEEPER_EVERY: Duration = Duration::from_secs(7);

/// Every client must have ended so soon after it was told to, which is after the last kill.
const LATEST: Duration = Duration::from_secs(10);

/// No single operation may take longer: far less than a wait's deadline, so that one that ran into it is seen.
const LONGEST: Duration = Duration::from_secs(10);

/// How much may be in use after the end beyond what was before: descriptors of the pieces that a daemon makes when needed.
const SPARE: u64 = 32;

/// A generator of numbers that is the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from)
    }
}

#[derive(Deserialize)]
struct Report {
    done: u64,
    errors: BTreeMap<String, u64>,
    longest_us: u64,
}

struct Load {
    clients: Vec<(String, Client)>,
}

impl Load {
    /// Adds a client `soak.py ROLE SEED PATH REST..`.
    fn add(&mut self, name: &str, role: &str, path: &Path, rest: &[&str]) {
        let mut command = python("soak.py");
        command.arg(role).arg((self.clients.len() + 1).to_string()).arg(path).args(rest);
        self.clients.push((name.to_owned(), Client::ready(command)));
    }

    /// Tells all to end, and gives their reports.
    fn end(mut self) -> Vec<(String, Report)> {
        let begun = Instant::now();
        self.clients.iter_mut().for_each(|(_, client)| client.close());
        let mut waiting = Vec::new();
        while begun.elapsed() < LATEST {
            let running =
                self.clients.iter_mut().filter_map(|(name, client)| (!client.has_ended()).then(|| name.clone()));
            waiting = running.collect();
            if waiting.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(waiting.is_empty(), "after {LATEST:?} these still hang: {waiting:?}");
        let reports = self.clients.into_iter().map(|(name, client)| {
            let finished = client.finish();
            assert!(finished.status.success(), "{name}: {}: {}", finished.status, finished.errors);
            let last = finished.output.last().cloned().unwrap_or_default();
            (name, serde_json::from_str(&last).unwrap_or_else(|error| panic!("no report in `{last}`: {error}")))
        });
        reports.collect()
    }
}

/// What was done to the daemon, and the stalls that `status` told, in microseconds.
#[derive(Default)]
struct Deaths {
    workers: u64,
    keepers: u64,
    upgrades: u64,
    stalls: Vec<u64>,
}

impl Deaths {
    fn all(&self) -> u64 {
        self.workers + self.keepers + self.upgrades
    }

    fn note(&mut self, mount: &Mount) {
        self.stalls.extend(mount.status()["last_restart"]["stall_us"].as_u64());
    }
}

/// Kills and upgrades at random until `end`, or until a client has ended, which is an error that its report tells.
fn disturb(mount: &Mount, load: &mut Load, writer: usize, end: Instant) -> (Deaths, Vec<u64>) {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut deaths = Deaths::default();
    let mut longest = Vec::new();
    let (mut upgraded, mut keeper_killed) = (Instant::now(), Instant::now());
    let copies: [PathBuf; 2] = ["one", "two"].map(|name| mount.outside().join(format!("hoodydb {name}")));
    for copy in &copies {
        std::fs::copy(binary(), copy).expect("the binary can be copied");
    }
    // A client that has ended says its report instead.
    let told = |client: &mut Client| {
        let answer = client.ask("longest");
        answer.parse::<u64>().unwrap_or_else(|_| panic!("instead of a time: {answer}"))
    };
    told(&mut load.clients[writer].1);
    while Instant::now() < end && load.clients.iter_mut().all(|(_, client)| !client.has_ended()) {
        // The pace of the kills is part of the load, not a wait for something to be true.
        std::thread::sleep(Duration::from_millis(dice.between(100, 2000)));
        if upgraded.elapsed() >= UPGRADE_EVERY {
            let to = &copies[usize::from(deaths.upgrades % 2 == 1)];
            let mut command = mount.hoodydb();
            command.arg("upgrade").arg("--mount").arg(mount.point()).arg("--binary").arg(to);
            let output = command.output().expect("hoodydb runs");
            assert!(output.status.success(), "upgrade: {}", text(&output.stderr));
            deaths.upgrades += 1;
            upgraded = Instant::now();
        } else if keeper_killed.elapsed() >= KEEPER_EVERY {
            mount.kill_keeper();
            deaths.keepers += 1;
            keeper_killed = Instant::now();
        } else {
            mount.kill_worker();
            deaths.workers += 1;
        }
        deaths.note(mount);
        longest.push(told(&mut load.clients[writer].1));
    }
    (deaths, longest)
}

fn percentiles(what: &str, mut values: Vec<u64>) {
    values.sort_unstable();
    let Some(last) = values.len().checked_sub(1) else { return };
    let (median, tail, max) = (values[last / 2], values[last * 99 / 100], values[last]);
    eprintln!("{what}: p50 {median} us, p99 {tail} us, max {max} us");
}

/// Asserts that each writer's rows are 0, 1, 2 .. as many as it was told are committed, each once, and no other row is there.
fn assert_rows(path: &Path, writers: &[(&str, u64)]) {
    database::assert_sound(path);
    let mut all = 0;
    for (name, done) in writers {
        let of = |what: &str| database::number(path, &format!("SELECT {what} FROM events WHERE client = '{name}'"));
        let seen = (of("count(*)"), of("count(DISTINCT body)"), of("coalesce(max(body) + 1, 0)"));
        assert_eq!(seen, (*done, *done, *done), "{}: rows, different rows and the last of {name}", path.display());
        all += done;
    }
    assert_eq!(database::events(path), all, "{}", path.display());
    assert_eq!(database::number(path, "SELECT value FROM counter"), all, "{}", path.display());
}

/// What must not grow with the number of kills: what `status` tells, and what the keeper has open.
fn usage(status: &Value) -> BTreeMap<&'static str, u64> {
    let told = ["inodes", "handles", "descriptors", "records", "waiters"];
    let mut usage: BTreeMap<&str, u64> =
        told.into_iter().map(|name| (name, status[name].as_u64().unwrap_or(u64::MAX))).collect();
    let open = std::fs::read_dir(format!("/proc/{}/fd", status["keeper_pid"])).map(Iterator::count);
    usage.insert("descriptors of the keeper", open.unwrap_or(0) as u64);
    usage
}

#[test]
fn nobody_notices_kills_and_upgrades_under_load() {
    let time = Duration::from_secs(if is_long() { 30 * 60 } else { 60 });
    let mount = Mount::new();
    let of = |name: &str| mount.path(name);
    let databases = [("delete.db", Mode::Delete), ("wal.db", Mode::Wal), ("third.db", Mode::Delete)];
    databases.iter().for_each(|(name, mode)| database::create(&of(name), *mode));
    let before = usage(&mount.status());

    let mut load = Load { clients: Vec::new() };
    for (name, _) in &databases[..2] {
        for timeout in ["0", "5"] {
            let writer = format!("{name} {timeout}");
            load.add(&writer, "write", &of(name), &[&writer, timeout]);
        }
    }
    for (name, _) in &databases[..2] {
        load.add(&format!("reader of {name}"), "read", &of(name), &["0"]);
    }
    for directory in ["names one", "names two", "copies"] {
        std::fs::create_dir(of(directory)).expect("mkdir");
        load.add(directory, if directory == "copies" { "copy" } else { "names" }, &of(directory), &[]);
    }
    load.add("vacuum", "vacuum", &of("third.db"), &[]);
    load.clients.iter_mut().for_each(|(_, client)| client.tell("go"));

    let (deaths, longest) = disturb(&mount, &mut load, 0, Instant::now() + time);
    let reports = load.end();

    eprintln!("{} kills of the worker, {} of the keeper, {} upgrades", deaths.workers, deaths.keepers, deaths.upgrades);
    for (name, report) in &reports {
        eprintln!(
            "{name}: {} done, the longest took {} us, errors {:?}",
            report.done, report.longest_us, report.errors
        );
    }
    percentiles("no worker, per kill (status)", deaths.stalls.clone());
    percentiles("the longest transaction of the first writer, per kill", longest);
    assert!(reports.iter().all(|(_, report)| report.errors.is_empty()), "a client noticed");
    assert!(reports.iter().all(|(_, report)| report.done > deaths.all() / 2), "everybody got on between the kills");
    let slow = |report: &Report| Duration::from_micros(report.longest_us) > LONGEST;
    assert!(!reports.iter().any(|(_, report)| slow(report)), "an operation took longer than {LONGEST:?}");
    assert!(mount.restarts() >= deaths.all(), "the restarts are counted over upgrades and keepers");

    for (name, _) in &databases[..2] {
        let writers: Vec<(&str, u64)> = reports
            .iter()
            .filter(|(writer, _)| writer.starts_with(name))
            .map(|(writer, report)| (writer.as_str(), report.done))
            .collect();
        assert_rows(&of(name), &writers);
    }
    database::assert_sound(&of("third.db"));
    std::fs::remove_dir_all(of("names one")).and_then(|()| std::fs::remove_dir_all(of("names two"))).expect("rm -r");
    std::fs::remove_dir_all(of("copies")).expect("rm -r");
    eventually("nothing is left behind", || {
        let after = usage(&mount.status());
        before.iter().all(|(name, was)| after.get(name).is_some_and(|is| *is <= was + SPARE))
    });
    assert_eq!(mount.status()["records"], 0, "no lock is left over");
    let listed = |directory: &Path| {
        let entries = std::fs::read_dir(directory).expect("readdir").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = entries.filter(|name| name != ".hoodydb").collect();
        names.sort();
        names
    };
    assert_eq!(listed(&mount.point()), listed(&mount.backing()), "the mount shows what is there");
}
