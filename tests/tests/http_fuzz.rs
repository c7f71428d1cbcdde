//! Requests that are made up from the OpenAPI document: no answer that it does not describe, and no 5xx of the server's own fault.

use std::path::PathBuf;
use std::process::Command;

use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::mount::text;
use hoodydb_tests::{Mount, Server, is_long, skip};

/// Two minutes; ten in a long run.
const SECONDS: [&str; 2] = ["120", "600"];

#[test]
fn no_answer_is_undocumented() {
    let Some(schemathesis) = std::env::var_os("HOODYDB_SCHEMATHESIS").map(PathBuf::from) else {
        return skip("HOODYDB_SCHEMATHESIS names no schemathesis: cargo xtask test installs it");
    };
    let mount = Mount::new();
    database::create(&mount.path("app.db"), Mode::Wal);
    let server = Server::on(&mount);
    let mut fuzz = Command::new(schemathesis);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";
    fuzz.args(["run", &server.url("/openapi.yaml"), "--url", &server.url(""), "--checks", checks]);
    fuzz.args(["--max-time", SECONDS[usize::from(is_long())], "--workers", "2", "--continue-on-failure", "--no-color"]);
    fuzz.args(["--warnings", "off", "--suppress-health-check", "all"]).current_dir(mount.outside());
    let output = fuzz.output().expect("schemathesis runs");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    // The databases that it wrote to are sound.
    for entry in std::fs::read_dir(mount.point()).expect("the mount").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "db") {
            let check: String = database::open(&entry.path())
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
            assert_eq!(check, "ok");
        }
    }
}
