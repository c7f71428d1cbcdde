//! Podman and docker as Debian has them, on a host of their own: every new container has the databases, without a flag.

use std::process::Command;

use hoodydb_tests::crowd::assert_all_succeeded;
use hoodydb_tests::host::DOCKER;
use hoodydb_tests::{Client, Crowd, Host, eventually};
use serde_json::Value;

const INSERTS: u64 = 200;

/// What inserts rows once it is told to, each by a process of its own that does not wait for locks.
fn inserts(name: &str) -> String {
    format!(
        "echo ready; read -r _; n=0; while [ $n -lt {INSERTS} ]; do n=$((n+1)); \
         sqlite3 -cmd '.timeout 0' /hoody/databases/app.db \"INSERT INTO events VALUES ('{name}', $n)\" || exit 1; done"
    )
}

/// A container that runs until the test is over, without any mount of ours on the command line.
fn start(host: &Host, engine: &str, name: &str, flags: &[&str]) {
    let mut words = vec![engine, "run", "--detach", "--network=none", "--name", name];
    words.extend(flags);
    words.extend(["test", "sleep", "100000"]);
    host.run(&words);
}

fn exec(host: &Host, (engine, name): (&str, &str), script: &str) -> Command {
    host.command(&[engine, "exec", "--interactive", name, "sh", "-c", script])
}

/// Runs a script in a container; it must succeed.
fn inside(host: &Host, (engine, name): (&str, &str), script: &str) -> String {
    host.run(&[engine, "exec", name, "sh", "-euc", script])
}

fn count(host: &Host) -> u64 {
    let rows = host.script("sqlite3 /hoody/databases/app.db 'SELECT count(*) FROM events'");
    rows.trim().parse().expect("a number")
}

/// One container of `containers status --json`.
fn status_of(host: &Host, name: &str) -> Value {
    let status: Value = serde_json::from_str(&host.hoodydb(&["containers", "status", "--json"])).expect("JSON");
    let all = status["containers"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["container"]["name"] == name).unwrap_or_default()
}

#[test]
fn every_container_has_the_databases_without_a_flag() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["install", "--no-start"]);
    host.start_engines();
    host.hoodydb(&["containers", "enable"]);
    start(&host, "podman", "early", &[]);
    assert_eq!(status_of(&host, "early")["mount"], "waiting");
    host.hoodydb(&["mount"]);
    host.script("sqlite3 /hoody/databases/app.db 'PRAGMA journal_mode = WAL; CREATE TABLE events(client, body)'");
    start(&host, "podman", "mapped", &["--uidmap=0:100000:65536"]);
    start(&host, DOCKER, "plain", &[]);
    start(&host, DOCKER, "narrow", &["--read-only", "--user=1000"]);
    let containers = [("podman", "early"), ("podman", "mapped"), (DOCKER, "plain"), (DOCKER, "narrow")];

    let all_insert = |sum: u64| {
        let commands = containers.map(|container| exec(&host, container, &inserts(container.1)));
        assert_all_succeeded(&Crowd::ready(commands).run());
        assert_eq!(count(&host), sum);
    };
    all_insert(4 * INSERTS);

    // A new mount reaches containers that have the parent: after an orderly end of the daemon, and after its death.
    host.hoodydb(&["umount"]);
    assert_eq!(status_of(&host, "mapped")["mount"], "waiting");
    host.hoodydb(&["mount"]);
    all_insert(8 * INSERTS);
    let status: Value = serde_json::from_str(&host.hoodydb(&["status", "--json"])).expect("JSON");
    let mount = &status["mounts"][0];
    host.script(&format!("kill -STOP {1}; kill -KILL {0} {1}", mount["keeper_pid"], mount["worker_pid"]));
    eventually("the mount is dead", || !host.output(&["ls", "/hoody/databases"]).status.success());
    assert_eq!(status_of(&host, "plain")["mount"], "stale");
    host.hoodydb(&["mount"]);
    for container in containers {
        assert_eq!(status_of(&host, container.1)["mount"], "live", "{container:?}");
        inside(&host, container, "sqlite3 /hoody/databases/app.db 'INSERT INTO events VALUES (1, 1)'");
    }
}

#[test]
fn status_tells_whose_locks_they_are() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["mount"]);
    host.start_engines();
    host.hoodydb(&["containers", "enable"]);
    start(&host, "podman", "holder", &[]);
    start(&host, DOCKER, "idle", &[]);
    let script = "echo ready; exec sqlite3 /hoody/databases/app.db";
    let mut holder = Client::ready(exec(&host, ("podman", "holder"), script));
    holder.tell("CREATE TABLE t(x); BEGIN IMMEDIATE; SELECT 'holds';");
    holder.expect("holds");
    let holding = status_of(&host, "holder");
    assert!(holding["locks"].as_u64() > Some(0), "{holding}");
    assert_eq!(holding["container"]["engine"], "podman");
    assert!(holding["since_s"].as_u64() > Some(0), "{holding}");
    assert_eq!(status_of(&host, "idle")["locks"], 0);
    // Who waits is in another engine's container: both are named, to people and to programs.
    let insert = "echo ready; exec sqlite3 /hoody/databases/app.db 'INSERT INTO t VALUES (1)'";
    let waiter = Client::ready(exec(&host, (DOCKER, "idle"), insert));
    let json = |words: &[&str]| serde_json::from_str::<Value>(&host.hoodydb(words)).expect("JSON");
    let locks = || json(&["locks", "--json"])["mounts"][0]["databases"][0].clone();
    eventually("it waits", || !locks()["waiters"].as_array().is_none_or(Vec::is_empty));
    let top = json(&["top", "--once", "--json", "--interval", "100ms"])["mounts"][0]["databases"][0].clone();
    let named = |process: &Value| {
        let container = &process["container"];
        format!("{}:{}", container["engine"].as_str().unwrap_or("?"), container["name"].as_str().unwrap_or("?"))
    };
    for (holds, waits) in [(&locks()["holders"][0], &locks()["waiters"][0]), (&top["holder"], &top["waiters"][0])] {
        assert_eq!((named(holds).as_str(), named(waits).as_str()), ("podman:holder", "docker:idle"), "{top:#}");
    }
    for words in [&["locks"][..], &["top", "--once", "--interval", "100ms"]] {
        let table = host.hoodydb(words);
        assert!(table.contains("podman:holder"), "{words:?}\n{table}");
    }
    holder.finish();
    assert!(waiter.finish().status.success());
}

