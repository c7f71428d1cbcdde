//! The HTTP interface on a real mount: the contract's cases, native and HTTP writers at once, a killed server, clients that are
//! slow or hostile, and the same requests by the command line.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::server::curl;
use hoodydb_tests::{Client, Mount, Server, clients, clients_directory, is_long};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn the_cases_of_the_contract_pass() {
    let mount = Mount::new();
    let server = Server::on(&mount);
    let mut replay = clients::python("http_replay.py");
    replay.arg(server.origin()).arg(clients_directory().join("http_cases.json"));
    let output = replay.output().expect("python runs");
    let said = text(&output.stdout);
    assert!(output.status.success() && said.trim_end().ends_with("40/40 cases passed"), "{said}");
}

#[test]
fn what_the_specification_shows_works_as_written() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Delete);
    let elsewhere = mount.outside().join("test.db");
    database::create(&elsewhere, Mode::Wal);
    let server = Server::with(&mount, &["--allow-any-absolute-db-path"]);
    let table = r#"{"transaction": [{"statement": "CREATE TABLE logs(timestamp, message)"}]}"#;
    let logs = r#"{"transaction": [{"statement": "SELECT * FROM logs ORDER BY timestamp DESC LIMIT 100"}]}"#;
    let db = "/db?db=/hoody/databases/app.db";
    assert_eq!(server.ask(&["-d", table], db).status, 200);
    // The path is the mount's: what native SQLite writes is there.
    database::open(&mount.path("app.db")).execute("INSERT INTO logs VALUES (1, 'hello')", []).expect("a row");
    let rows = json!([{ "timestamp": 1, "message": "hello" }]);
    for headers in [&[][..], &["-H", "Content-Type: application/json"], &["-H", "Content-Type: text/plain"]] {
        let arguments = [&["-X", "POST", "-H", "Authorization: Bearer x"], headers, &["-d", logs]].concat();
        assert_eq!(server.ask(&arguments, db).json()["results"][0]["resultSet"], rows);
    }
    let alice = r#"{"name": "Alice", "email": "alice@example.com"}"#;
    let key = "/kv/user:1?db=/hoody/databases/app.db";
    for headers in [&["-H", "Content-Type: application/json"][..], &[]] {
        assert_eq!(server.ask(&[&["-X", "PUT"], headers, &["-d", alice]].concat(), key).status, 200);
        let read = server.ask(&["-D", "-"], key);
        assert!(read.body.to_ascii_lowercase().contains("content-type: application/json"), "{read:?}");
        assert!(read.body.ends_with(alice), "{read:?}");
    }
    let other = format!("/db?db={}", elsewhere.display());
    assert_eq!(server.ask(&["-d", r#"{"transaction": [{"query": "SELECT 1"}]}"#], &other).status, 200);
}

/// Every acknowledged row is there once, and nothing else was said.
fn acknowledged(name: &str, said: &[String]) -> Vec<(String, String)> {
    let line = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ack", number] => (name.to_owned(), number.to_owned()),
            ["ack", connection, number] => (format!("{name}-{connection}"), number.to_owned()),
            _ => panic!("{name}: {line}"),
        }
    };
    said.iter().map(line).collect()
}

