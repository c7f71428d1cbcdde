//! `hoodydb top`: the database that is contended, who stands in the way and who waits, once and on a real terminal.

use std::process::Command;

use hoodydb_tests::clients::make_writer;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Mount, Terminal, clients, containers, eventually};
use rustix::process::Signal;
use serde_json::Value;

fn session(mount: &Mount, name: &str) -> Client {
    let mut command = clients::python("session.py");
    command.arg(mount.path(name)).arg("30");
    Client::ready(command)
}

/// A client that inserts until its input is closed.
fn load(mount: &Mount, name: &str) -> Client {
    let mut command = clients::python("load.py");
    command.arg(mount.path(name)).arg("load").arg("30");
    let mut client = Client::ready(command);
    client.tell("go");
    client
}

fn top(mount: &Mount, arguments: &[&str]) -> Value {
    let output = mount.command(&[&["top", "--once", "--json", "--interval", "200ms"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    all["mounts"][0].clone()
}

/// Writers of which the first is in a transaction and the others wait for it.
fn contended(mount: &Mount, name: &str, writers: usize) -> Vec<Client> {
    let mut sessions: Vec<Client> = (0..writers).map(|_| session(mount, name)).collect();
    sessions.iter_mut().for_each(make_writer);
    let (first, others) = sessions.split_first_mut().expect("a writer");
    first.does("BEGIN IMMEDIATE");
    others.iter_mut().for_each(|session| session.tell("INSERT INTO events(body) VALUES ('late')"));
    eventually("all others wait", || mount.waiters_of(name).len() == others.len());
    sessions
}

fn three_databases(mount: &Mount) {
    for name in ["one.db", "two.db", "three.db"] {
        database::create(&mount.path(name), Mode::Wal);
    }
}

#[test]
fn the_contended_one_of_three_comes_first_while_eight_write() {
    let mount = Mount::new();
    three_databases(&mount);
    let writers: Vec<Client> = (0..8).map(|_| load(&mount, "two.db")).collect();
    let _quiet = [session(&mount, "one.db"), session(&mount, "three.db")];
    let pids: Vec<u32> = writers.iter().map(Client::id).collect();
    let mut seen = Value::Null;
    // At the moment of a look nobody may be in a transaction.
    eventually("a writer is caught in its transaction while others wait", || {
        let mount = top(&mount, &[]);
        assert_eq!(mount["databases"][0]["path"], "two.db", "{mount:#}");
        seen = mount["databases"][0].clone();
        let holds = seen["hold_p99_us"].as_u64() > Some(0);
        seen["holder"]["pid"].is_u64() && seen["waits_per_s"].as_f64() > Some(0.0) && holds
    });
    let holder = seen["holder"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
    assert!(pids.contains(&holder), "{holder} is none of {pids:?}");
    assert!(seen["waited"].as_u64() > Some(0) && seen["acquisitions_per_s"].as_f64() > Some(0.0), "{seen:#}");
    assert!(seen["wait_p99_us"].as_u64() >= seen["wait_p50_us"].as_u64(), "{seen:#}");
}

#[test]
fn who_holds_and_who_waits_is_told_with_its_age() {
    let mount = Mount::new();
    three_databases(&mount);
    let sessions = contended(&mount, "two.db", 4);
    let mount_top = top(&mount, &["--db", "two.db"]);
    let databases = mount_top["databases"].as_array().expect("databases");
    assert_eq!(databases.len(), 1, "only the one that was named");
    let two = &databases[0];
    assert_eq!(two["holder"]["pid"], sessions[0].id());
    assert_eq!(two["waiters_total"], 3);
    assert_eq!(two["waiters"][0]["blocked_by"][0], sessions[0].id());
    assert!(two["hold_age_ms"].as_u64() >= Some(200), "{two:#}");
    assert!(two["wait_max_us"].as_u64() >= Some(200_000), "who still waits counts: {two:#}");
    assert!(two["wal_bytes"].as_u64() > Some(0) && two["wal_pinned_by"]["pid"].is_u64(), "{two:#}");
    assert_eq!((&mount_top["tracer_missing"], &two["refusals"]["recovery"]), (&Value::Null, &Value::from(0)));
}

#[test]
fn without_a_terminal_it_prints_one_plain_table() {
    let mount = Mount::new();
    three_databases(&mount);
    let sessions = contended(&mount, "two.db", 3);
    for words in [&["top", "--interval", "100ms"][..], &["top-locks", "--once", "--interval", "100ms"]] {
        let output = mount.command(words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let table = text(&output.stdout);
        assert!(!table.contains('\u{1b}'), "{table}");
        let first = table.lines().nth(2).expect("a row");
        assert!(first.contains("two.db") && first.contains(&sessions[0].id().to_string()), "{table}");
    }
}

#[test]
fn wrong_words_and_no_daemon_are_told() {
    let mount = Mount::new();
    for (words, code, what) in [
        (&["top", "--interval", "1ms"][..], 2, "100ms at least"),
        (&["top", "--once", "--db", "../x"], 1, "'..'"),
        (&["top", "--once", "--mount", "/nonexistent"], 3, "not a mount of hoodydb"),
    ] {
        let output = mount.command(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(text(&output.stderr).contains(what), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_name_that_changes_or_goes_is_followed() {
    let mount = Mount::new();
    three_databases(&mount);
    let _sessions = contended(&mount, "two.db", 2);
    let before = top(&mount, &[])["databases"][0].clone();
    std::fs::rename(mount.path("two.db"), mount.path("new.db")).expect("rename");
    let renamed = top(&mount, &[])["databases"][0].clone();
    assert_eq!((&renamed["path"], &renamed["inode"]), (&Value::from("new.db"), &before["inode"]));
    std::fs::remove_file(mount.path("new.db")).expect("remove");
    assert_eq!(top(&mount, &[])["databases"][0]["path"], "new.db (deleted)");
}

#[test]
fn counts_go_on_after_a_close_and_after_each_handover() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let granted = || {
        let _open = session(&mount, "app.db").ask("SELECT count(*) FROM events");
        let mut reader = session(&mount, "app.db");
        reader.does("BEGIN");
        reader.does("SELECT * FROM events");
        top(&mount, &[])["databases"][0]["granted"].as_u64().expect("a count")
    };
    let first = granted();
    let mut before = granted();
    assert!(before > first, "{first}, then {before}: what is closed still counts");
    for (number, handover) in Mount::HANDOVERS.iter().enumerate() {
        handover(&mount);
        let after = granted();
        assert!(after > before, "{before}, then {after}: handover {number} loses no count");
        before = after;
    }
}

#[test]
fn both_containers_are_named() {
    if !containers::can_run() {
        return;
    }
    let mount = Mount::with(&["--access", "shared"]);
    database::create(&mount.path("app.db"), Mode::Delete);
    let hold = "(echo 'BEGIN IMMEDIATE;'; read -r _; echo 'COMMIT;') | sqlite3 /databases/app.db";
    let wait = "sqlite3 /databases/app.db \"INSERT INTO events(body) VALUES ('x')\"";
    let bundle = |name: &str, script: &str| {
        containers::bundle(&mount, name, &format!("echo ready; read -r _; {script}"), name == "mapped")
    };
    let bundles = [bundle("plain", hold), bundle("mapped", wait)];
    let [mut holder, mut waiter] = bundles.each_ref().map(|bundle| Client::ready(containers::run(&mount, bundle)));
    holder.tell("go");
    eventually("one container holds", || !mount.holders_of("app.db").is_empty());
    waiter.tell("go");
    eventually("the other one waits", || !mount.waiters_of("app.db").is_empty());
    let ids = bundles.each_ref().map(|bundle| containers::id(&mount, bundle));
    let one = top(&mount, &[])["databases"][0].clone();
    assert_eq!(
        [&one["holder"]["container"]["id"], &one["waiters"][0]["container"]["id"]],
        [&ids[0], &ids[1]],
        "{one:#}"
    );
    let locks = mount.locks_of("app.db");
    assert_eq!(locks["waiters"][0]["container"]["id"], ids[1], "{locks:#}");
    let named = mount.status()["databases"][0]["containers"].as_array().map_or(0, Vec::len);
    assert_eq!(named, 2, "{:#}", mount.status());
    for words in [&["locks"][..], &["status"], &["top", "--once", "--interval", "100ms"]] {
        let table = text(&mount.command(words).stdout);
        assert!(table.contains(&ids[0]), "{words:?}\n{table}");
    }
    holder.close();
    for client in [holder, waiter] {
        let ended = client.finish();
        assert!(ended.status.success(), "{}", ended.errors);
    }
}

fn screen(mount: &Mount, arguments: &[&str], columns: u16) -> Terminal {
    let mut command: Command = mount.hoodydb();
    command.args(["top", "--interval", "100ms"]).args(arguments);
    Terminal::run(&command, columns, 40)
}

#[test]
fn the_screen_follows_keys_and_sizes_and_leaves_the_terminal_as_it_was() {
    let mount = Mount::new();
    three_databases(&mount);
    let sessions = contended(&mount, "two.db", 3);
    let mut terminal = screen(&mount, &[], 160);
    terminal.expect("two.db");
    terminal.expect("rates over");
    assert_eq!(terminal.is_taken(), [true; 3]);
    terminal.press("?");
    terminal.expect("who waits for whom, histogram");
    terminal.press("?\r");
    terminal.expect(&format!("kill {}", sessions[0].id()));
    terminal.expect(&format!("pid {}", sessions[2].id()));
    terminal.press("\u{1b}");
    terminal.expect("TREND");
    terminal.press("/three");
    terminal.expect("filter: three");
    eventually("the filter hides it", || !terminal.text().contains("two.db"));
    terminal.press("\u{1b}");
    terminal.expect("two.db");
    terminal.press("s");
    terminal.expect("sorted by waiters");
    terminal.resize(20, 12);
    eventually("twenty columns are enough", || {
        let text = terminal.text();
        text.contains("two.db") && !text.contains("HOLDER") && text.lines().all(|line| line.chars().count() <= 20)
    });
    terminal.resize(160, 40);
    terminal.expect("HOLDER");
    terminal.press("q");
    assert!(terminal.wait().success());
    eventually("the terminal is as it was", || terminal.is_taken() == [false; 3]);
}

#[test]
fn signals_and_ctrl_c_leave_the_terminal_as_it_was() {
    let mount = Mount::new();
    for signal in [Some(Signal::TERM), Some(Signal::HUP), Some(Signal::INT), None] {
        let mut terminal = screen(&mount, &[], 80);
        terminal.expect("no database is in use");
        match signal {
            Some(signal) => terminal.signal(signal),
            None => terminal.press("\u{3}"),
        }
        assert!(terminal.wait().success(), "{signal:?}");
        eventually("the terminal is as it was", || terminal.is_taken() == [false; 3]);
    }
}

#[test]
fn a_daemon_that_goes_is_told_and_one_that_comes_back_is_shown() {
    let mount = Mount::new();
    three_databases(&mount);
    let point = mount.point();
    let mut terminal = screen(&mount, &["--mount", point.to_str().expect("a plain path")], 160);
    terminal.expect("rates over");
    for (number, handover) in Mount::HANDOVERS.iter().enumerate() {
        handover(&mount);
        let name = format!("after {number}.db");
        database::create(&mount.path(&name), Mode::Delete);
        terminal.expect(&name);
    }
    assert!(mount.unmount().status.success());
    terminal.expect("the figures are old");
    assert!(mount.start().status.success());
    eventually("it goes on", || !terminal.text().contains("the figures are old"));
    mount.kill_daemon();
    terminal.expect("the figures are old");
    terminal.press("q");
    assert!(terminal.wait().success());
    eventually("the terminal is as it was", || terminal.is_taken() == [false; 3]);
}

#[test]
fn no_color_means_no_colour() {
    let mount = Mount::new();
    three_databases(&mount);
    let _sessions = contended(&mount, "two.db", 2);
    let coloured = |no_color: Option<&str>| {
        let mut command: Command = mount.hoodydb();
        command.args(["top", "--interval", "100ms"]).envs(no_color.map(|value| ("NO_COLOR", value)));
        let terminal = Terminal::run(&command, 160, 40);
        terminal.expect("rates over");
        terminal.has_colour()
    };
    assert!(coloured(None), "who waits stands out");
    assert!(!coloured(Some("1")));
}
