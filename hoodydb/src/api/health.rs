//! What the server says of itself: that it lives, what it can do, and how much it does.
//!
//! Called by [`super::Api`]. No database is opened for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use http::{Response, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::route::{Batch, Endpoint, Verb};
use super::work::json;
use super::{Api, Body, Call, DATABASES_MAX, Failure, Work};

/// What clients may rely on.
const FEATURES: [&str; 9] = [
    "kv_etag",
    "kv_conditional_writes",
    "kv_conditional_reads",
    "kv_entry",
    "kv_ttl_controls",
    "kv_idempotency",
    "kv_changes",
    "kv_list_cursor",
    "retry_after",
];

/// What is counted since the start.
#[derive(Debug)]
pub(super) struct Figures {
    started: SystemTime,
    requests: Mutex<BTreeMap<&'static str, u64>>,
}

impl Figures {
    /// Begins to count.
    pub(super) fn new() -> Self {
        Self { started: SystemTime::now(), requests: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request.
    pub(super) fn count(&self, endpoint: &Endpoint) {
        *self.lock().entry(name(endpoint)).or_default() += 1;
    }
}

/// What requests of an endpoint are counted as.
fn name(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Transaction => "db_transaction",
        Endpoint::Create => "db_create",
        Endpoint::Delete => "db_delete",
        Endpoint::List => "db_list",
        Endpoint::Query => "query",
        Endpoint::Maintenance => "maintenance",
        Endpoint::KvList => "kv_list",
        Endpoint::KvGet(_) => "kv_get",
        Endpoint::KvHead(_) => "kv_head",
        Endpoint::KvPut(_) => "kv_put",
        Endpoint::KvDelete(_) => "kv_delete",
        Endpoint::KvEntry(_) => "kv_entry",
        Endpoint::KvVerb(_, Verb::Incr) => "kv_incr",
        Endpoint::KvVerb(_, Verb::Decr) => "kv_decr",
        Endpoint::KvVerb(_, Verb::Push) => "kv_push",
        Endpoint::KvVerb(_, Verb::Pop) => "kv_pop",
        Endpoint::KvVerb(_, Verb::Remove) => "kv_remove",
        Endpoint::KvVerb(_, Verb::Expire) => "kv_expire",
        Endpoint::KvVerb(_, Verb::Persist) => "kv_persist",
        Endpoint::KvBatch(Batch::Get) => "kv_batch_get",
        Endpoint::KvBatch(Batch::Set) => "kv_batch_set",
        Endpoint::KvBatch(Batch::Delete) => "kv_batch_delete",
        Endpoint::KvHistory(_) => "kv_history",
        Endpoint::KvSnapshot(_) => "kv_snapshot",
        Endpoint::KvRollback(_) => "kv_rollback",
        Endpoint::TableSnapshot => "kv_table_snapshot",
        Endpoint::TableDiff => "kv_table_diff",
        Endpoint::TableRollback => "kv_table_rollback",
        Endpoint::History => "history_list",
        Endpoint::HistoryClear => "history_clear",
        Endpoint::HistoryRemove(_) => "history_remove",
        Endpoint::HistoryStats => "history_stats",
        Endpoint::Changes => "changes",
        Endpoint::ChangesStream => "changes_stream",
        Endpoint::Health => "health",
        Endpoint::Cache => "health_cache",
        Endpoint::OpenApiYaml | Endpoint::OpenApiJson => "openapi",
    }
}

/// The short answer.
#[derive(Debug, Serialize)]
struct Alive {
    status: &'static str,
}

/// The long one.
#[derive(Debug, Serialize)]
struct Health<'h> {
    status: &'static str,
    service: &'static str,
    implementation: &'static str,
    version: &'static str,
    built: Option<String>,
    started: String,
    pid: u32,
    ip: &'h str,
    #[serde(rename = "userAgent")]
    user_agent: Option<&'h str>,
    fds: Option<usize>,
    memory: Option<Memory>,
    features: [&'static str; FEATURES.len()],
    cache: Cache,
    counters: BTreeMap<&'static str, u64>,
}

/// Bytes of memory.
#[derive(Debug, Serialize)]
struct Memory {
    rss: u64,
    /// Not known.
    heap: Option<u64>,
}

/// The databases that are open.
#[derive(Debug, Serialize)]
struct Cache {
    size: usize,
    max_size: usize,
    directory_mode: DirectoryMode,
}

/// Databases that are directories, which there are none of.
#[derive(Debug, Serialize)]
struct DirectoryMode {
    size: usize,
    max_size: usize,
    held: usize,
}

/// `GET /health`.
pub(super) fn health(call: &Call) -> Result<Work, Failure> {
    Ok(Work::Health { verbose: call.params.flag("verbose")?.unwrap_or(false) })
}

impl Api {
    /// Answers `GET /health`.
    pub(super) fn health(&self, call: &Call, verbose: bool) -> Response<Body> {
        if !verbose {
            return answer(&Alive { status: "ok" });
        }
        let mut counters = self.figures.lock().clone();
        counters.insert("requests", counters.values().sum());
        counters.insert("streams_open", self.streams.count());
        let memory = rss().map(|rss| Memory { rss, heap: None });
        answer(&Health {
            status: "ok",
            service: "hoody-sqlite",
            implementation: "hoodydb",
            version: env!("CARGO_PKG_VERSION"),
            built: std::fs::metadata("/proc/self/exe").and_then(|exe| exe.modified()).ok().map(rfc3339),
            started: rfc3339(self.figures.started),
            pid: std::process::id(),
            ip: &call.client,
            user_agent: call.headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok()),
            fds: std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            memory,
            features: FEATURES,
            cache: self.figures_of_cache(),
            counters,
        })
    }

