//! A hostile container: root in it, all of its own on the mount, and nothing of the host's.

use std::process::Command;

use hoodydb_tests::host::DOCKER;
use hoodydb_tests::mount::text;
use hoodydb_tests::{Client, Host, clients_directory, is_long};
use serde_json::Value;

/// Files in its huge directory; it has half a processor.
fn files() -> &'static str {
    if is_long() { "100000" } else { "10000" }
}

fn daemon_of(host: &Host) -> (Value, Value, Value) {
    let status: Value = serde_json::from_str(&host.hoodydb(&["status", "--json"])).expect("JSON");
    let mount = &status["mounts"][0];
    (mount["keeper_pid"].clone(), mount["worker_pid"].clone(), mount["restarts"].clone())
}

#[test]
fn a_hostile_container_gets_nowhere() {
    let Some(host) = Host::new() else { return };
    let program = host.files().join("hostile");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-w", "-static", "-pthread", "-o"]).arg(&program).arg(clients_directory().join("hostile.c"));
    let gcc = gcc.output().expect("gcc runs");
    assert!(gcc.status.success(), "{}", text(&gcc.stderr));
    for canary in ["/canary", "/var/lib/hoodydb/canary", "/hoody-canary"] {
        host.write(canary, "host\n");
    }
    host.hoodydb(&["mount"]);
    host.start_engines();
    host.hoodydb(&["containers", "enable"]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE events(client, body)'");
    let outside = ["/canary", "/hoody-canary", "/etc", "$(ls -d /var/lib/hoodydb/* | grep -v databases$)"];
    let before = (host.snapshot(&outside), daemon_of(&host));

    let volume = format!("{}:/hostile:ro", program.display());
    let mut hostile = Client::ready(host.command(&[
        DOCKER,
        "run",
        "--rm",
        "--interactive",
        "--network=none",
        "--cpus=0.5",
        "--cap-add=DAC_READ_SEARCH",
        "--volume",
        &volume,
        "test",
        "/hostile",
        "/hoody/databases",
        "evil",
        files(),
    ]));
    host.run(&["podman", "run", "--detach", "--name=other", "test", "sleep", "100000"]);
    hostile.tell("go");
    // Others go on meanwhile, as long as it takes.
    let (mut inserted, mut said) = (0, Vec::new());
    while said.last().is_none_or(|line| line != "done") {
        host.run(&[
            "podman",
            "exec",
            "other",
            "sqlite3",
            "/hoody/databases/app.db",
            "INSERT INTO events VALUES (1, 1)",
        ]);
        inserted += 1;
        while let Some(line) = hostile.line_now() {
            said.push(line);
        }
        assert!(!hostile.has_ended() || said.last().is_some_and(|line| line == "done"), "it ended: {said:?}");
    }
    assert_eq!(said, ["done"]);
    let count = host.script("sqlite3 /hoody/databases/app.db 'SELECT count(*) FROM events'");
    assert_eq!(count, inserted.to_string());
    assert_eq!(daemon_of(&host), before.1, "the daemon is the same");
    assert_eq!(before.0.differences(&host.snapshot(&outside)), [""; 0]);
    // What it made can be listed and removed, here too.
    host.hoodydb(&["status"]);
    host.script(
        "find /hoody/databases/evil > /dev/null; rm -rf /hoody/databases/evil; test ! -e /hoody/databases/evil",
    );
    assert!(!host.read("/run/hoodydb/hoody-databases.log").contains("panicked"));
}
