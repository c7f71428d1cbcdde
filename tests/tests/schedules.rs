//! Backups that the daemon has made again and again.

use hoodydb_tests::bank;
use hoodydb_tests::clients::python;
use hoodydb_tests::database::Mode;
use hoodydb_tests::{Client, Mount, eventually};
use serde_json::Value;

fn schedule(mount: &Mount, id: u64) -> Value {
    let schedules = mount.status()["schedules"].as_array().cloned().unwrap_or_default();
    schedules.into_iter().find(|one| one["id"] == id).unwrap_or_default()
}

fn add(mount: &Mount, words: &[&str]) -> u64 {
    let to = mount.outside().join("backups");
    let to = to.to_str().expect("text");
    let words = [&["backup", "schedule", "add", "--json", "--to", to], words].concat();
    mount.answer(&words)["id"].as_u64().expect("a number")
}

#[test]
fn backups_are_made_again_and_again_and_as_many_kept_as_asked() {
    let mount = Mount::new();
    for name in ["a.db", "b.db"] {
        bank::create(&mount.path(name), Mode::Wal, 1, "first");
    }
    let id = add(&mount, &["--all", "--every", "1s", "--keep", "2"]);
    eventually("three runs have ended", || schedule(&mount, id)["runs_total"].as_u64() >= Some(3));
    let last = schedule(&mount, id)["last"].clone();
    assert_eq!((&last["ok"], &last["backups"], &last["error"]), (&true.into(), &2.into(), &Value::Null));
    assert!(mount.command(&["backup", "schedule", "remove", &id.to_string()]).status.success());
    assert!(schedule(&mount, id).is_null());
    let (code, line) = mount.failure(&["backup", "schedule", "remove", &id.to_string()]);
    assert!(code == 1 && line.contains("there is no schedule"), "{line}");
    // The run that was at work, if one was, ends.
    let backups = mount.outside().join("backups/a.db");
    eventually("two backups and their manifests are there", || {
        std::fs::read_dir(&backups).map_or(0, |entries| entries.flatten().count()) == 4
    });
}

#[test]
fn a_run_that_fails_is_told_loudly() {
    let mount = Mount::new();
    let id = add(&mount, &["none.db", "--every", "1h"]);
    eventually("the run has failed", || schedule(&mount, id)["failures_total"] == 1);
    let last = schedule(&mount, id)["last"].clone();
    assert_eq!(last["ok"], false);
    assert!(last["error"].as_str().is_some_and(|error| error.contains("none.db does not exist")), "{last}");
    let status = String::from_utf8(mount.command(&["status"]).stdout).expect("text");
    assert!(status.contains("WARNING: backup schedule 1 failed"), "{status}");
    assert!(mount.log().contains("a backup by schedule failed"));
}

#[test]
fn a_run_survives_its_daemon_and_is_begun_once() {
    let mount = Mount::new();
    bank::create(&mount.path("bank.db"), Mode::Delete, 1, "first");
    // The run waits for its turn for as long as this test wants.
    let mut command = python("session.py");
    command.arg(mount.path("bank.db"));
    let mut holder = Client::ready(command);
    holder.does("BEGIN EXCLUSIVE");
    let id = add(&mount, &["bank.db", "--every", "1h"]);
    eventually("the run waits", || mount.waiters_of("bank.db").len() == 1);
    let run = mount.waiters_of("bank.db")[0];
    mount.kill_worker();
    mount.kill_keeper();
    eventually("the same run waits", || mount.waiters_of("bank.db") == [run]);
    assert_eq!(schedule(&mount, id)["running"], true);
    holder.does("COMMIT");
    eventually("the run has ended", || schedule(&mount, id)["runs_total"] == 1);
    let last = schedule(&mount, id)["last"].clone();
    assert_eq!((&last["ok"], &last["backups"]), (&true.into(), &1.into()), "{last}");
}

#[test]
fn a_run_that_is_killed_has_failed() {
    let mount = Mount::new();
    bank::create(&mount.path("bank.db"), Mode::Delete, 1, "first");
    let mut command = python("session.py");
    command.arg(mount.path("bank.db"));
    let mut holder = Client::ready(command);
    holder.does("BEGIN EXCLUSIVE");
    let id = add(&mount, &["bank.db", "--every", "1h"]);
    eventually("the run waits", || mount.waiters_of("bank.db").len() == 1);
    let run = i32::try_from(mount.waiters_of("bank.db")[0]).ok().and_then(rustix::process::Pid::from_raw);
    let run = run.expect("a process");
    // It is no child of the daemon's making that the kernel spares: it has the mount open as any client has.
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", run.as_raw_nonzero())).expect("a process");
    assert_eq!(score.trim(), "0");
    rustix::process::kill_process(run, rustix::process::Signal::KILL).expect("it can be killed");
    eventually("the run has failed", || schedule(&mount, id)["failures_total"] == 1);
    let last = schedule(&mount, id)["last"].clone();
    assert!(last["error"].as_str().is_some_and(|error| error.contains("killed")), "{last}");
    holder.does("COMMIT");
}

#[test]
fn schedules_outlive_the_mount_and_a_damaged_list_keeps_no_mount_away() {
    let mount = Mount::new();
    let id = add(&mount, &["none.db", "--every", "1h"]);
    eventually("the run has failed", || schedule(&mount, id)["failures_total"] == 1);
    let remount = || {
        assert!(mount.command(&["umount", mount.point().to_str().expect("text")]).status.success());
        assert!(mount.start().status.success());
    };
    remount();
    assert_eq!(schedule(&mount, id)["failures_total"], 1, "it is not due yet");
    let list = mount.backing().join(".hoodydb/schedules.json");
    std::fs::write(&list, b"{").expect("a file");
    remount();
    let error = mount.status()["schedules_error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("cannot be read")), "{error}");
    let (_, line) = mount.failure(&["backup", "schedule", "add", "none.db", "--every", "1h"]);
    assert!(line.contains("cannot be read"), "{line}");
    assert_eq!(std::fs::read(&list).expect("the list"), b"{");
}

#[test]
fn units_for_systemd_are_printed() {
    let mount = Mount::new();
    let output =
        mount.command(&["backup", "schedule", "timer", "--all", "--every", "15m", "--keep", "4", "--to", "/b c"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("OnUnitActiveSec=900s") && text.contains("Type=oneshot"), "{text}");
    assert!(text.contains(" --to \"/b c/\" ") && text.contains("--keep=4") && text.contains(" --all\n"), "{text}");
}
