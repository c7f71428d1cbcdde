//! Whose rights count, and what the mount keeps from everybody.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use hoodydb_tests::Mount;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;

/// Runs a line of shell as nobody.
fn as_nobody(directory: &Path, line: &str) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", line]).current_dir(directory);
    command.output().expect("setpriv runs")
}

#[test]
fn with_unix_access_the_mode_bits_count() {
    let mount = Mount::with(&["--access", "unix"]);
    database::create(&mount.path("app.db"), Mode::Delete);
    std::fs::set_permissions(mount.path("app.db"), PermissionsExt::from_mode(0o600)).expect("chmod");
    assert_eq!(std::fs::metadata(mount.path("app.db")).expect("stat").mode() & 0o777, 0o600);
    assert!(!as_nobody(&mount.point(), "cat app.db").status.success());
    assert!(!as_nobody(&mount.point(), "touch new").status.success());
    std::os::unix::fs::chown(mount.path("app.db"), Some(65534), Some(65534)).expect("chown");
    assert!(as_nobody(&mount.point(), "cat app.db > /dev/null").status.success());
    assert!(!as_nobody(&mount.point(), "touch new").status.success(), "the root is root's");
    std::fs::set_permissions(mount.point(), PermissionsExt::from_mode(0o777)).expect("chmod");
    assert!(as_nobody(&mount.point(), "cat app.db > /dev/null").status.success());
    let insert = as_nobody(&mount.point(), "sqlite3 app.db \"INSERT INTO events(body) VALUES ('x')\" && touch new");
    assert!(insert.status.success(), "{}", text(&insert.stderr));
    assert_eq!(std::fs::metadata(mount.path("new")).expect("stat").uid(), 65534);
    let mode = |path: &Path| std::fs::metadata(path).expect("stat").mode() & 0o7777;
    assert_eq!((mode(&mount.point()), mode(&mount.backing())), (0o777, 0o700), "the way past the mount stays shut");
    assert!(mount.command(&["umount", &mount.point().to_string_lossy()]).status.success());
    assert!(mount.start().status.success());
    assert_eq!(mode(&mount.point()), 0o777, "the root's mode is kept");
}

#[test]
fn with_shared_access_everybody_who_sees_the_mount_reads_and_writes() {
    let mount = Mount::with(&["--access", "shared"]);
    database::create(&mount.path("app.db"), Mode::Wal);
    let line = "sqlite3 app.db \"INSERT INTO events(body) VALUES ('x')\" && cp app.db copy.db && chmod 600 copy.db \
                && chown 65534 copy.db \
                && tar cf all.tar app.db && mkdir d && tar xf all.tar -C d && cmp app.db d/app.db";
    let output = as_nobody(&mount.point(), line);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let kept =
        Command::new("cp").arg("-p").args([mount.path("app.db"), mount.path("kept.db")]).output().expect("cp runs");
    assert!(kept.status.success() && kept.stderr.is_empty(), "{}", text(&kept.stderr));
    for name in ["app.db", "copy.db", "kept.db", "d/app.db"] {
        let seen = std::fs::metadata(mount.path(name)).expect("stat");
        assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o777), (0, 0, 0o644), "{name}");
    }
    assert_eq!(database::events(&mount.path("app.db")), 1);
    let times =
        [&mount.path("app.db"), &mount.path("d/app.db")].map(|path| std::fs::metadata(path).expect("stat").mtime());
    assert_eq!(times[0], times[1], "tar keeps the time of the last change");
}

#[test]
fn the_backing_directory_is_private_and_nothing_leads_out_of_it() {
    let mount = Mount::new();
    assert_eq!(std::fs::metadata(mount.backing()).expect("stat").mode() & 0o777, 0o700);
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table of mounts");
    let point = mount.point();
    let line = table.lines().find(|line| line.split(' ').nth(4) == point.to_str()).expect("it is mounted");
    let options = line.split(' ').nth(5).expect("options");
    assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
    // The daemon's own directory is not shown, neither by listing nor by name.
    assert!(mount.backing().join(".hoodydb").is_dir());
    assert_eq!(std::fs::read_dir(mount.point()).expect("readdir").count(), 0);
    assert!(std::fs::metadata(mount.path(".hoodydb/daemon.lock")).is_err());
    // A link is followed where its reader is, and never by the daemon in the backing directory.
    std::fs::write(mount.outside().join("secret"), "of the host").expect("write");
    std::os::unix::fs::symlink("../secret", mount.backing().join("link")).expect("symlink");
    let through = std::fs::read_to_string(mount.path("link")).expect("the link leads beside the mount point");
    assert_eq!(through, "of the host");
    assert!(mount.path("link").symlink_metadata().expect("lstat").is_symlink());
}

#[test]
fn attributes_of_users_are_kept() {
    let mount = Mount::new();
    std::fs::write(mount.path("file"), "").expect("write");
    let shell =
        |line: &str| Command::new("sh").current_dir(mount.point()).args(["-c", line]).output().expect("sh runs");
    let kept = shell("setfattr -n user.colour -v blue file && getfattr --only-values -n user.colour file");
    assert_eq!(text(&kept.stdout), "blue", "{}", text(&kept.stderr));
    assert!(!shell("setfattr -n trusted.colour -v blue file").status.success());
}
