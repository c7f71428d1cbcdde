//! Bad input and faults: each is one clear line and an exit code, or an error that the client knows from any disk.

use std::path::Path;
use std::process::{Command, Output};

use hoodydb_tests::clients::python;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Mount, Place, Report, eventually, skip};
use rustix::mount::{MountFlags, mount};

/// A place with a mount point and a backing directory, not mounted.
struct Bench {
    place: Place,
    hoodydb: std::ffi::OsString,
}

impl Bench {
    fn new() -> Self {
        let place = Place::new();
        for name in ["run", "data", "mnt"] {
            place.directory(name);
        }
        Self { place, hoodydb: hoodydb_tests::mount::binary().into() }
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).to_str().expect("a temporary path is text").to_owned()
    }

    /// `hoodydb mount` behind a prefix such as `unshare -m`.
    fn mount_by(&self, prefix: &[&str], arguments: &[&str]) -> Output {
        let mut words: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
        words.push(self.hoodydb.clone());
        words.extend(["mount"].iter().chain(arguments).map(Into::into));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("HOODYDB_RUN_DIR", self.path("run")).output().expect("hoodydb runs")
    }

    fn mount(&self, point: &str, data: &str) -> Output {
        self.mount_by(&[], &[&self.path(point), "--data", &self.path(data)])
    }

    /// Asserts an exit code and one line that has these words.
    fn refuses(&self, output: &Output, code: i32, words: &[&str]) {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "one line: {said}");
        words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is not in: {said}"));
    }

    fn tmpfs(&self, name: &str, flags: MountFlags, size: &std::ffi::CStr) {
        mount("tmpfs", self.place.path().join(name), "tmpfs", flags, Some(size)).expect("a tmpfs");
    }
}

#[test]
fn mount_points_that_cannot_be() {
    let bench = Bench::new();
    bench.refuses(&bench.mount("missing", "data"), 1, &["does not exist", "/missing", "mkdir"]);
    std::fs::write(bench.path("file"), "").expect("a file");
    bench.refuses(&bench.mount("file", "data"), 1, &["not a directory", "/file"]);
    bench.place.directory("full");
    std::fs::write(bench.path("full/hidden"), "").expect("a file");
    bench.refuses(&bench.mount("full", "data"), 1, &["not empty", "/full"]);
    bench.tmpfs("mnt", MountFlags::empty(), c"size=64k");
    bench.refuses(&bench.mount("mnt", "data"), 4, &["already a mount point", "tmpfs"]);
}

#[test]
fn a_mount_point_that_is_mounted_names_the_daemon() {
    let mount = Mount::new();
    let again = mount.start();
    assert_eq!(again.status.code(), Some(4), "{}", text(&again.stderr));
    let pid = mount.daemon().as_raw_nonzero();
    assert!(text(&again.stderr).contains(&format!("pid {pid}")), "{}", text(&again.stderr));
}

#[test]
fn backing_directories_that_cannot_be() {
    let bench = Bench::new();
    bench.refuses(&bench.mount("mnt", "missing"), 1, &["does not exist", "/missing", "mkdir"]);
    std::fs::write(bench.path("file"), "").expect("a file");
    bench.refuses(&bench.mount("mnt", "file"), 1, &["not a directory"]);
    bench.tmpfs("data", MountFlags::RDONLY, c"size=64k,mode=700");
    bench.refuses(&bench.mount("mnt", "data"), 1, &["read-only"]);
    bench.place.directory("small");
    bench.tmpfs("small", MountFlags::empty(), c"size=8k,mode=700");
    // The filler takes every page of the file system.
    let filled = std::fs::write(bench.path("small/filler"), vec![1; 64 * 1024]).expect_err("the disk is full");
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    bench.refuses(&bench.mount("mnt", "small"), 1, &["full"]);
    std::fs::create_dir(bench.path("mnt/inner")).expect("a directory");
    bench.refuses(&bench.mount("mnt", "mnt/inner"), 1, &["lie in one another"]);
}

