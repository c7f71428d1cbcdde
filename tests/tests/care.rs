//! Restore, vacuum, check and db on databases that are in use, damaged, or on a disk that is full.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hoodydb_tests::bank::{self, Clerks};
use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Client, Mount, Place};
use rustix::mount::{MountFlags, mount};

fn session(path: &Path) -> Client {
    let mut command = python("session.py");
    command.arg(path);
    Client::ready(command)
}

/// Backs a database up into a file beside the mount.
fn backed_up(mount: &Mount, database: &str) -> PathBuf {
    let to = mount.outside().join(format!("{}.backup", database.replace('/', "-")));
    mount.answer(&["backup", database, "--json", "--to", to.to_str().expect("text")]);
    to
}

fn files_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(path).expect("the file");
    file.write_all_at(bytes, at).expect("it can be written");
}

#[test]
fn open_connections_see_what_is_restored_and_go_on() {
    for before in Mode::ALL {
        for after in Mode::ALL {
            let mount = Mount::new();
            let path = mount.path("bank.db");
            bank::create(&mount.path("new.db"), after, 3, "new");
            let backup = backed_up(&mount, "new.db");
            bank::create(&path, before, 1, "old");
            let mut sessions: Vec<Client> = (0..3).map(|_| session(&path)).collect();
            for session in &mut sessions {
                assert_eq!(session.ask("rows SELECT name FROM state"), "old");
            }
            let backup = backup.to_str().expect("text");
            let (code, line) = mount.failure(&["restore", backup, "bank.db"]);
            assert!(code == 4 && line.contains("--force") && line.contains("session.py"), "{line}");
            let answer = mount.answer(&["restore", backup, "bank.db", "--force", "--json"]);
            assert!(answer["put_aside"].is_null());
            for session in &mut sessions {
                assert_eq!(session.ask("rows SELECT name FROM state"), "new", "{before:?} to {after:?}");
                session.does("INSERT INTO events(body) VALUES ('after')");
            }
            let kept = if before == Mode::Wal { Mode::Wal } else { after };
            assert_eq!(sessions[0].ask("rows PRAGMA journal_mode"), kept.name());
            drop(sessions);
            assert_eq!(bank::state(&path), "new");
            assert_eq!(database::events(&path), 3, "{before:?} to {after:?}");
        }
    }
}

#[test]
fn a_restore_amid_writers_refuses_nobody() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        bank::create(&path, mode, 3, "first");
        let backup = backed_up(&mount, "bank.db");
        let clerks = Clerks::begin(&path, 4);
        for _ in 0..5 {
            mount.answer(&["restore", backup.to_str().expect("text"), "bank.db", "--force", "--json"]);
        }
        let report = clerks.end();
        assert!(report.errors.is_empty(), "{mode:?}: {:?}", report.errors);
        assert_eq!(bank::state(&path), "first");
    }
}

#[test]
fn what_is_no_whole_backup_is_refused_and_the_target_is_not_touched() {
    let mount = Mount::new();
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Delete, 1, "old");
    let backup = backed_up(&mount, "bank.db");
    let content = std::fs::read(&path).expect("the database");
    let whole = std::fs::read(&backup).expect("the backup");
    let file = mount.outside().join("file");
    let refused = |bytes: &[u8], why: &str| {
        std::fs::write(&file, bytes).expect("a file");
        for target in ["bank.db", "new.db"] {
            let (code, line) = mount.failure(&["restore", file.to_str().expect("text"), target]);
            assert!(code == 1 && line.contains(why), "{line}");
        }
        assert_eq!(std::fs::read(&path).expect("the database"), content);
        assert_eq!(files_in(&mount.point()), ["bank.db"]);
    };
    refused(b"", "is empty");
    refused(b"garbage", "does not begin as a database of SQLite");
    refused(&[b"SQLite format 4\0", &whole[16..]].concat(), "does not begin as a database of SQLite");
    let scrambled: Vec<u8> = whole.iter().map(|byte| byte ^ 0xa5).collect();
    refused(&scrambled, "encrypted");
    refused(&whole[..50], "within the header");
    refused(&whole[..whole.len() - 1], "is cut off");
    let mut damaged = whole.clone();
    damaged[4096 * 20..4096 * 21].fill(0xff);
    refused(&damaged, "is damaged");
    std::fs::write(mount.outside().join("file-wal"), b"a log").expect("a file");
    refused(&whole, "-wal file beside it");
    std::fs::remove_file(mount.outside().join("file-wal")).expect("it can be removed");
    let packed = mount.outside().join("file.zst");
    std::fs::write(&packed, b"garbage").expect("a file");
    let (_, line) = mount.failure(&["restore", packed.to_str().expect("text"), "bank.db"]);
    assert!(line.contains("is no whole Zstandard file") && line.contains("file.zst"), "{line}");
    // A manifest knows better than the file.
    overwrite(&backup, 24, b"x");
    let (_, line) = mount.failure(&["restore", backup.to_str().expect("text"), "bank.db"]);
    assert!(line.contains("SHA-256"), "{line}");
    std::fs::write(&backup, &whole[..whole.len() - 4096]).expect("a file");
    let (_, line) = mount.failure(&["restore", backup.to_str().expect("text"), "bank.db"]);
    assert!(line.contains("it is not whole"), "{line}");
    assert_eq!(std::fs::read(&path).expect("the database"), content);
}

