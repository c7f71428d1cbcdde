//! The texts, with names from hostile places.

use super::*;
use crate::model::{Finding, Manifest, MountDatabases, ProcessName};

const EVIL: &str = "evil\u{1b}[2J.db";

fn manifest() -> Manifest {
    Manifest {
        version: 1,
        mountpoint: "/hoody/databases".to_owned(),
        database: EVIL.to_owned(),
        created: "2026-11-23T16:04:05.123Z".to_owned(),
        created_ms: 1_795_449_845_123,
        size_bytes: 2_347_315_200,
        page_size: 4096,
        pages: 573_075,
        journal_mode: "delete".to_owned(),
        compression: "none".to_owned(),
        file_bytes: 2_347_315_200,
        sha256: "00ff".to_owned(),
        verified: "full".to_owned(),
        sqlite_version: "3.54.1".to_owned(),
        hoodydb_version: "0.1.0".to_owned(),
    }
}

fn backups() -> BackupAnswer {
    let plain = Backup {
        file: "/b/20261123T160405.123Z.db".to_owned(),
        manifest: manifest(),
        duration_ms: 8_400,
        copy_ms: 2_000,
        restarts: 3,
        held_ms: 1_700,
        rested_ms: 0,
        removed: vec!["/b/old.db".to_owned()],
    };
    let packed = Backup {
        manifest: Manifest { compression: "zstd".to_owned(), file_bytes: 12_345, ..manifest() },
        restarts: 0,
        held_ms: 0,
        rested_ms: 9_000,
        removed: Vec::new(),
        ..plain.clone()
    };
    BackupAnswer { backups: vec![plain, packed], failed: vec![failed()] }
}

fn failed() -> FailedDatabase {
    FailedDatabase { database: EVIL.to_owned(), error: "it is\nfull".to_owned() }
}

#[test]
fn backups_and_failures() {
    insta::assert_snapshot!(backup(&backups(), Style::default()));
}

#[test]
fn a_single_failure_is_the_error_of_the_command() {
    let answer = BackupAnswer { backups: Vec::new(), failed: vec![failed()] };
    assert_eq!(backup(&answer, Style::default()), "");
}

#[test]
fn json_schema_of_a_backup() {
    insta::assert_snapshot!(super::super::json(&backups()).unwrap());
}

#[test]
fn a_restore() {
    let mut answer = RestoreAnswer {
        file: "/b/a.db".to_owned(),
        mountpoint: "/m".to_owned(),
        database: EVIL.to_owned(),
        size_bytes: 8192,
        pages: 2,
        duration_ms: 15,
        put_aside: None,
    };
    let plain = restore(&answer);
    answer.put_aside = Some(format!("/m/{EVIL}.damaged"));
    insta::assert_snapshot!(plain + &restore(&answer));
}

#[test]
fn vacuums() {
    let done = Vacuumed {
        database: EVIL.to_owned(),
        before_bytes: 40_960_000,
        after_bytes: 4_096_000,
        free_pages: 9_000,
        pages: 10_000,
        needed_bytes: 4_096_000,
        duration_ms: 120,
        ..Vacuumed::default()
    };
    let databases = vec![
        done.clone(),
        Vacuumed { into: Some("/b/small.db".to_owned()), ..done.clone() },
        Vacuumed { skipped: true, ..done },
    ];
    insta::assert_snapshot!(vacuum(&VacuumAnswer { databases, failed: vec![failed()] }, Style::default()));
}

#[test]
fn checks() {
    let sound = Checked {
        database: "a.db".to_owned(),
        verdict: "sound".to_owned(),
        size_bytes: 8192,
        page_size: 4096,
        pages: 2,
        journal_mode: "wal".to_owned(),
        wal_bytes: 100_000,
        duration_ms: 3,
        ..Checked::default()
    };
    let finding = |level: &str, what: &str| Finding { level: level.to_owned(), what: what.to_owned() };
    let damaged = Checked {
        database: EVIL.to_owned(),
        verdict: "damaged".to_owned(),
        findings: vec![finding("damaged", "row 1 missing from index \u{1b}x"), finding("warning", "a journal")],
        ..Checked::default()
    };
    insta::assert_snapshot!(check(&CheckAnswer { databases: vec![sound, damaged] }, Style::default()));
}

#[test]
fn a_list() {
    let facts = DatabaseFacts {
        path: "a.db".to_owned(),
        size_bytes: 2_000_000,
        wal_bytes: 32_000,
        journal_mode: "wal".to_owned(),
        page_size: 4096,
        pages: 488,
        free_pages: 100,
        tables: 12,
        last_write_age_s: 75,
        users: vec![ProcessName { pid: 42, command: "python3 app.py".to_owned() }],
        ..DatabaseFacts::default()
    };
    let broken = DatabaseFacts {
        path: EVIL.to_owned(),
        journal_mode: "unknown".to_owned(),
        error: Some("it is no database".to_owned()),
        users: Vec::new(),
        ..facts.clone()
    };
    let busy = MountDatabases { mountpoint: "/a".to_owned(), databases: vec![facts, broken] };
    let empty = MountDatabases { mountpoint: "/b".to_owned(), databases: Vec::new() };
    insta::assert_snapshot!(databases(&DatabaseList { mounts: vec![busy, empty] }, Style::default()));
}
