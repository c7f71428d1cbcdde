//! Backups while others write: each is one state that the database had, nobody is refused, and a kill leaves nothing half.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoodydb_tests::bank::{self, Clerks};
use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Mount, eventually, is_long};
use serde_json::Value;

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn backups_under_eight_writers_are_one_state_and_refuse_nobody() {
    let rounds = if is_long() { 100 } else { 20 };
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        bank::create(&path, mode, 10, "first");
        let to = mount.outside().join("backups");
        let clerks = Clerks::begin(&path, 8);
        for round in 0..rounds {
            let to = format!("{}/", to.display());
            let mut words = vec!["backup", "bank.db", "--to", &to, "--json", "--keep=2"];
            // Rests only make it longer.
            words.extend((round % 4 > 0).then_some("--full-speed"));
            let answer = mount.answer(&words);
            let file = answer["backups"][0]["file"].as_str().expect("a file");
            assert_eq!(bank::state_of_file(Path::new(file)), "first", "{mode:?}, round {round}");
        }
        let report = clerks.end();
        assert!(report.errors.is_empty(), "{mode:?}: {:?}", report.errors);
        assert!(report.done > 0);
        assert_eq!(files_in(&to.join("bank.db")).len(), 4, "two backups and their manifests are kept");
        bank::state(&path);
    }
}

#[test]
fn a_backup_rests_only_while_others_write() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        bank::create(&path, mode, 20, "first");
        let to = mount.outside().join("copy.db");
        let rested = |options: &[&str]| {
            let words = ["backup", "bank.db", "--json", "--to", to.to_str().expect("text")];
            let answer = mount.answer(&[&words, options].concat());
            answer["backups"][0]["rested_ms"].as_u64().expect("a time")
        };
        assert_eq!(rested(&[]), 0, "{mode:?}: nobody writes");
        let clerks = Clerks::begin(&path, 4);
        eventually("a backup rests", || rested(&[]) > 0);
        assert_eq!(rested(&["--full-speed"]), 0, "{mode:?}");
        assert!(clerks.end().errors.is_empty());
    }
}

#[test]
fn a_manifest_tells_what_the_file_is() {
    let mount = Mount::new();
    bank::create(&mount.path("bank.db"), Mode::Wal, 1, "first");
    let to = mount.outside().join("copy.db.zst");
    let to = to.to_str().expect("text");
    let answer = mount.answer(&["backup", "bank.db", "--to", to, "--compress", "zstd", "--json"]);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(format!("{to}.json")).expect("a manifest")).expect("JSON");
    for field in ["sha256", "pages", "page_size", "created", "sqlite_version", "size_bytes"] {
        assert_eq!(manifest[field], answer["backups"][0][field], "{field}");
    }
    assert_eq!((&manifest["journal_mode"], &manifest["verified"]), (&"wal".into(), &"full".into()));
    let sum = std::process::Command::new("sha256sum").arg(to).output().expect("sha256sum runs");
    assert!(text(&sum.stdout).starts_with(manifest["sha256"].as_str().expect("a sum")));
    assert!(mount.answer(&["restore", to, "again.db", "--json"])["put_aside"].is_null());
    assert_eq!(bank::state(&mount.path("again.db")), "first");
}

#[test]
fn a_file_that_is_no_backup_is_never_replaced() {
    let mount = Mount::new();
    bank::create(&mount.path("bank.db"), Mode::Wal, 1, "first");
    let precious = mount.outside().join("precious");
    std::fs::write(&precious, b"precious").expect("a file");
    let (code, line) = mount.failure(&["backup", "bank.db", "--to", precious.to_str().expect("text")]);
    assert!(code == 1 && line.contains("is no backup of hoodydb"), "{line}");
    assert_eq!(std::fs::read(&precious).expect("the file"), b"precious");
}

#[test]
fn a_damaged_database_is_not_backed_up_as_a_sound_one() {
    let mount = Mount::new();
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Delete, 1, "first");
    damage(&path);
    let to = mount.outside().join("copy.db");
    let (code, line) = mount.failure(&["backup", "bank.db", "--to", to.to_str().expect("text")]);
    assert!(code == 1 && line.contains("damaged"), "{line}");
    assert!(!to.exists());
    mount.answer(&["backup", "bank.db", "--to", to.to_str().expect("text"), "--verify=none", "--json"]);
    assert!(to.exists());
}

/// Overwrites a page in the middle.
fn damage(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).expect("the file");
    file.write_all_at(&[0xff; 4096], 4096 * 100).expect("a page can be written");
}

/// Kills a command at moments that are spread over its whole length, and looks after each kill. Gives how many died at work.
fn kill_amid(mount: &Mount, arguments: &[&str], whole: Duration, kills: u32, look: impl Fn(u32)) -> u32 {
    let mut died = 0;
    for number in 0..kills {
        let mut command = mount.hoodydb();
        command.args(arguments).stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let mut child = command.spawn().expect("hoodydb can be run");
        // When it dies is the load, not a wait for something to be true.
        std::thread::sleep(whole * number / kills);
        let _ = child.kill();
        died += u32::from(!child.wait().expect("it ends").success());
        look(number);
    }
    died
}