#[test]
fn a_database_at_work_is_no_backup() {
    let mount = Mount::new();
    for name in ["from.db", "to.db"] {
        bank::create(&mount.path(name), Mode::Delete, 1, name);
    }
    let from = mount.path("from.db");
    let from = from.to_str().expect("text");
    for target in ["to.db", "new.db", "from.db"] {
        let (code, line) = mount.failure(&["restore", from, target]);
        assert!(code == 1 && line.contains("is a database on the mount"), "{line}");
    }
    assert_eq!(bank::state(&mount.path("to.db")), "to.db");
    // A backup that somebody keeps on the mount is one.
    let kept = mount.path("kept.backup");
    let kept = kept.to_str().expect("text");
    mount.answer(&["backup", "from.db", "--to", kept, "--json"]);
    mount.answer(&["restore", kept, "to.db", "--json"]);
    assert_eq!(bank::state(&mount.path("to.db")), "from.db");
}

#[test]
fn a_timeout_is_kept_however_long_the_mount_would_wait() {
    for mode in Mode::ALL {
        let mount = Mount::with(&["--max-wait", "10m"]);
        let path = mount.path("bank.db");
        bank::create(&path, mode, 1, "first");
        let backup = backed_up(&mount, "bank.db");
        let mut holder = session(&path);
        holder.does("BEGIN EXCLUSIVE");
        let backup = backup.to_str().expect("text");
        let restore = ["restore", backup, "bank.db", "--force", "--timeout=200ms"];
        for command in [&["vacuum", "bank.db", "--timeout=200ms"][..], &restore] {
            let (code, line) = mount.failure(command);
            assert!(code == 1 && line.contains("is busy") && line.contains("held by pid"), "{mode:?}: {line}");
        }
        // It was the command that ended its wait, and not the mount.
        let totals = mount.status()["totals"].clone();
        assert!(totals["interrupted"].as_u64() > Some(0), "{totals}");
        holder.does("COMMIT");
        mount.answer(&["vacuum", "bank.db", "--json", "--timeout=200ms"]);
        assert_eq!(bank::state(&path), "first");
    }
}

#[test]
fn a_database_that_is_damaged_at_its_beginning_is_put_aside() {
    let mount = Mount::new();
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Delete, 1, "first");
    let backup = backed_up(&mount, "bank.db");
    overwrite(&path, 0, b"XXXX");
    assert_eq!(mount.failure(&["check", "bank.db"]).0, 6);
    let mut user = session(&path);
    assert!(user.ask("rows SELECT 1 FROM state").starts_with("error"));
    let (code, line) = mount.failure(&["restore", backup.to_str().expect("text"), "bank.db", "--force"]);
    assert!(code == 4 && line.contains("damaged at its beginning"), "{line}");
    drop(user);
    let answer = mount.answer(&["restore", backup.to_str().expect("text"), "bank.db", "--json"]);
    assert!(Path::new(answer["put_aside"].as_str().expect("a path")).exists());
    assert_eq!(bank::state(&path), "first");
}

