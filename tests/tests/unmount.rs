//! The mount is to go while it is in use: transactions that run commit, none begins, and what is idle holds nothing up.

use std::fs::File;
use std::process::Command;

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::is_gone;
use hoodydb_tests::{Client, Mount, eventually, gated};
use rustix::io::Errno;

const INSERT: &str = "INSERT INTO events(body) VALUES ('kept')";

fn session(mount: &Mount, database: &str) -> Client {
    let mut command = python("session.py");
    command.arg(mount.path(database));
    Client::ready(command)
}

/// `hoodydb umount`, running.
fn unmount(mount: &Mount, options: &[&str]) -> Client {
    let mut command: Command = gated(mount.hoodydb().get_program());
    command.env("HOODYDB_RUN_DIR", mount.run_directory()).arg("umount").arg(mount.point()).args(options);
    let mut client = Client::ready(command);
    client.tell("go");
    client
}

/// `hoodydb umount --lazy`, which does not wait; the answer is what it said.
fn unmount_lazily(mount: &Mount) -> String {
    let done = unmount(mount, &["--lazy"]).finish();
    assert!(done.status.success(), "{}", done.errors);
    done.errors
}

fn is_mounted(mount: &Mount) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table can be read");
    let point = mount.point();
    table.lines().any(|line| line.split(' ').nth(4) == point.to_str())
}

/// A transaction that has written to app.db, and one that has only read of read.db.
fn transactions(mount: &Mount, mode: Mode) -> [Client; 2] {
    for name in ["app.db", "read.db"] {
        database::create(&mount.path(name), mode);
    }
    let [mut writer, mut reader] = ["app.db", "read.db"].map(|name| session(mount, name));
    writer.does("BEGIN IMMEDIATE");
    writer.does(INSERT);
    reader.does("BEGIN");
    assert_eq!(reader.ask("rows SELECT count(*) FROM events"), "0");
    [writer, reader]
}

/// The transactions end as if nothing were going on. The second needs a journal only now.
fn commit([writer, reader]: &mut [Client; 2]) {
    writer.does(INSERT);
    writer.does("COMMIT");
    reader.does(INSERT);
    reader.does("COMMIT");
}

/// What lies in the data directory when no daemon serves it any more.
fn assert_kept(mount: &Mount, expected: [(&str, u64); 2], mode: Mode) {
    for (name, rows) in expected {
        let path = mount.backing().join(name);
        assert!(!mount.backing().join(format!("{name}-journal")).exists(), "{mode:?}: a hot journal of {name}");
        assert_eq!(database::events(&path), rows, "{mode:?}: {name}");
        database::assert_sound(&path);
    }
}

#[test]
fn transactions_that_outlast_the_drain_commit() {
    for mode in Mode::ALL {
        let mount = Mount::with(&["--drain", "50ms"]);
        let mut running = transactions(&mount, mode);
        let daemon = mount.daemon();
        let unmount = unmount(&mount, &[]);
        eventually("they are named", || mount.log().contains("waits for running transactions"));
        assert!(is_mounted(&mount), "{mode:?}");
        assert_eq!(mount.status()["phase"], "draining", "{mode:?}");
        commit(&mut running);
        // The connections stay open: they are idle.
        let done = unmount.finish();
        assert!(done.status.success(), "{mode:?}: {}", done.errors);
        eventually("the daemon has ended", || is_gone(daemon));
        assert!(!is_mounted(&mount), "{mode:?}");
        drop(running);
        assert_kept(&mount, [("app.db", 2), ("read.db", 1)], mode);
    }
}

#[test]
fn an_unmount_names_transactions_that_outlast_the_drain() {
    let mount = Mount::with(&["--drain", "0s"]);
    let mut running = transactions(&mount, Mode::Delete);
    let said = mount.outside().join("said");
    let mut unmount = mount.hoodydb();
    unmount.arg("umount").arg(mount.point()).stderr(File::create(&said).expect("a file"));
    let mut unmount = unmount.spawn().expect("hoodydb runs");
    eventually("they are named", || {
        let said = std::fs::read_to_string(&said).unwrap_or_default();
        running.iter().all(|client| said.contains(&format!("transaction runs: pid {}", client.id())))
    });
    commit(&mut running);
    assert!(unmount.wait().expect("it ends").success());
}

#[test]
fn a_lazy_unmount_detaches_when_no_transaction_runs() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let mut running = transactions(&mount, mode);
        let daemon = mount.daemon();
        let said = unmount_lazily(&mount);
        assert!(said.contains(&format!("transaction runs: pid {}", running[0].id())), "{mode:?}: {said}");
        assert_eq!(mount.status()["phase"], "draining", "{mode:?}");
        assert!(is_mounted(&mount), "{mode:?}");
        commit(&mut running);
        eventually("it is detached", || mount.status()["phase"] == "detached");
        assert!(!is_mounted(&mount), "{mode:?}");
        let rows = match mode {
            Mode::Wal => {
                running[0].does(INSERT);
                3
            }
            Mode::Delete => {
                assert_eq!(running[0].ask(INSERT), "error: database is locked");
                2
            }
        };
        assert!(!is_gone(daemon), "{mode:?}: what is open is served");
        drop(running);
        eventually("the daemon has ended", || is_gone(daemon));
        assert_kept(&mount, [("app.db", rows), ("read.db", 1)], mode);
    }
}

