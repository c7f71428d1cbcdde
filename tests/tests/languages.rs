//! SQLite from other languages, as Debian ships it: each connects, writes while the command line shell writes, and reads
//! back its own rows, without a busy timeout.

use std::path::{Path, PathBuf};
use std::process::Command;

use hoodydb_tests::crowd::assert_all_succeeded;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Crowd, Mount, Place, Report, clients_directory, gated, skip};

const ROWS: u64 = 40;
const SHELLS: usize = 10;

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.is_ok_and(|output| output.status.success())
}

/// Two clients of one language beside ten shells, in both modes.
fn writes_beside_shells(client: impl Fn() -> Command) {
    let mount = Mount::new();
    for mode in Mode::ALL {
        let path = mount.path(&format!("{}.db", mode.name()));
        database::create(&path, mode);
        let clients = ["one", "two"].map(|name| {
            let mut command = client();
            command.arg(&path).arg(name).arg(ROWS.to_string());
            command
        });
        let clients = Crowd::ready(clients);
        let shells = Crowd::ready((0..SHELLS).map(|_| {
            let mut shell = gated("sqlite3");
            shell.arg(&path).arg("INSERT INTO events(client, body) VALUES ('shell', 1)");
            shell
        }));
        let (report, shells) = std::thread::scope(|scope| {
            let shells = scope.spawn(|| shells.run());
            (clients.report(), shells.join().expect("the shells end"))
        });
        assert_all_succeeded(&shells);
        assert_eq!(report, Report { done: 2 * ROWS, errors: Default::default() }, "{mode:?}");
        assert_eq!(database::events(&path), 2 * ROWS + SHELLS as u64, "{mode:?}");
        database::assert_sound(&path);
    }
}

fn script(program: &str, file: &str) {
    if !has(program) {
        return skip(&format!("{program} is not installed"));
    }
    writes_beside_shells(|| {
        let mut command = Command::new(program);
        command.arg(clients_directory().join(file));
        command
    });
}

#[test]
fn node() {
    if !has("node") {
        return skip("node is not installed");
    }
    let directory = std::env::var_os("HOODYDB_TEST_NODE").map_or_else(std::env::temp_dir, PathBuf::from);
    writes_beside_shells(|| {
        let mut command = Command::new("node");
        command.current_dir(&directory).arg(clients_directory().join("node.js"));
        command
    });
}

#[test]
fn php() {
    script("php", "php.php");
}

#[test]
fn perl() {
    script("perl", "perl.pl");
}

#[test]
fn ruby() {
    script("ruby", "ruby.rb");
}

#[test]
fn rust() {
    writes_beside_shells(|| Command::new(env!("CARGO_BIN_EXE_rusqlite-client")));
}

/// Runs a compiler.
fn compile(command: &mut Command) {
    let output = command.output().expect("the compiler runs");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

#[test]
fn go() {
    if !has("go") {
        return skip("go is not installed");
    }
    let place = Place::new();
    let program = place.path().join("client");
    // Debian keeps Go's packages as sources in a GOPATH; cgo links the system's SQLite, so nothing big is compiled.
    let mut build = Command::new("go");
    build.current_dir(clients_directory().join("go")).args(["build", "-tags", "libsqlite3", "-o"]).arg(&program);
    build.arg("main.go").env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
    build.env("GOCACHE", go_cache());
    compile(&mut build);
    writes_beside_shells(|| Command::new(&program));
}

/// Go's cache outlives the test: a compiled standard library is worth a minute.
fn go_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache")
}

#[test]
fn java() {
    let drivers = Path::new("/usr/share/java/sqlite-jdbc.jar");
    if !has("javac") || !drivers.exists() {
        return skip("javac or libxerial-sqlite-jdbc-java is not installed");
    }
    let place = Place::new();
    compile(Command::new("javac").arg("-d").arg(place.path()).arg(clients_directory().join("Client.java")));
    let classes = format!("{}:{}", place.path().display(), drivers.display());
    writes_beside_shells(|| {
        let mut command = Command::new("java");
        command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", &classes, "Client"]);
        command
    });
}

#[test]
fn a_language_client_is_refused_politely_when_a_lock_is_never_free() {
    let mount = Mount::with(&["--max-wait", "100ms"]);
    let path = mount.path("app.db");
    database::create(&path, Mode::Delete);
    let mut holder = Client::ready({
        let mut command = hoodydb_tests::clients::python("session.py");
        command.arg(&path);
        command
    });
    holder.does("BEGIN EXCLUSIVE");
    let mut shell = Command::new("sqlite3");
    let output = shell.arg(&path).arg("INSERT INTO events(client) VALUES (1)").output().expect("sqlite3 runs");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("database is locked"), "{}", text(&output.stderr));
    holder.does("COMMIT");
}