#[test]
fn pages_of_another_size_are_restored_while_nobody_has_the_log_open() {
    let mount = Mount::new();
    mount.command(&["db", "create", "new.db", "--page-size", "8192"]);
    database::open(&mount.path("new.db")).execute_batch("CREATE TABLE t(x)").expect("a table");
    let backup = backed_up(&mount, "new.db");
    let backup = backup.to_str().expect("text");
    for mode in Mode::ALL {
        let path = mount.path(&format!("{}.db", mode.name()));
        bank::create(&path, mode, 1, "old");
        let name = path.to_str().expect("text");
        let mut user = session(&path);
        assert_eq!(user.ask("rows SELECT name FROM state"), "old");
        match mode {
            Mode::Wal => {
                assert!(mount.failure(&["restore", backup, name, "--force"]).1.contains("pages of 8192 bytes"));
                drop(user);
                mount.answer(&["restore", backup, name, "--json"]);
            }
            Mode::Delete => {
                mount.answer(&["restore", backup, name, "--json", "--force"]);
                assert_eq!(user.ask("rows SELECT count(*) FROM t"), "0");
            }
        }
        assert_eq!(database::number(&path, "PRAGMA page_size"), 8192);
        database::assert_sound(&path);
    }
}

#[test]
fn a_vacuum_gives_room_back_and_says_how_much() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        bank::create(&path, mode, 3, "first");
        let passed = mount.answer(&["vacuum", "bank.db", "--if-free=20%", "--json"]);
        assert_eq!(passed["databases"][0]["skipped"], true);
        database::open(&path).execute("DELETE FROM filling WHERE id > 100", []).expect("rows can be deleted");
        let answer = mount.answer(&["vacuum", "bank.db", "--if-free=20%", "--analyze", "--auto-vacuum=full", "--json"]);
        let done = &answer["databases"][0];
        let size = std::fs::metadata(&path).expect("the file").len();
        assert_eq!(done["after_bytes"], size, "{mode:?}: {answer}");
        assert!(done["before_bytes"].as_u64() > Some(size * 2), "{answer}");
        assert_eq!(database::number(&path, "PRAGMA auto_vacuum"), 1);
        assert!(database::number(&path, "SELECT count(*) FROM sqlite_stat1") > 0);
        assert_eq!(bank::state(&path), "first");
    }
}

#[test]
fn a_vacuum_takes_its_turn_and_says_when_it_gets_none() {
    for mode in Mode::ALL {
        let mount = Mount::with(&["--max-wait", "100ms"]);
        let path = mount.path("bank.db");
        bank::create(&path, mode, 1, "first");
        let mut holder = session(&path);
        holder.does("BEGIN IMMEDIATE");
        let (code, line) = mount.failure(&["vacuum", "bank.db", "--timeout", "500ms"]);
        assert!(code == 1 && line.contains("bank.db is busy: the vacuum waited"), "{line}");
        assert!(line.contains(&format!("held by pid {}", holder.id())), "{line}");
        holder.does("COMMIT");
        mount.answer(&["vacuum", "bank.db", "--json"]);
    }
}

#[test]
fn a_check_tells_what_is_wrong_by_its_exit_code() {
    let mount = Mount::new();
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Delete, 1, "first");
    let sound = mount.answer(&["check", "bank.db", "--json"]);
    assert_eq!(sound["databases"][0]["verdict"], "sound");
    let orphan = "CREATE TABLE child(p REFERENCES accounts(id)); INSERT INTO child VALUES (5000), (5001)";
    let connection = database::open(&path);
    connection.pragma_update(None, "foreign_keys", false).expect("they can be switched off");
    connection.execute_batch(orphan).expect("rows");
    drop(connection);
    assert_eq!(mount.failure(&["check", "bank.db"]).0, 5);
    let output = mount.command(&["check", "bank.db", "--json", "--quick"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let finding = answer["databases"][0]["findings"][0]["what"].as_str().expect("a finding");
    assert!(finding.starts_with("2 rows of child refer to rows of accounts"), "{finding}");
    overwrite(&path, 4096 * 20, &[0xff; 4096]);
    assert_eq!(mount.failure(&["check", "bank.db"]).0, 6);
    assert_eq!(mount.failure(&["check", "bank.db", "none.db"]).0, 6, "the worst finding counts");
    assert_eq!(mount.failure(&["check", "none.db"]).0, 1);
}

#[test]
fn what_a_dead_writer_left_is_told_before_it_is_gone() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("bank.db");
        bank::create(&path, mode, 1, "first");
        let mut writer = session(&path);
        writer.does("BEGIN IMMEDIATE");
        // More than the page cache holds: pages are written before the commit.
        writer.does("PRAGMA cache_size = 10");
        writer.does("UPDATE filling SET x = randomblob(900)");
        writer.signal(rustix::process::Signal::KILL);
        drop(writer);
        let (code, _) = mount.failure(&["check", "bank.db", "--json"]);
        assert_eq!(code, 5, "{mode:?}");
        mount.answer(&["check", "bank.db", "--json"]);
        assert_eq!(bank::state(&path), "first");
    }
}