#[test]
fn idle_connections_do_not_hold_a_lazy_unmount_up() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        for name in ["app.db", "read.db"] {
            database::create(&mount.path(name), mode);
        }
        let mut used = session(&mount, "app.db");
        used.does(INSERT);
        let mut fresh = session(&mount, "app.db");
        let daemon = mount.daemon();
        assert_eq!(unmount_lazily(&mount), "", "{mode:?}");
        assert!(!is_mounted(&mount), "{mode:?}: it is gone when the command returns");
        assert_eq!(mount.status()["phase"], "detached", "{mode:?}");
        // It has no WAL yet, and must not make one where the mount was.
        assert_eq!(fresh.ask(INSERT), "error: database is locked", "{mode:?}");
        assert_eq!(std::fs::read_dir(mount.point()).expect("a directory").count(), 0, "{mode:?}");
        drop((used, fresh));
        eventually("the daemon has ended", || is_gone(daemon));
        assert_kept(&mount, [("app.db", 1), ("read.db", 0)], mode);
    }
}

#[test]
fn nothing_begins_while_transactions_are_waited_for() {
    for policy in ["turn", "serial", "posix"] {
        for mode in Mode::ALL {
            let mount = Mount::with(&["--max-wait", "300ms", "--policy", policy]);
            let mut running = transactions(&mount, mode);
            database::create(&mount.path("other.db"), mode);
            std::fs::write(mount.path("notes.txt"), "notes").expect("a file can be written");
            let mut idle = session(&mount, "other.db");
            let daemon = mount.daemon();
            let unmount = unmount(&mount, &[]);
            eventually("the daemon drains", || mount.status()["phase"] == "draining");

            assert_eq!(idle.ask(INSERT), "error: database is locked", "{policy}, {mode:?}");
            let refused = File::open(mount.path("other.db")).expect_err("no running transaction uses it");
            assert_eq!(refused.raw_os_error(), Some(Errno::BUSY.raw_os_error()), "{policy}, {mode:?}: {refused}");
            let mut late = session(&mount, "app.db");
            assert_eq!(late.ask(INSERT), "error: database is locked", "{policy}, {mode:?}");
            assert_eq!(std::fs::read(mount.path("notes.txt")).expect("other files are served"), b"notes");

            commit(&mut running);
            assert!(unmount.finish().status.success(), "{policy}, {mode:?}");
            eventually("the daemon has ended", || is_gone(daemon));
            drop((running, idle, late));
            assert_kept(&mount, [("app.db", 2), ("read.db", 1)], mode);
            assert_eq!(database::events(&mount.backing().join("other.db")), 0, "{policy}, {mode:?}");
        }
    }
}

#[test]
fn a_transaction_goes_on_to_a_database_that_it_has_attached() {
    for mode in Mode::ALL {
        let mount = Mount::with(&["--max-wait", "300ms"]);
        database::create(&mount.path("other.db"), mode);
        let mut running = transactions(&mount, mode);
        running[1].does("COMMIT");
        let attached = mount.path("other.db");
        running[1].does(&format!("ATTACH '{}' AS other", attached.display()));
        running[1].does("BEGIN");
        running[1].does(INSERT);
        let daemon = mount.daemon();
        let unmount = unmount(&mount, &[]);
        eventually("the daemon drains", || mount.status()["phase"] == "draining");
        running[1].does("INSERT INTO other.events(body) VALUES ('kept')");
        commit(&mut running);
        assert!(unmount.finish().status.success(), "{mode:?}");
        eventually("the daemon has ended", || is_gone(daemon));
        drop(running);
        assert_kept(&mount, [("app.db", 2), ("read.db", 2)], mode);
        assert_eq!(database::events(&mount.backing().join("other.db")), 1, "{mode:?}");
    }
}

#[test]
fn a_successor_goes_on_with_the_unmount() {
    for mode in Mode::ALL {
        for lazy in [false, true] {
            let mount = Mount::new();
            let mut running = transactions(&mount, mode);
            database::create(&mount.path("other.db"), mode);
            let daemon = mount.daemon();
            let unmount = unmount(&mount, if lazy { &["--lazy"] } else { &[] });
            eventually("the daemon drains", || mount.status()["phase"] == "draining");
            mount.kill_worker();
            assert_eq!(mount.status()["phase"], "draining", "{mode:?}, lazy {lazy}");
            assert!(File::open(mount.path("other.db")).is_err(), "{mode:?}, lazy {lazy}: nothing new is opened");
            commit(&mut running);
            assert!(unmount.finish().status.success(), "{mode:?}, lazy {lazy}");
            let mut rows = 2;
            if lazy {
                eventually("it is detached", || mount.status()["phase"] == "detached");
                mount.kill_worker();
                assert_eq!(mount.status()["phase"], "detached", "{mode:?}");
                if mode == Mode::Wal {
                    running[0].does(INSERT);
                    rows += 1;
                } else {
                    assert_eq!(running[0].ask(INSERT), "error: database is locked");
                }
                drop(running);
            }
            eventually("the daemon has ended", || is_gone(daemon));
            assert!(!is_mounted(&mount), "{mode:?}, lazy {lazy}");
            assert_kept(&mount, [("app.db", rows), ("read.db", 1)], mode);
        }
    }
}

#[test]
fn an_end_that_is_asked_for_during_a_lazy_unmount_waits_for_no_idle_connection() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let mut running = transactions(&mount, mode);
        let daemon = mount.daemon();
        unmount_lazily(&mount);
        let unmount = unmount(&mount, &[]);
        commit(&mut running);
        assert!(unmount.finish().status.success(), "{mode:?}");
        eventually("the daemon has ended", || is_gone(daemon));
        drop(running);
        assert_kept(&mount, [("app.db", 2), ("read.db", 1)], mode);
    }
}
