//! The daemon dies amid transactions: nothing acknowledged is lost, and what is still open elsewhere is refused by name.

use std::fs::File;
use std::process::Command;

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Inserter, Ledger, Mount, eventually, gated};
use rustix::io::Errno;

fn session(mount: &Mount, database: &str) -> Client {
    let mut command = python("session.py");
    command.arg(mount.path(database));
    Client::ready(command)
}

#[test]
fn a_kill_amid_transactions_loses_nothing() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        let mut open = session(&mount, "app.db");
        if mode == Mode::Wal {
            // A reader's snapshot is no obstacle to writers here; in the other mode it would hold them all.
            open.does("BEGIN");
            open.ask("rows SELECT count(*) FROM events");
        }
        let mut ledger = Ledger::default();
        let mut clients: Vec<Inserter> =
            (0..4).map(|number| Inserter::start(&path, &format!("client {number}"), 0)).collect();
        for _ in 0..10 {
            clients.iter_mut().for_each(|client| client.wait_for_one(&mut ledger));
        }
        mount.kill_daemon();
        // In WAL mode SQLite tries for 10 s before it says "locking protocol": all of them at the same time.
        clients.iter_mut().for_each(Inserter::stop);
        clients.into_iter().for_each(|client| client.end(&mut ledger));
        drop(open);
        let output = mount.start();
        assert!(output.status.success(), "{mode:?}: {}", text(&output.stderr));
        assert!(ledger.acknowledged.len() >= 40);
        ledger.assert_kept(&path);
        let mut after = Inserter::start(&path, "after", 0);
        after.wait_for_one(&mut ledger);
        after.end(&mut ledger);
        ledger.assert_kept(&path);
    }
}

#[test]
fn a_database_that_is_open_through_the_dead_mount_is_refused_until_it_is_closed() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        database::create(&mount.path("other.db"), mode);
        let mut left_over = session(&mount, "app.db");
        left_over.does("BEGIN IMMEDIATE");
        left_over.does("INSERT INTO events(body) VALUES ('never committed')");
        mount.kill_daemon();
        let output = mount.start();
        assert!(output.status.success(), "{mode:?}: {}", text(&output.stderr));

        let refused = File::open(&path).expect_err("the database is refused");
        assert_eq!(refused.raw_os_error(), Some(Errno::BUSY.raw_os_error()), "{mode:?}: {refused}");
        // Nor may anybody take away what its recovery needs.
        let busy = |act: &str, done: std::io::Result<()>| {
            let error = done.expect_err(act);
            assert_eq!(error.raw_os_error(), Some(Errno::BUSY.raw_os_error()), "{mode:?}: {act}: {error}");
        };
        let side = mount.path(if mode == Mode::Wal { "app.db-wal" } else { "app.db-journal" });
        assert!(side.symlink_metadata().is_ok(), "{mode:?}: the transaction left its side file");
        busy("remove the side file", std::fs::remove_file(&side));
        busy("rename the side file", std::fs::rename(&side, mount.path("aside")));
        busy("remove the database", std::fs::remove_file(&path));
        busy("rename the database", std::fs::rename(&path, mount.path("b.db")));
        busy("replace the database", std::fs::rename(mount.path("other.db"), &path));
        busy("link the database", std::fs::hard_link(&path, mount.path("c.db")));
        assert_eq!(database::events(&mount.path("other.db")), 0, "others are served");
        let status = mount.status();
        let named = &status["refused_databases"][0];
        assert_eq!(named["path"], "app.db", "{status:#}");
        assert_eq!(named["users"][0]["pid"], left_over.id(), "{status:#}");

        drop(left_over);
        eventually("it is served again", || File::open(&path).is_ok());
        assert_eq!(database::events(&path), 0, "{mode:?}: what was not committed is rolled back");
        database::assert_sound(&path);
    }
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused() {
    let mount = Mount::new();
    let elsewhere = mount.outside().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    let second = mount.hoodydb().arg("mount").arg(&elsewhere).arg("--data").arg(mount.backing()).output();
    let second = second.expect("hoodydb runs");
    assert_eq!(second.status.code(), Some(4), "{}", text(&second.stderr));
    let pid = mount.daemon().as_raw_nonzero().to_string();
    assert!(text(&second.stderr).contains(&format!("pid {pid}")), "{}", text(&second.stderr));
    assert_eq!(text(&second.stderr).lines().count(), 1);
    assert_eq!(std::fs::read_dir(&elsewhere).expect("a directory").count(), 0, "nothing is mounted there");
}

/// `hoodydb umount`, running.
fn unmount_of(mount: &Mount, mut command: Command) -> Client {
    command.env("HOODYDB_RUN_DIR", mount.run_directory()).arg("umount").arg(mount.point());
    let mut client = Client::ready(command);
    client.tell("go");
    client
}

#[test]
fn an_unmount_waits_for_the_transaction_that_runs() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        database::create(&mount.path("app.db"), mode);
        let mut holder = session(&mount, "app.db");
        holder.does("BEGIN IMMEDIATE");
        holder.does("INSERT INTO events(body) VALUES ('kept')");
        let daemon = mount.daemon();
        let unmount = unmount_of(&mount, gated(mount.hoodydb().get_program()));
        eventually("the daemon drains", || mount.status()["phase"] == "draining");
        assert!(!hoodydb_tests::mount::is_gone(daemon));
        holder.does("COMMIT");
        let who = format!("pid {}", holder.id());
        drop(holder);
        let unmount = unmount.finish();
        assert!(unmount.status.success(), "{mode:?}: {}", unmount.errors);
        assert!(unmount.errors.contains(&who), "{mode:?}: it names who is in the way: {}", unmount.errors);
        eventually("the daemon has ended", || hoodydb_tests::mount::is_gone(daemon));
        let output = mount.start();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(database::events(&mount.path("app.db")), 1, "{mode:?}");
    }
}