fn rows(mount: &Mount, name: &str) -> Vec<(String, String)> {
    let connection = database::open(&mount.path(name));
    let mut query = connection.prepare("SELECT client, CAST(body AS TEXT) FROM events").expect("a query");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn integrity(mount: &Mount, name: &str) {
    let check: String =
        database::open(&mount.path(name)).query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
}

#[test]
fn native_and_http_writers_share_a_database() {
    for mode in Mode::ALL {
        let mount = Mount::new();
        let name = "shared.db";
        database::create(&mount.path(name), mode);
        let server = Server::on(&mount);
        let mut crowd: Vec<(String, Client)> = (0..4)
            .map(|number| {
                let mut command = Command::new(clients_directory().join("cli_writer.sh"));
                command.arg(mount.path(name)).arg(format!("cli{number}"));
                (format!("cli{number}"), Client::ready(command))
            })
            .collect();
        let mut http = clients::python("http_writers.py");
        http.arg(server.origin()).args([name, "sql", "16"]);
        crowd.push(("http".to_owned(), Client::ready(http)));
        for (_, client) in &mut crowd {
            client.tell("go");
        }
        // Long enough for many turns; how much was done is asserted, not how fast.
        let seconds = if is_long() { 60 } else { 8 };
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        std::fs::write(mount.path("shared.db.end"), "").expect("a file");
        let mut expected = Vec::new();
        let mut by_kind = [0, 0];
        for (name, client) in crowd {
            let finished = client.finish();
            let acknowledged = acknowledged(&name, &finished.output);
            by_kind[usize::from(name == "http")] += acknowledged.len();
            expected.extend(acknowledged);
        }
        assert!(by_kind.iter().all(|count| *count > 20), "{mode:?}: {by_kind:?}");
        let mut found = rows(&mount, name);
        found.sort();
        expected.sort();
        assert_eq!(found.len(), expected.len(), "{mode:?}");
        assert!(found == expected, "{mode:?}: rows and acknowledgements differ");
        integrity(&mount, name);
    }
}

#[test]
fn a_killed_server_loses_nothing_that_it_acknowledged() {
    for (mode, kind) in [(Mode::Wal, "kv"), (Mode::Delete, "kv"), (Mode::Wal, "sql"), (Mode::Delete, "sql")] {
        let mount = Mount::new();
        let name = "killed.db";
        database::create(&mount.path(name), mode);
        let server = Server::on(&mount);
        let mut command = clients::python("http_writers.py");
        command.arg(server.origin()).args([name, kind, "16"]);
        let mut client = Client::ready(command);
        client.tell("go");
        let mut said: Vec<String> = (0..300).map(|_| client.line()).collect();
        server.end(Signal::KILL);
        said.extend(client.finish().output);
        let acknowledged: Vec<&String> = said.iter().filter(|line| !line.starts_with("gone:")).collect();
        assert!(acknowledged.iter().all(|line| line.starts_with("ack ")), "{mode:?} {kind}: {acknowledged:?}");
        let found: BTreeSet<String> = if kind == "sql" {
            rows(&mount, name).into_iter().map(|(client, number)| format!("ack {} {number}", &client[5..])).collect()
        } else {
            let connection = database::open(&mount.path(name));
            let mut query = connection.prepare("SELECT replace(key, '-', ' ') FROM kv_store").expect("a query");
            let keys = query.query_map([], |row| row.get::<_, String>(0)).expect("rows");
            keys.map(|key| format!("ack {}", key.expect("a key"))).collect()
        };
        let lost: Vec<_> = acknowledged.iter().filter(|line| !found.contains(line.as_str())).collect();
        assert!(lost.is_empty(), "{mode:?} {kind}: lost {lost:?}");
        integrity(&mount, name);
    }
}

#[test]
fn a_server_that_is_told_to_end_finishes_what_runs() {
    let mount = Mount::new();
    database::create(&mount.path("ends.db"), Mode::Wal);
    let server = Server::on(&mount);
    let mut command = clients::python("http_writers.py");
    command.arg(server.origin()).args(["ends.db", "sql", "8"]);
    let mut client = Client::ready(command);
    client.tell("go");
    let mut said: Vec<String> = (0..50).map(|_| client.line()).collect();
    assert!(server.end(Signal::TERM).success());
    said.extend(client.finish().output);
    let answered = said.iter().filter(|line| line.starts_with("ack ")).count();
    let refused =
        said.iter().filter(|line| line.starts_with("error: 503 ") && line.contains("SERVICE_UNAVAILABLE")).count();
    let gone = said.iter().filter(|line| line.starts_with("gone:")).count();
    assert_eq!(answered + refused + gone, said.len(), "{said:?}");
    let found = rows(&mount, "ends.db").len();
    assert!(found == answered, "{found} rows, {answered} acknowledged");
}

#[test]
fn slow_and_silent_clients_do_not_stop_others() {
    let mount = Mount::new();
    let server = Server::with(&mount, &["--max-body-bytes", "67108864"]);
    let large = mount.outside().join("large");
    std::fs::write(&large, vec![b'x'; 8 << 20]).expect("a file");
    let file = format!("@{}", large.display());
    let put = ["-X", "PUT", "-H", "Content-Type: text/plain", "--data-binary", &file];
    assert_eq!(server.ask(&put, "/kv/large?db=slow&create_db_if_missing=true").status, 200);
    let crowds = [("head", 200), ("body", 200), ("mute", 100), ("idle", 10_000)];
    let slow: Vec<Client> = crowds
        .iter()
        .map(|(kind, count)| {
            let mut command = clients::python("http_slow.py");
            command.args(["127.0.0.1", &server.port().to_string(), kind, &count.to_string()]);
            Client::ready(command)
        })
        .collect();
    for number in 0..50 {
        let path = format!("/kv/n{number}?db=slow");
        assert_eq!(server.ask(&["-X", "PUT", "-d", "1"], &path).status, 200);
        assert_eq!(server.ask(&[], &path).body, "1");
    }
    slow.into_iter().for_each(|client| _ = client.finish());
}

#[test]
fn a_native_lock_holder_makes_requests_busy_not_stuck() {
    // Whoever waits for the end of a parked call waits longer than curl.
    let mount = Mount::with(&["--max-wait", "1h"]);
    database::create(&mount.path("held.db"), Mode::Wal);
    let server = Server::on(&mount);
    let mut command = clients::python("session.py");
    command.arg(mount.path("held.db"));
    let mut holder = Client::ready(command);
    holder.does("BEGIN IMMEDIATE");
    let insert = r#"{"transaction":[{"statement":"INSERT INTO events(client) VALUES ('http')"}]}"#;
    let refused = server.ask(&["-d", insert, "-D", "-"], "/db?db=held&timeout=1");
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("DATABASE_BUSY") && refused.body.to_ascii_lowercase().contains("retry-after: 1"));
    // A writer that waits gets the lock when it is free; meanwhile readers go on beside it and the holder.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| server.ask(&["-d", insert], "/db?db=held&timeout=60"));
        for _ in 0..20 {
            let count = json!([{ "query": "SELECT count(*) AS n FROM events" }]);
            assert_eq!(server.transact("held", &count)[0]["resultSet"], json!([{ "n": 0 }]));
        }
        assert!(!waits.is_finished(), "the lock is held");
        holder.does("COMMIT");
        assert_eq!(waits.join().expect("an answer").status, 200);
    });
}