    /// Answers `GET /health/cache`.
    pub(super) fn cache(&self) -> Response<Body> {
        answer(&self.figures_of_cache())
    }

    fn figures_of_cache(&self) -> Cache {
        let size = self.databases().iter().filter(|database| database.is_open()).count();
        Cache { size, max_size: DATABASES_MAX, directory_mode: DirectoryMode { size: 0, max_size: 0, held: 0 } }
    }
}

fn answer(value: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, value).unwrap_or_else(|failure| failure.response())
}

/// Seconds are enough.
fn rfc3339(at: SystemTime) -> String {
    let moment = OffsetDateTime::from(at).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// Bytes of this process in memory.
///
/// # Source
/// proc_pid_statm(5): the second number is the resident set in pages.
fn rss() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;

    #[test]
    fn short_and_long_health() {
        let world = World::new();
        assert_eq!(world.get("/health").json(), serde_json::json!({"status": "ok"}));
        let long = world.get("/health?verbose=true").json();
        assert_eq!(
            (&long["service"], &long["implementation"], &long["ip"]),
            (&"hoody-sqlite".into(), &"hoodydb".into(), &"local".into())
        );
        assert_eq!((&long["counters"]["health"], &long["counters"]["requests"]), (&2.into(), &2.into()));
        assert!(long["fds"].as_u64() > Some(2) && long["memory"]["rss"].as_u64() > Some(1 << 20), "{long}");
        assert!(long["userAgent"].is_null() && long["memory"]["heap"].is_null());
        assert_eq!(world.get("/health?verbose=perhaps").status, 400);
    }

    #[test]
    fn the_cache_counts_open_databases() {
        let world = World::new();
        world.sqlite("a", "CREATE TABLE t(x)");
        let empty =
            serde_json::json!({"size": 0, "max_size": 64, "directory_mode": {"size": 0, "max_size": 0, "held": 0}});
        assert_eq!(world.get("/health/cache").json(), empty);
        assert_eq!(world.get("/history?db=a").status, 200);
        assert_eq!(world.get("/health/cache").json()["size"], 1);
    }
}
