//! `hoodydb history`: the minute that runs and those of before, over kills, unmounts and broken files.

use std::path::PathBuf;

use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Mount, clients};
use serde_json::Value;

fn session(mount: &Mount) -> Client {
    let mut command = clients::python("session.py");
    command.arg(mount.path("app.db"));
    Client::ready(command)
}

fn history(mount: &Mount, arguments: &[&str]) -> Value {
    let output = mount.command(&[&["history", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    all["mounts"][0].clone()
}

/// A count of one database, over all its minutes.
fn sum(mount: &Mount, field: &str) -> u64 {
    let minutes = history(mount, &["--db", "app.db"])["minutes"].as_array().cloned().unwrap_or_default();
    assert!(minutes.iter().all(|minute| minute["path"] == "app.db"), "{minutes:?}");
    minutes.iter().filter_map(|minute| minute[field].as_u64()).sum()
}

fn file(mount: &Mount) -> PathBuf {
    mount.backing().join(".hoodydb/history.db")
}

#[test]
fn the_minute_that_runs_names_who_holds() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut writer = session(&mount);
    writer.does("BEGIN IMMEDIATE");
    let minutes = history(&mount, &[])["minutes"].as_array().cloned().expect("minutes");
    let last = minutes.last().expect("the minute that runs");
    assert_eq!((&last["path"], &last["longest_holder"]["pid"]), (&Value::from("app.db"), &Value::from(writer.id())));
    assert_eq!(last["minute_unix_s"].as_u64().expect("a time") % 60, 0);
    assert!(sum(&mount, "acquisitions") > 0, "what was counted before the first look counts");
    let table = text(&mount.command(&["history", "--since", "10m"]).stdout);
    assert!(table.contains("app.db") && table.contains("session.py"), "{table}");
}

#[test]
fn it_equals_the_counts_of_status() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let mut writer = session(&mount);
    for _ in 0..20 {
        writer.does("INSERT INTO events(body) VALUES ('x')");
    }
    let granted = mount.status()["databases"][0]["granted"].as_u64().expect("a count");
    assert_eq!(sum(&mount, "acquisitions"), granted);
}

#[test]
fn minutes_outlive_each_handover_and_the_mount() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let mut writer = session(&mount);
    writer.does("INSERT INTO events(body) VALUES ('x')");
    let mut before = sum(&mount, "acquisitions");
    for (number, handover) in Mount::HANDOVERS.iter().enumerate() {
        handover(&mount);
        writer.does("INSERT INTO events(body) VALUES ('x')");
        let after = sum(&mount, "acquisitions");
        assert!(after > before, "handover {number}: {before}, then {after}");
        before = after;
    }
    writer.does("close");
    let at_the_end = sum(&mount, "acquisitions");
    assert!(mount.unmount().status.success());
    assert!(mount.start().status.success());
    assert!(sum(&mount, "acquisitions") >= at_the_end);
    assert!(!mount.path(".hoodydb").exists(), "the file is not on the mount");
}

#[test]
fn a_broken_file_is_put_aside() {
    let mount = Mount::new();
    assert!(mount.unmount().status.success());
    std::fs::write(file(&mount), [0xff; 10_000]).expect("garbage");
    assert!(mount.start().status.success());
    database::create(&mount.path("app.db"), Mode::Wal);
    assert!(sum(&mount, "acquisitions") > 0);
    assert!(file(&mount).with_extension("db.broken").exists());
    assert!(mount.log().contains("the history begins anew"), "{}", mount.log());
    assert_eq!(mount.status()["history_missing"], Value::Null);
}

#[test]
fn a_file_that_cannot_be_written_harms_nothing() {
    let mount = Mount::new();
    assert!(mount.unmount().status.success());
    std::fs::remove_file(file(&mount)).expect("the file");
    std::fs::create_dir(file(&mount)).expect("something that is no file");
    assert!(mount.start().status.success());
    database::create(&mount.path("app.db"), Mode::Wal);
    assert!(sum(&mount, "acquisitions") > 0, "the minute that runs is in memory");
    let told = [mount.status()["history_missing"].clone(), history(&mount, &[])["missing"].clone()];
    assert!(told.iter().all(|reason| reason.as_str().is_some_and(|reason| reason.contains("history.db"))), "{told:?}");
    assert!(text(&mount.command(&["history"]).stdout).contains("WARNING: minutes are missing"));
    assert!(mount.log().contains("cannot be kept"), "{}", mount.log());
}
