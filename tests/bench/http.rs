//! Keys and values over HTTP, against one native connection that writes the same table on the same mount. Called by
//! [`crate::main`]. The load is wrk's, on the loopback, so that its own cost is known and small.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hoodydb_tests::server::BASE;
use hoodydb_tests::{Mount, Place, Server};
use rusqlite::Connection;
use serde::Deserialize;

use crate::crew::check_interrupt;
use crate::results::{HttpRound, Load};

/// Connections that ask at a time.
pub const CONNECTIONS: u32 = 64;
/// Keys that are read and written.
const KEYS: u32 = 10_000;
/// What each holds.
const VALUE: &str = r#"{"name":"Alice","email":"alice@example.com"}"#;

/// Measures rounds of native writes, reads over HTTP and writes over HTTP, in turns.
///
/// # Errors
/// If something does not come up, or at Ctrl-C.
pub fn measure(mount: &Mount, quick: bool) -> Result<Vec<HttpRound>> {
    let (rounds, seconds) = if quick { (1, 2) } else { (5, 5) };
    let path = mount.path("http.db");
    let server = Server::on(mount);
    let connection = Connection::open(&path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE other(x)")?;
    // The first write of the server makes the tables, and what watches them.
    let first = server.ask(&["-X", "PUT", "-d", VALUE], "/kv/first?db=http");
    ensure!(first.status == 200, "{first:?}");
    fill(&connection)?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        check_interrupt()?;
        let native_per_second = native(&connection, Duration::from_secs(seconds))?;
        let get = wrk(&server, &script("GET"), seconds)?;
        let set = wrk(&server, &script("PUT"), seconds)?;
        eprintln!(
            "http: round {}: native {native_per_second:.0}/s, get {:.0}/s p99 {:.1} ms, set {:.0}/s p99 {:.1} ms",
            round + 1,
            get.per_second,
            get.p99_us / 1e3,
            set.per_second,
            set.p99_us / 1e3,
        );
        measured.push(HttpRound { native_per_second, get, set });
    }
    Ok(measured)
}

/// What the server's own writes do to the value, by hand.
const UPSERT: &str = "INSERT INTO kv_store(key, value, content_type) VALUES ('k' || ?, ?, 'application/json')
    ON CONFLICT(key) DO UPDATE SET value = excluded.value, content_type = excluded.content_type, updated_at = unixepoch()";

fn fill(connection: &Connection) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for key in 0..KEYS {
        connection.prepare_cached(UPSERT)?.execute((key, VALUE.as_bytes()))?;
    }
    Ok(connection.execute_batch("COMMIT")?)
}

/// Autocommit writes of one connection, per second.
fn native(connection: &Connection, time: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time {
        connection.prepare_cached(UPSERT)?.execute((count % KEYS, VALUE.as_bytes()))?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// What wrk does; it prints its figures as JSON at the end.
fn script(method: &str) -> String {
    format!(
        r#"local count = 0
local headers = {{ ["Content-Type"] = "application/json" }}
request = function()
  count = count + 1
  local path = "{BASE}/kv/k" .. ((count * 7919) % {KEYS}) .. "?db=http"
  if "{method}" == "PUT" then return wrk.format("PUT", path, headers, '{VALUE}') end
  return wrk.format("GET", path)
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\nJSON {{"requests":%d,"duration_us":%d,"errors":%d,"p50_us":%d,"p99_us":%d,"max_us":%d}}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"#
    )
}

#[derive(Deserialize)]
struct Wrk {
    requests: u64,
    duration_us: u64,
    errors: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

fn wrk(server: &Server, script: &str, seconds: u64) -> Result<Load> {
    let place = Place::new();
    let file = place.path().join("load.lua");
    std::fs::write(&file, script)?;
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{seconds}s"), "-s"]).arg(&file);
    let output = command.arg(server.origin()).stdin(Stdio::null()).output().context("wrk cannot be run")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(json) = said.lines().find_map(|line| line.strip_prefix("JSON ")) else {
        bail!("wrk says no figures: {said}{}", String::from_utf8_lossy(&output.stderr));
    };
    let Wrk { requests, duration_us, errors, p50_us, p99_us, max_us } = serde_json::from_str(json)?;
    let per_second = requests as f64 * 1e6 / duration_us as f64;
    Ok(Load { per_second, p50_us, p99_us, max_us, errors })
}