/// A small disk.
fn small_disk(place: &Place, name: &str, megabytes: u32) -> PathBuf {
    let path = place.directory(name);
    let size = std::ffi::CString::new(format!("size={megabytes}m")).expect("text");
    mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(size.as_c_str())).expect("a tmpfs can be mounted");
    path
}

/// Leaves so many bytes of a disk free.
fn fill(disk: &Path, left: u64) {
    let stat = rustix::fs::statvfs(disk).expect("the disk");
    let free = stat.f_bavail * stat.f_frsize;
    let file = std::fs::File::create(disk.join("filler")).expect("a file");
    let bytes = free.checked_sub(left).expect("the disk has more room");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("room can be taken");
}

#[test]
fn a_full_disk_leaves_no_half_backup() {
    let mount = Mount::new();
    let place = Place::new();
    bank::create(&mount.path("bank.db"), Mode::Wal, 3, "first");
    let size = std::fs::metadata(mount.path("bank.db")).expect("the file").len();
    let disk = small_disk(&place, "small", 16);
    let to = disk.join("copy.db");
    let to = to.to_str().expect("text");
    // Room for the copy, but not for what is made of it.
    fill(&disk, size + 64 * 1024);
    let (code, line) = mount.failure(&["backup", "bank.db", "--to", to, "--compress=zstd"]);
    assert!(code == 1 && line.contains("no space is left"), "{line}");
    assert_eq!(files_in(&disk), ["filler"]);
    // No room at all is told before anything is written.
    std::fs::remove_file(disk.join("filler")).expect("it can be removed");
    fill(&disk, size / 2);
    let (code, line) = mount.failure(&["backup", "bank.db", "--to", to]);
    assert!(code == 1 && line.contains("needs") && line.contains("are free"), "{line}");
    let (code, line) = mount.failure(&["vacuum", "bank.db", "--into", to]);
    assert!(code == 1 && line.contains("needs"), "{line}");
    assert_eq!(files_in(&disk), ["filler"]);
    assert_eq!(bank::state(&mount.path("bank.db")), "first");
}

#[test]
fn a_disk_that_fills_up_amid_a_copy_leaves_no_half_backup() {
    let mount = Mount::new();
    let place = Place::new();
    let path = mount.path("bank.db");
    bank::create(&path, Mode::Wal, 3, "first");
    let disk = small_disk(&place, "small", 16);
    let to = disk.join("copy.db");
    // What is in the log is not in the size of the file: the copy is longer than was looked for.
    let mut writer = session(&path);
    writer.does("PRAGMA wal_autocheckpoint = 0");
    writer.does("INSERT INTO filling(x) SELECT randomblob(970) FROM filling");
    fill(&disk, std::fs::metadata(&path).expect("the file").len() + 64 * 1024);
    let (code, line) = mount.failure(&["backup", "bank.db", "--to", to.to_str().expect("text")]);
    assert!(code == 1 && line.contains("no space is left on the disk of") && line.contains("small"), "{line}");
    assert_eq!(files_in(&disk), ["filler"]);
    assert_eq!(writer.ask("rows SELECT name FROM state"), "first");
}

