//! Clients that are killed: holders, waiters, anybody at any time. Nobody waits for the dead, nothing acknowledged is lost.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use hoodydb_tests::clients::{INSERTS_OF_A_WRITER, make_writer, python};
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Client, Inserter, Ledger, Mount, eventually, is_long};
use rustix::process::Signal;

/// Longer than any test: what ends a wait is never the deadline.
const FOREVER: [&str; 2] = ["--max-wait", "1h"];

fn session(mount: &Mount, database: &str) -> Client {
    let mut command = python("session.py");
    command.arg(mount.path(database));
    Client::ready(command)
}

/// A holder in a write transaction, and a client, known for a writer, whose lock call waits for it.
fn holder_and_waiter(mount: &Mount) -> (Client, Client) {
    let mut waiter = session(mount, "app.db");
    make_writer(&mut waiter);
    let mut holder = session(mount, "app.db");
    holder.does("BEGIN IMMEDIATE");
    holder.does("INSERT INTO events(body) VALUES ('held')");
    waiter.tell("INSERT INTO events(body) VALUES ('waited')");
    eventually("the waiter waits", || mount.waiters_of("app.db").contains(&waiter.id()));
    (holder, waiter)
}

fn in_both_modes(test: impl Fn(&Mount)) {
    for mode in Mode::ALL {
        let mount = Mount::with(&FOREVER);
        database::create(&mount.path("app.db"), mode);
        test(&mount);
        database::assert_sound(&mount.path("app.db"));
    }
}

/// From the signal until the process is gone.
fn time_to_die(client: &mut Client, signal: Signal) -> Duration {
    let begun = Instant::now();
    client.signal(signal);
    while !client.has_ended() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{signal:?} does not end the waiter");
        std::thread::sleep(Duration::from_micros(500));
    }
    begun.elapsed()
}

/// Asserts that waiters die within the promised tenth of a second; a busy machine may miss it now and then.
fn assert_prompt(mut times: Vec<Duration>) {
    times.sort_unstable();
    eprintln!("from the signal to the end: {times:?}");
    assert!(times[times.len() / 2] < Duration::from_millis(100), "the median: {times:?}");
    assert!(times.last().is_some_and(|longest| *longest < Duration::from_millis(300)), "the longest: {times:?}");
}

/// A process that holds a lock of a plain file, and `processes` with so many `threads` each that wait for it.
fn crowd(mount: &Mount, processes: usize, threads: usize) -> Vec<Client> {
    std::fs::write(mount.path("crowd"), "").expect("a file");
    let mut files = python("files.py");
    files.arg(mount.point());
    let mut holder = Client::ready(files);
    holder.does("open f crowd");
    holder.does("lock f w 0 0");
    let waiters = || {
        let mut waiters = python("waiters.py");
        waiters.arg(mount.path("crowd")).arg(threads.to_string());
        Client::ready(waiters)
    };
    let mut crowd: Vec<Client> = (0..processes).map(|_| waiters()).collect();
    let all = (processes * threads) as u64;
    eventually("all of them wait", || mount.status()["waiters"].as_u64() == Some(all));
    crowd.push(holder);
    crowd
}

/// A generator of numbers that is the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("small")
    }
}

#[test]
fn random_kills_under_load_lose_nothing() {
    let seconds = if is_long() { 60 } else { 5 };
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut ledger = Ledger::default();
        let mut started = 0..;
        let mut start = || Inserter::start(&path, &format!("client {}", started.next().unwrap_or(0)), 5);
        let mut clients: Vec<Inserter> = (0..6).map(|_| start()).collect();
        let mut kills = 0;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            // The pace of the kills is the load itself, not a wait for something to be true.
            std::thread::sleep(Duration::from_millis(100));
            clients.swap_remove(dice.below(clients.len())).kill(&mut ledger);
            kills += 1;
            clients.push(start());
        }
        let survivors: Vec<u32> = clients.iter().map(|one| one.client().id()).collect();
        // Everybody who lives goes on: nobody waits for the dead.
        clients.iter_mut().for_each(|one| one.wait_for_one(&mut ledger));
        let strangers = |pids: Vec<u32>| pids.iter().any(|pid| !survivors.contains(pid));
        eventually("only the living hold or wait", || {
            !strangers(mount.holders_of("app.db")) && !strangers(mount.waiters_of("app.db"))
        });
        clients.into_iter().for_each(|one| one.end(&mut ledger));
        let rows = ledger.acknowledged.len();
        eprintln!(
            "{mode:?}: {kills} kills, {rows} rows acknowledged, {} errors: {:?}",
            ledger.errors.len(),
            ledger.errors.first()
        );
        assert!(rows > kills, "{mode:?}: the load went on between the kills");
        assert!(
            ledger.errors.iter().all(|error| error == "error: database is locked"),
            "{mode:?}: {:?}",
            ledger.errors
        );
        ledger.assert_kept(&path);
    }
}