fn kills() -> u32 {
    if is_long() { 50 } else { 12 }
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

#[test]
fn a_backup_that_is_killed_leaves_no_half_file_and_the_next_one_cleans_up() {
    let mount = Mount::new();
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Delete, 20, "first");
    let to = mount.outside().join("backups");
    let arguments = ["backup", "bank.db", "--to", &format!("{}/", to.display()), "--json", "--compress=zstd"];
    let whole = time(|| _ = mount.answer(&arguments));
    let backups = to.join("bank.db");
    let died = kill_amid(&mount, &arguments, whole, kills(), |_| {
        for file in files_in(&backups).into_iter().filter(|file| file.extension().is_some_and(|name| name == "zst")) {
            mount.answer(&["restore", "--force", "--json", file.to_str().expect("text"), "copy.db"]);
            assert_eq!(bank::state(&mount.path("copy.db")), "first");
        }
        assert_eq!(bank::state(&path), "first");
    });
    assert!(died > 0, "no kill met a backup at work");
    mount.answer(&arguments);
    let left: Vec<PathBuf> = files_in(&backups).into_iter().filter(|file| is_partial(file)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_partial(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(".hoodydb-"))
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_or_the_new_content() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        let backup = mount.outside().join("second.db");
        let backup = backup.to_str().expect("text");
        bank::create(&path, mode, 10, "second");
        mount.answer(&["backup", "bank.db", "--to", backup, "--json"]);
        std::fs::remove_file(&path).expect("it can be removed");
        let arguments = ["restore", backup, "bank.db", "--json"];
        let whole = time(|| _ = mount.answer(&["restore", backup, "bank.db", "--json"]));
        let died = kill_amid(&mount, &arguments, whole, kills(), |number| {
            let state = bank::state(&path);
            assert!(state == "second" || state == format!("before {number}"), "{state}");
            let name = format!("UPDATE state SET name = 'before {}'", number + 1);
            database::open(&path).execute(&name, []).expect("the state can be named");
        });
        assert!(died > 0, "no kill met a restore at work");
        mount.answer(&arguments);
        assert_eq!(bank::state(&path), "second");
        std::fs::remove_file(&path).expect("it can be removed");
        kill_amid(&mount, &arguments, whole, kills() / 2, |_| {
            if path.exists() {
                assert_eq!(bank::state(&path), "second");
                std::fs::remove_file(&path).expect("it can be removed");
            }
        });
        mount.answer(&arguments);
        assert!(files_in(&mount.point()).iter().all(|file| !is_partial(file)));
    }
}

#[test]
fn a_vacuum_that_is_killed_changes_nothing() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        bank::create(&path, mode, 10, "first");
        database::open(&path).execute("DELETE FROM filling WHERE id % 5 = 0", []).expect("rows can be deleted");
        let rows = database::number(&path, "SELECT count(*) FROM filling");
        let whole = time(|| _ = mount.answer(&["vacuum", "bank.db", "--json"]));
        let into = mount.outside().join("small.db");
        let into = into.to_str().expect("text");
        for arguments in [vec!["vacuum", "bank.db"], vec!["vacuum", "bank.db", "--into", into]] {
            kill_amid(&mount, &arguments, whole, kills() / 2, |_| {
                assert_eq!(bank::state(&path), "first");
                assert_eq!(database::number(&path, "SELECT count(*) FROM filling"), rows);
                if Path::new(into).exists() {
                    assert_eq!(bank::state_of_file(Path::new(into)), "first");
                    std::fs::remove_file(into).expect("it can be removed");
                }
            });
        }
        mount.answer(&["vacuum", "bank.db", "--into", into, "--json"]);
        assert!(files_in(mount.outside()).iter().all(|file| !is_partial(file)));
    }
}

#[test]
fn a_backup_gives_way_before_a_writer_is_refused() {
    let mount = Mount::with(&["--max-wait", "8s"]);
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Delete, 20, "first");
    let mut command = mount.hoodydb();
    let to = mount.outside().join("copy.db");
    // A page at a time: the hold is long enough to be met.
    command.args(["backup", "bank.db", "--restarts=0", "--pages-per-step=1", "--to"]).arg(&to);
    let mut backup = Client::start(command);
    eventually("the backup keeps writers out", || {
        // It stands still while it is looked at: no moment is missed.
        backup.signal(rustix::process::Signal::STOP);
        let holders = mount.locks_of("bank.db")["holders"].as_array().cloned().unwrap_or_default();
        let holds = holders.iter().any(|one| one["role"] == "RESERVED" && one["pid"] == backup.id());
        if !holds {
            backup.signal(rustix::process::Signal::CONT);
        }
        holds || backup.has_ended()
    });
    assert!(!backup.has_ended(), "the backup was not met at work");
    let mut session = python("session.py");
    session.arg(&path);
    let mut writer = Client::ready(session);
    writer.tell("UPDATE state SET name = 'second'");
    eventually("the writer has waited for half of its time", || {
        let waiters = mount.locks_of("bank.db")["waiters"].as_array().cloned().unwrap_or_default();
        waiters.iter().any(|one| one["age_ms"].as_u64() > Some(4_100))
    });
    backup.signal(rustix::process::Signal::CONT);
    writer.expect("ok");
    let finished = backup.finish();
    assert!(!finished.status.success() && finished.errors.contains("gave way"), "{}", finished.errors);
    assert!(!to.exists());
    assert_eq!(bank::state(&path), "second");
}