#[test]
fn sql_that_runs_too_long_is_ended_and_undone() {
    let mount = Mount::new();
    database::create(&mount.path("long.db"), Mode::Wal);
    let server = Server::on(&mount);
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    let body =
        json!({ "transaction": [{ "statement": "INSERT INTO events(client) VALUES ('a')" }, { "query": endless }] });
    let reply = server.ask(&["-d", &body.to_string()], "/db?db=long&timeout=1");
    assert_eq!((reply.status, reply.json()["code"].as_str()), (503, Some("REQUEST_TIMEOUT")), "{reply:?}");
    assert_eq!(rows(&mount, "long.db"), []);
}

#[test]
fn tokens_hosts_and_origins_are_looked_at() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    database::create(&mount.path("other.db"), Mode::Wal);
    let tokens = mount.outside().join("tokens");
    std::fs::write(&tokens, "writes\nreads ro\nscoped prefix=/hoody/databases/app.db\n").expect("a file");
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).expect("its rights can be changed");
    let server = Server::with(&mount, &["--token-file", tokens.to_str().expect("text")]);
    let read = r#"{"transaction":[{"query":"SELECT 1"}]}"#;
    let write = r#"{"transaction":[{"statement":"INSERT INTO events(client) VALUES ('x')"}]}"#;
    let ask = |token: &str, body: &str, db: &str| {
        let header = format!("Authorization: Bearer {token}");
        server.ask(&["-H", &header, "-d", body], &format!("/db?db={db}")).status
    };
    assert_eq!(server.ask(&["-d", read], "/db?db=app").status, 401);
    assert_eq!(ask("wrong", read, "app"), 401);
    assert_eq!((ask("writes", read, "app"), ask("writes", write, "app")), (200, 200));
    let sql = "/query?db=app&sql=SELECT%201";
    assert_eq!(server.ask(&["-H", "Authorization: Bearer reads"], sql).status, 200);
    assert_eq!(ask("reads", write, "app"), 403);
    assert_eq!((ask("scoped", write, "app"), ask("scoped", write, "other")), (200, 403));
    assert_eq!(server.ask(&[], "/health").status, 200);
    let header = "Authorization: Bearer writes";
    let with = |extra: &str| server.ask(&["-H", header, "-H", extra, "-d", write], "/db?db=app").status;
    assert_eq!(with("Host: evil.example"), 403);
    assert_eq!(with("Origin: http://evil.example"), 403);
    assert_eq!(with(&format!("Origin: {}", server.origin())), 200);
}