#[test]
fn the_lock_of_a_killed_holder_is_granted_at_once() {
    in_both_modes(|mount| {
        let (holder, mut waiter) = holder_and_waiter(mount);
        holder.signal(Signal::KILL);
        waiter.expect("ok");
        let rows = (INSERTS_OF_A_WRITER + 1).to_string();
        assert_eq!(waiter.ask("rows SELECT count(*) FROM events"), rows, "what was not committed is gone");
    });
}

#[test]
fn a_waiter_can_be_killed() {
    let times: RefCell<Vec<Duration>> = RefCell::default();
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        in_both_modes(|mount| {
            let (mut holder, mut waiter) = holder_and_waiter(mount);
            times.borrow_mut().push(time_to_die(&mut waiter, signal));
            assert!(mount.waiters_of("app.db").is_empty(), "{signal:?}");
            assert!(mount.holders_of("app.db").contains(&holder.id()), "{signal:?}: the holder holds on");
            holder.does("COMMIT");
        });
    }
    assert_prompt(times.into_inner());
}

/// One waiter among many, of which those that wait for the longest are looked at no sooner than it.
#[test]
fn a_waiter_in_a_crowd_can_be_killed() {
    let (processes, kills) = if is_long() { (10, 30) } else { (3, 9) };
    let mount = Mount::with(&FOREVER);
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut crowd = crowd(&mount, processes, 100);
    let signals = [Signal::TERM, Signal::KILL, Signal::INT].into_iter().cycle();
    let kill = |signal| {
        let (mut holder, mut waiter) = holder_and_waiter(&mount);
        let time = time_to_die(&mut waiter, signal);
        holder.does("COMMIT");
        time
    };
    assert_prompt(signals.take(kills).map(kill).collect());
    // All threads of one process at once.
    assert_prompt(vec![time_to_die(&mut crowd[0], Signal::TERM)]);
    database::assert_sound(&mount.path("app.db"));
}

#[test]
fn harmless_signals_do_not_fail_a_wait() {
    for signals in [&[Signal::CHILD][..], &[Signal::WINCH], &[Signal::STOP, Signal::CONT]] {
        in_both_modes(|mount| {
            let (mut holder, mut waiter) = holder_and_waiter(mount);
            let age = || mount.locks_of("app.db")["waiters"][0]["age_ms"].as_u64().unwrap_or(0);
            for signal in signals {
                waiter.signal(*signal);
                // Several rounds of whoever looks for signals.
                let seen = age();
                eventually("the wait goes on", || age() > seen + 150);
            }
            assert_eq!(waiter.line_now(), None, "{signals:?}");
            holder.does("COMMIT");
            waiter.expect("ok");
        });
    }
}

#[test]
fn locks_tells_who_waits_for_whom_and_who_is_stopped() {
    in_both_modes(|mount| {
        let (mut holder, mut waiter) = holder_and_waiter(mount);
        let locks = mount.locks_of("app.db");
        let waits = &locks["waiters"][0];
        assert_eq!(waits["pid"], waiter.id(), "{locks:#}");
        assert_eq!(waits["blocked_by"], serde_json::json!([holder.id()]), "{locks:#}");
        assert!(waits["command"].as_str().is_some_and(|command| command.contains("session.py")), "{locks:#}");
        let write = |locks: &serde_json::Value| {
            let role = if locks["journal_mode"] == "wal" { "WRITE" } else { "RESERVED" };
            let holders = locks["holders"].as_array().cloned().unwrap_or_default();
            holders.into_iter().find(|one| one["role"] == role).unwrap_or_default()
        };
        assert_eq!(write(&locks)["pid"], holder.id(), "{locks:#}");
        assert_eq!(write(&locks)["halted"], serde_json::Value::Null, "{locks:#}");
        holder.signal(Signal::STOP);
        eventually("the holder shows as stopped", || write(&mount.locks_of("app.db"))["halted"] == "stopped");
        holder.signal(Signal::CONT);
        holder.does("COMMIT");
        waiter.expect("ok");
    });
}