#[test]
fn a_backing_directory_on_a_mount_of_ours_is_refused() {
    let mount = Mount::new();
    std::fs::create_dir(mount.path("inner")).expect("a directory");
    let point = mount.outside().join("second");
    std::fs::create_dir(&point).expect("a directory");
    let output = mount.hoodydb().arg("mount").arg(&point).arg("--data").arg(mount.path("inner")).output();
    let said = text(&output.expect("hoodydb runs").stderr);
    assert!(said.contains("itself on a hoodydb mount"), "{said}");
}

#[test]
fn without_root_or_the_device_nothing_is_mounted() {
    let mut bench = Bench::new();
    let (point, data) = (bench.path("mnt"), bench.path("data"));
    let no_device = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /dev && exec \"$0\" \"$@\""];
    bench.refuses(&bench.mount_by(&no_device, &[&point, "--data", &data]), 1, &["/dev/fuse", "modprobe fuse"]);
    // A copy that anybody can execute.
    let copy = bench.place.path().join("hoodydb");
    std::fs::copy(&bench.hoodydb, &copy).expect("the program can be copied");
    bench.hoodydb = copy.into();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    bench.refuses(&bench.mount_by(&nobody, &[&point, "--data", &data]), 1, &["root"]);
}

#[test]
fn words_that_no_command_knows() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let app = mount.path("app.db");
    let app = app.to_str().expect("a temporary path is text");
    for wrong in [
        &["policy", "set", app, "mode=never"][..],
        &["policy", "set", app, "speed=high"],
        &["mount", "--policy", "x"],
        &["mount", "--max-wait", "-3"],
    ] {
        let output = mount.command(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
    let nowhere = mount.command(&["umount", mount.outside().to_str().expect("text")]);
    assert_eq!(nowhere.status.code(), Some(3), "{}", text(&nowhere.stderr));
}

#[test]
fn a_file_that_is_no_database_is_just_a_file() {
    let mount = Mount::new();
    std::fs::write(
        mount.path("app.db"),
        "no database, but long enough to have a header of one hundred bytes or more; it has to go on for a while",
    )
    .expect("a file");
    let output =
        Command::new("sqlite3").arg(mount.path("app.db")).arg("SELECT * FROM t").output().expect("sqlite3 runs");
    assert!(text(&output.stderr).contains("not a database"), "{}", text(&output.stderr));
    let get = mount.command(&["policy", "get", mount.path("missing.db").to_str().expect("text")]);
    assert!(!get.status.success());
    assert_eq!(text(&get.stderr).lines().count(), 1, "{}", text(&get.stderr));
}

#[test]
fn a_hundred_thousand_locks_of_one_process_reach_a_limit_and_others_go_on() {
    let mount = Mount::new();
    std::fs::write(mount.path("data"), "x").expect("a file");
    database::create(&mount.path("app.db"), Mode::Delete);
    let mut command = python("many_locks.py");
    command.arg(mount.path("data")).arg("100000");
    let mut greedy = Client::ready(command);
    let report: Report = serde_json::from_str(&greedy.ask("go")).expect("a report");
    assert_eq!(report.errors.keys().collect::<Vec<_>>(), ["ENOLCK"], "{report:?}");
    assert!(report.done >= 1_000, "{report:?}");
    let insert = Command::new("sqlite3").arg(mount.path("app.db")).arg("INSERT INTO events(body) VALUES (1)").status();
    assert!(insert.expect("sqlite3 runs").success(), "others get their locks");
    drop(greedy);
    eventually("its locks are gone", || mount.status()["records"] == 0);
}

#[test]
fn a_process_that_opens_without_end_is_refused_and_others_go_on() {
    let mount = Mount::behind(&["prlimit", "--nofile=600"], &[]);
    for name in ["app.db", "other.db"] {
        database::create(&mount.path(name), Mode::Delete);
    }
    let limit = mount.status()["handles_max"].as_u64().expect("a number");
    let mut command = python("files.py");
    command.arg(mount.point());
    let mut greedy = Client::ready(command);
    let open = |greedy: &mut Client, number: u64| greedy.ask(&format!("open {number} other.db"));
    let refused = (0..limit).find(|number| open(&mut greedy, *number) != "ok").expect("not all handles are its own");
    assert!(refused >= limit / 2, "far from the limit nobody is refused: {refused} of {limit}");
    assert_eq!(open(&mut greedy, limit), "EMFILE");
    let others_work = || {
        let mut command = Command::new("sqlite3");
        command.arg(mount.path("app.db")).arg("INSERT INTO events(body) VALUES (1); SELECT count(*) FROM events");
        let output = command.output().expect("sqlite3 runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    others_work();
    let named = format!("pid={}", greedy.id());
    let told = || mount.log().lines().filter(|line| line.contains(&named) && line.contains("files.py")).count();
    eventually("the log names it", || told() > 0);
    assert_eq!(told(), 1, "once");
    let worker = mount.status()["worker_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let worker = worker.and_then(rustix::process::Pid::from_raw).expect("status tells the worker's pid");
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).expect("the worker can be killed");
    assert_eq!(open(&mut greedy, limit), "EMFILE", "the next worker knows whose they are");
    others_work();
    drop(greedy);
    eventually("its handles are closed", || mount.status()["handles"].as_u64() < Some(limit / 2));
    others_work();
}

#[test]
fn names_with_control_characters_are_escaped_everywhere() {
    let mount = Mount::new();
    let name = "evil\n\u{1b}[31mred\u{1b}[0m.db";
    database::create(&mount.path(name), Mode::Delete);
    let mut command = python("session.py");
    command.arg(mount.path(name));
    let mut holder = Client::ready(command);
    holder.does("BEGIN EXCLUSIVE");
    for arguments in [&["locks"][..], &["locks", "--json"], &["status"], &["status", "--json"]] {
        let output = mount.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let shown = String::from_utf8(output.stdout).expect("text");
        assert!(shown.contains("red"), "{arguments:?}: {shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains("evil\n"), "{arguments:?}: {shown:?}");
    }
    holder.does("COMMIT");
    assert!(!mount.log().contains('\u{1b}'));
}

#[test]
fn a_database_mounted_as_a_single_file_is_told() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let single = mount.outside().join("single.db");
    std::fs::write(&single, "").expect("a file");
    let script = hoodydb_tests::clients_directory().join("session.py");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$0\" \"$1\" && exec python3 -u \"$2\" \"$1\""]);
    let mut client = Client::ready({
        command.arg(mount.path("app.db")).arg(&single).arg(script);
        command
    });
    client.does("BEGIN");
    client.ask("rows SELECT count(*) FROM events");
    eventually("status tells of it", || mount.status()["single_file_binds"][0]["path"] == "app.db");
    assert_eq!(mount.status()["single_file_binds"][0]["process"]["pid"], client.id());
    client.does("COMMIT");
}

#[test]
fn a_full_disk_reaches_the_client_and_nothing_is_lost() {
    for mode in Mode::ALL {
        let bench = Bench::new();
        bench.tmpfs("data", MountFlags::empty(), c"size=2m,mode=700");
        let output = bench.mount("mnt", "data");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let path = bench.place.path().join("mnt/app.db");
        database::create(&path, mode);
        let connection = database::open(&path);
        let mut rows = 0;
        let full = loop {
            match connection.execute("INSERT INTO events(body) VALUES (randomblob(10000))", []) {
                Ok(_) => rows += 1,
                Err(error) => break error,
            }
        };
        assert!(full.to_string().contains("full") || full.to_string().contains("disk I/O"), "{mode:?}: {full}");
        assert!(rows > 10, "{mode:?}");
        drop(connection);
        assert_eq!(database::events(&path), rows, "{mode:?}");
        database::assert_sound(&path);
        unmount(&bench, &path);
    }
}

/// A disk that answers no write, until the value is gone: an ext4 in a file, frozen.
struct Frozen(String);

impl Frozen {
    fn freeze(mount_point: String) -> Self {
        run("fsfreeze", &["--freeze", &mount_point]);
        Self(mount_point)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").args(["--unfreeze", &self.0]).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
}

#[test]
fn the_daemon_answers_while_every_request_sleeps_on_the_disk() {
    // More than there are threads for them.
    const FILES: usize = 600;
    if !Path::new("/dev/loop-control").exists() {
        return skip("no loop devices");
    }
    let bench = Bench::new();
    let (image, data) = (bench.path("image"), bench.path("data"));
    std::fs::File::create(&image).and_then(|file| file.set_len(32 << 20)).expect("a file");
    run("mkfs.ext4", &["-q", &image]);
    run("mount", &["-o", "loop", &image, &data]);
    let output = bench.mount("mnt", "data");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let point = bench.place.path().join("mnt");
    (0..FILES).for_each(|number| std::fs::write(point.join(number.to_string()), "").expect("a file"));
    let mut touch = python("touch.py");
    touch.arg(&point).arg(FILES.to_string());
    // Nothing can end it before the disk answers: in a failure too, the disk goes first.
    let mut stuck = Client::ready(touch);
    let frozen = Frozen::freeze(data);
    stuck.tell("go");
    stuck.expect("begun");
    // They do stand still, and in that second the daemon's own work of each second did too.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(stuck.line_now(), None);
    for arguments in [&["status"][..], &["locks"]] {
        let mut command = Command::new("timeout");
        command.arg("5").arg(&bench.hoodydb).args(arguments).env("HOODYDB_RUN_DIR", bench.path("run"));
        let output = command.output().expect("timeout runs");
        assert!(output.status.success(), "{arguments:?}: {}: {}", output.status, text(&output.stderr));
    }
    drop(frozen);
    stuck.expect(&format!("done {FILES}"));
    drop(stuck);
    unmount(&bench, &point.join("any"));
}

#[test]
fn a_run_directory_whose_sockets_have_no_room_is_refused() {
    let bench = Bench::new();
    let (deep, point) = (bench.path(&format!("run/{}", "d".repeat(100))), bench.path("mnt"));
    let mut command = Command::new(&bench.hoodydb);
    command.env("HOODYDB_RUN_DIR", deep).args(["mount", &point, "--data", &bench.path("data")]);
    bench.refuses(&command.output().expect("hoodydb runs"), 1, &["too long", "HOODYDB_RUN_DIR"]);
    assert_eq!(std::fs::read_dir(point).expect("a directory").count(), 0, "nothing is mounted");
}

#[test]
fn an_error_of_the_disk_reaches_the_client_and_the_mount_goes_on() {
    if !Path::new("/dev/loop-control").exists() {
        return skip("no loop devices");
    }
    let bench = Bench::new();
    // A disk of 64 MiB whose blocks lie in 8 MiB: the first write beyond fails as that of a broken disk.
    bench.place.directory("broken");
    bench.tmpfs("broken", MountFlags::empty(), c"size=8m");
    let (image, data) = (bench.path("broken/image"), bench.path("data"));
    std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("a file");
    run("mkfs.ext4", &["-q", "-J", "size=4", &image]);
    run("mount", &["-o", "loop,errors=continue", &image, &data]);
    let output = bench.mount("mnt", "data");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let path = bench.place.path().join("mnt/app.db");
    database::create(&path, Mode::Wal);
    let connection = database::open(&path);
    connection.pragma_update(None, "synchronous", "FULL").expect("a pragma");
    let failed = loop {
        if let Err(error) = connection.execute("INSERT INTO events(body) VALUES (randomblob(100000))", []) {
            break error.to_string();
        }
    };
    assert!(failed.contains("disk I/O error"), "{failed}");
    drop(connection);
    let mut status = Command::new(&bench.hoodydb);
    let output = status.arg("status").env("HOODYDB_RUN_DIR", bench.path("run")).output().expect("hoodydb runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::metadata(&path).is_ok_and(|file| file.len() > 0), "the mount answers");
    unmount(&bench, &path);
}

fn unmount(bench: &Bench, path: &Path) {
    let mut command = Command::new(&bench.hoodydb);
    command.env("HOODYDB_RUN_DIR", bench.path("run")).arg("umount").arg(path.parent().expect("a mount point"));
    let output = command.output().expect("hoodydb runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