#[test]
fn a_socket_reaches_the_same_databases() {
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let socket = mount.outside().join("http.sock");
    let path = socket.to_str().expect("text");
    let _server = Server::with(&mount, &["--socket", path]);
    let url = "http://localhost/api/v1/sqlite/db?db=app";
    let body = r#"{"transaction":[{"query":"SELECT 1 AS one"}]}"#;
    let reply = curl(&["--unix-socket", path, "-d", body, url]).expect("an answer");
    assert_eq!(reply.json()["results"][0]["resultSet"], json!([{ "one": 1 }]));
}

#[test]
fn the_command_line_does_the_same_with_and_without_a_server() {
    let mount = Mount::new();
    let server = Server::on(&mount);
    let url = server.origin();
    let root = mount.point();
    let root = root.to_str().expect("text");
    for (name, place) in [("direct", ["--db-root", root]), ("served", ["--url", url.as_str()])] {
        let run = |arguments: &[&str]| {
            let output = mount.command(&[arguments, &place].concat());
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let json = |arguments: &[&str]| -> Value {
            let (code, out, errors) = run(arguments);
            assert_eq!(code, Some(0), "{name}: {arguments:?}: {errors}");
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{name}: {arguments:?}: {error}: {out}"))
        };
        assert_eq!(json(&["db", "create", "--path", name, "--init-kv"])["path"], name);
        let insert = r#"[{"statement":"CREATE TABLE t(a)"},{"statement":"INSERT INTO t VALUES (7)"},{"query":"SELECT a FROM t"}]"#;
        let done = json(&["db", "exec-transaction", "--db", name, "--transaction", insert]);
        assert_eq!(done["results"][2]["resultSet"], json!([{ "a": 7 }]));
        json(&["kv", "set", "user:1", "--db", name, "--body", r#"{"name":"Alice"}"#]);
        let (code, value, _) = run(&["kv", "get", "user:1", "--db", name]);
        assert_eq!((code, serde_json::from_str::<Value>(&value).ok()), (Some(0), Some(json!({ "name": "Alice" }))));
        assert_eq!(run(&["kv", "get", "user:1", "--db", name, "-o", "raw"]).1, r#"{"name":"Alice"}"#);
        assert_eq!(json(&["kv", "incr", "hits", "--db", name])["value"], 1);
        assert_eq!(
            (run(&["kv", "exists", "hits", "--db", name]).0, run(&["kv", "exists", "no", "--db", name]).0),
            (Some(0), Some(1))
        );
        let (code, _, errors) = run(&["kv", "get", "no", "--db", name]);
        assert_eq!(code, Some(1));
        assert!(errors.starts_with("Error: ") && errors.trim_end().ends_with("(KEY_NOT_FOUND)"), "{errors}");
        assert_eq!(run(&["kv", "get", "no"]).0, Some(2));
        json(&["kv", "delete", "hits", "--db", name, "-y"]);
        json(&["db", "delete", "--db", name, "-y"]);
        assert!(!mount.path(&format!("{name}.db")).exists());
    }
}