#[test]
fn containers_that_run_get_it() {
    let Some(host) = Host::new() else { return };
    host.start_engines();
    assert_eq!(host.hoodydb_fails(&["containers", "enable"]).0, 3, "there is no /hoody yet");
    start(&host, DOCKER, "plain", &["--cap-add=SYS_ADMIN"]);
    start(&host, "podman", "mapped", &["--uidmap=0:100000:65536"]);
    start(&host, DOCKER, "narrow", &["--read-only"]);
    start(&host, "podman", "link", &[]);
    start(&host, "podman", "own", &[]);
    inside(&host, ("podman", "link"), "mkdir /target; ln -s /target /hoody");
    inside(&host, ("podman", "own"), "mkdir /hoody; touch /hoody/file");
    assert_eq!(host.hoodydb_fails(&["containers", "inject", "plain"]).0, 3);
    host.hoodydb(&["mount"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    assert_eq!(status_of(&host, "plain")["mount"], "none");

    let (code, said) = host.hoodydb_fails(&["containers", "inject", "--all"]);
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(format!("exit code {code}\n{}", lines.join("\n")));
    for container in [(DOCKER, "plain"), ("podman", "mapped")] {
        assert_eq!(status_of(&host, container.1)["mount"], "live");
        inside(&host, container, "sqlite3 /hoody/databases/app.db 'INSERT INTO events VALUES (1, 1)'");
        inside(&host, container, "! touch /hoody/stray");
    }
    assert!(host.hoodydb(&["containers", "inject", "docker:plain"]).contains("has it already"));
    assert_eq!(host.hoodydb_fails(&["containers", "inject", "nobody"]).0, 1);
    // What the container does to its mounts does not reach the host's.
    inside(&host, (DOCKER, "plain"), "umount /hoody/databases");
    assert_eq!(count(&host), 2);
    assert_eq!(status_of(&host, "plain")["mount"], "waiting", "it has the parent, and gets the next mount");
    host.hoodydb(&["umount"]);
    host.hoodydb(&["mount"]);
    assert_eq!(status_of(&host, "plain")["mount"], "live");
}

#[test]
fn a_container_starts_also_where_the_mount_is_missing() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["install", "--no-start"]);
    host.start_engines();
    host.hoodydb(&["containers", "enable"]);
    // As after an unmount by hand, or on a host whose service does not start.
    host.script("umount /hoody");
    for engine in ["podman", DOCKER] {
        host.run(&[engine, "run", "--rm", "--network=none", "test", "true"]);
    }
    assert!(host.read("/run/hoodydb/hoodydb-runc.log").contains("/hoody is not mounted on this host"));
}

#[test]
fn a_docker_that_maps_user_ids_has_them_too() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["install", "--no-start"]);
    host.start_docker_with("--userns-remap=default");
    host.run(&[DOCKER, "import", &host.image(), "test"]);
    host.hoodydb(&["containers", "enable", "--engine", "docker"]);
    start(&host, DOCKER, "early", &[]);
    host.hoodydb(&["mount"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    start(&host, DOCKER, "late", &[]);
    let map = inside(&host, (DOCKER, "late"), "cat /proc/self/uid_map");
    assert!(!map.split_whitespace().any(|word| word == "4294967295"), "its ids are the host's: {map}");
    let commands = ["early", "late"].map(|name| exec(&host, (DOCKER, name), &inserts(name)));
    assert_all_succeeded(&Crowd::ready(commands).run());
    assert_eq!(count(&host), 2 * INSERTS);
    assert_eq!(status_of(&host, "early")["mount"], "live", "it is known by its name");
    let said = host.hoodydb(&["containers", "disable", "--engine", "docker"]);
    assert!(said.lines().any(|line| line.ends_with(": early, late")), "{said}");
}

#[test]
fn docker_builds_have_it_too() {
    let Some(host) = Host::new() else { return };
    host.hoodydb(&["mount"]);
    host.start_engines();
    host.hoodydb(&["containers", "enable", "--engine", "docker"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    let file = "FROM test\nRUN sqlite3 /hoody/databases/app.db \"INSERT INTO events VALUES ('build', 1)\"\n";
    host.write("/build/Dockerfile", file);
    host.run(&["env", "DOCKER_BUILDKIT=0", DOCKER, "build", "--network=none", "/build"]);
    assert_eq!(count(&host), 1);
}