#[test]
fn a_full_disk_under_the_mount_leaves_the_old_content() {
    for mode in Mode::ALL {
        let place = Place::new();
        let disk = small_disk(&place, "disk", 40);
        let data = disk.join("data");
        std::fs::create_dir(&data).expect("a directory");
        let mount = Mount::over(&data);
        let path = mount.path("bank.db");
        bank::create(&path, mode, 3, "new");
        let backup = backed_up(&mount, "bank.db");
        let backup = backup.to_str().expect("text");
        database::open(&path).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
        // What is looked for, and not a page more: journals and logs have headers.
        fill(&disk, std::fs::metadata(&path).expect("the file").len() + 4096);
        let (code, line) = mount.failure(&["vacuum", "bank.db"]);
        assert!(code == 1 && line.contains("no space is left"), "{mode:?}: {line}");
        assert_eq!(bank::state(&path), "new");
        std::fs::remove_file(disk.join("filler")).expect("it can be removed");
        database::open(&path)
            .execute_batch("UPDATE state SET name = 'old'; DELETE FROM filling WHERE id % 2")
            .expect("rows");
        database::open(&path).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
        let size = std::fs::metadata(&path).expect("the file").len();
        fill(&disk, size + 4096);
        let (code, line) = mount.failure(&["restore", backup, "bank.db"]);
        assert!(code == 1 && line.contains("no space is left"), "{mode:?}: {line}");
        assert_eq!(bank::state(&path), "old");
        std::fs::remove_file(disk.join("filler")).expect("it can be removed");
        fill(&disk, size / 2);
        for command in [&["restore", backup, "bank.db"][..], &["restore", backup, "another.db"], &["vacuum", "bank.db"]]
        {
            let (code, line) = mount.failure(command);
            assert!(code == 1 && line.contains("needs"), "{mode:?}: {line}");
        }
        assert_eq!(bank::state(&path), "old");
        let left: Vec<String> = files_in(&mount.point());
        assert!(left.iter().all(|name| name.starts_with("bank.db")), "{left:?}");
    }
}

#[test]
fn databases_are_made_listed_switched_and_removed() {
    let mount = Mount::new();
    for (name, journal) in [("a.db", "wal"), ("b.db", "delete")] {
        assert!(mount.command(&["db", "create", name, "--journal", journal]).status.success());
        assert!(mount.failure(&["db", "create", name]).1.contains("exists"));
    }
    std::fs::write(mount.path("notes.txt"), b"no database").expect("a file");
    std::fs::write(mount.path("bad.db"), b"SQLite format 3\0 and nothing more of it").expect("a file");
    let mut user = session(&mount.path("a.db"));
    user.does("CREATE TABLE t(x)");
    let listed = mount.answer(&["db", "list", "--json"]);
    let databases = listed["mounts"][0]["databases"].as_array().cloned().expect("databases");
    let paths: Vec<&str> = databases.iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!(paths, ["a.db", "b.db", "bad.db"]);
    assert_eq!((&databases[0]["journal_mode"], &databases[0]["tables"]), (&"wal".into(), &1.into()));
    assert_eq!(databases[0]["users"][0]["pid"], user.id());
    assert_eq!(databases[1]["journal_mode"], "delete");
    assert!(databases[2]["error"].is_string());
    for command in [&["db", "wal", "off", "a.db", "--timeout=100ms"][..], &["db", "delete", "a.db"]] {
        let (code, line) = mount.failure(command);
        assert!(code == 4 && line.contains("is in use by pid"), "{line}");
    }
    drop(user);
    for (setting, mode) in [("off", "delete"), ("on", "wal")] {
        assert!(mount.command(&["db", "wal", setting, "a.db"]).status.success());
        let now: String = database::open(&mount.path("a.db"))
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .expect("a journal mode");
        assert_eq!(now, mode);
    }
    assert!(mount.command(&["db", "delete", "a.db"]).status.success());
    assert!(mount.failure(&["db", "delete", "a.db"]).1.contains("does not exist"));
    assert_eq!(mount.failure(&["db", "delete", "bad.db"]).0, 1);
    assert!(mount.command(&["db", "delete", "bad.db", "--force"]).status.success());
    assert_eq!(files_in(&mount.point()), ["b.db", "notes.txt"]);
}
