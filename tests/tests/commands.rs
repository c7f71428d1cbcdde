//! The commands that users type, word for word, on the mount.

use std::path::Path;
use std::process::{Command, Output};

use hoodydb_tests::crowd::assert_all_succeeded;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Crowd, Mount, gated};

fn shell(directory: &Path, line: &str) -> Command {
    let mut command = gated("sh");
    command.current_dir(directory).args(["-c", line]);
    command
}

/// Runs a line of shell and gives its output.
fn sh(directory: &Path, line: &str) -> String {
    let Output { status, stdout, stderr } =
        Command::new("sh").current_dir(directory).args(["-c", line]).output().expect("sh runs");
    assert!(status.success() && stderr.is_empty(), "{line}: {status}: {}", text(&stderr));
    text(&stdout)
}

/// Runs lines of shell at once.
fn at_once(directory: &Path, lines: &[&str]) {
    assert_all_succeeded(&Crowd::ready(lines.iter().map(|line| shell(directory, line))).run());
}

#[test]
fn two_inserts_at_once() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        for _ in 0..10 {
            at_once(&mount.point(), &["sqlite3 app.db \"INSERT INTO events(body) VALUES ('x')\""; 2]);
        }
        assert_eq!(database::events(&path), 20);
        database::assert_sound(&path);
    }
}

#[test]
fn a_migration_beside_seeds() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        database::create(&mount.path("app.db"), mode);
        let migration = "ALTER TABLE events ADD COLUMN kind; CREATE INDEX by_client ON events(client);
            CREATE TABLE users(name UNIQUE); INSERT INTO users VALUES ('a');";
        let seeds = "INSERT INTO events(client, body) VALUES ('seed', 'x');\n".repeat(100);
        std::fs::write(mount.path("migration.sql"), migration).expect("a script");
        std::fs::write(mount.path("seeds.sql"), seeds).expect("a script");
        at_once(&mount.point(), &["sqlite3 app.db < migration.sql", "sqlite3 app.db < seeds.sql"]);
        assert_eq!(database::events(&mount.path("app.db")), 100);
        assert_eq!(database::number(&mount.path("app.db"), "SELECT count(*) FROM users"), 1);
        database::assert_sound(&mount.path("app.db"));
    }
}

#[test]
fn a_backup_beside_writers() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        database::create(&mount.path("app.db"), mode);
        let insert = "for n in 1 2 3 4 5 6 7 8 9 10; do sqlite3 app.db \"INSERT INTO events(body) VALUES ($n)\"; done";
        at_once(&mount.point(), &[insert, "sqlite3 app.db '.backup copy.db'", insert]);
        database::assert_sound(&mount.path("copy.db"));
        assert_eq!(database::events(&mount.path("app.db")), 20);
    }
}

#[test]
fn vacuum_and_auto_vacuum() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        sh(
            &mount.point(),
            "sqlite3 app.db \"INSERT INTO events(body) SELECT randomblob(4000) FROM generate_series(1, 300)\"",
        );
        let full = std::fs::metadata(&path).expect("the file").len();
        sh(&mount.point(), "sqlite3 app.db \"DELETE FROM events; PRAGMA auto_vacuum = FULL; VACUUM\"");
        assert_eq!(sh(&mount.point(), "sqlite3 app.db 'PRAGMA auto_vacuum'"), "1");
        assert!(std::fs::metadata(&path).expect("the file").len() < full, "VACUUM frees pages");
        at_once(&mount.point(), &["sqlite3 app.db VACUUM", "sqlite3 app.db \"INSERT INTO events(body) VALUES (1)\""]);
        database::assert_sound(&path);
    }
}

#[test]
fn listing_and_sizes() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let listing = sh(&mount.point(), "ls -la");
    let names: Vec<&str> = listing.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, [".", "..", "app.db"]);
    let size = std::fs::metadata(mount.backing().join("app.db")).expect("the backing file").len();
    assert_eq!(sh(&mount.point(), "stat -c %s app.db"), size.to_string());
    let on_mount = sh(&mount.point(), "du -s app.db | cut -f1");
    assert_eq!(on_mount, sh(&mount.backing(), "du -s app.db | cut -f1"));
    assert!(sh(&mount.point(), "du -sh").ends_with('.'));
}

#[test]
fn a_copy_at_rest_is_the_same_database() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let path = mount.path("app.db");
        database::create(&path, mode);
        sh(&mount.point(), "sqlite3 app.db \"INSERT INTO events(body) SELECT value FROM generate_series(1, 5000)\"");
        sh(&mount.point(), "cp app.db copy.db && cmp app.db copy.db && cp -p app.db kept.db && cmp app.db kept.db");
        sh(
            &mount.point(),
            "rsync -a app.db synced.db && cmp app.db synced.db && tar cf all.tar app.db && tar xOf all.tar | cmp - app.db",
        );
        assert_eq!(database::events(&mount.path("copy.db")), 5000);
        database::assert_sound(&mount.path("copy.db"));
    }
}
