//! Which endpoint a method and a raw path mean.
//!
//! Called by [`super::Api`]. The path is split while it is still encoded: `a%2Fhistory` is the key `a/history`, while `a/history`
//! under GET asks for the history of the key `a`.

use http::Method;
use percent_encoding::percent_decode_str;

use super::Failure;

/// An endpoint, with what stands in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is an endpoint of the table in docs/HTTP.md, by its path")]
pub enum Endpoint {
    Transaction,
    Create,
    Delete,
    List,
    Query,
    Maintenance,
    KvList,
    KvGet(String),
    KvHead(String),
    KvPut(String),
    KvDelete(String),
    KvEntry(String),
    KvVerb(String, Verb),
    KvBatch(Batch),
    KvHistory(String),
    KvSnapshot(String),
    KvRollback(String),
    TableSnapshot,
    TableDiff,
    TableRollback,
    History,
    HistoryClear,
    HistoryRemove(String),
    HistoryStats,
    Changes,
    ChangesStream,
    Health,
    Cache,
    OpenApiYaml,
    OpenApiJson,
}

/// What a POST to a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as in the path")]
pub enum Verb {
    Incr,
    Decr,
    Push,
    Pop,
    Remove,
    Expire,
    Persist,
}

/// What a POST to a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as in the path")]
pub enum Batch {
    Get,
    Set,
    Delete,
}

/// A path that is none, or a method that it does not take.
#[derive(Clone, Debug, PartialEq)]
pub enum Unrouted {
    /// 404.
    NotFound,
    /// 405, with what the path takes.
    Method(&'static str),
    /// A key that is not UTF-8, or another fault of the path.
    Bad(Failure),
}

/// Finds the endpoint.
///
/// # Errors
/// If there is none.
pub fn route(method: &Method, path: &str) -> Result<Endpoint, Unrouted> {
    if let Some(rest) = path.strip_prefix("/kv/") {
        return kv(method, rest);
    }
    if let Some(index) = path.strip_prefix("/history/").filter(|index| *index != "stats") {
        let is_entry = !index.is_empty() && !index.contains('/');
        let index = || decode(index).map(Endpoint::HistoryRemove);
        return if is_entry {
            only(method, &Method::DELETE, "DELETE").and_then(|()| index())
        } else {
            Err(Unrouted::NotFound)
        };
    }
    let fixed: &[(&Method, Endpoint)] = match path {
        "/db" => &[(&Method::POST, Endpoint::Transaction), (&Method::DELETE, Endpoint::Delete)],
        "/db/create" => &[(&Method::POST, Endpoint::Create)],
        "/db/list" => &[(&Method::GET, Endpoint::List)],
        "/query" => &[(&Method::GET, Endpoint::Query)],
        "/maintenance" => &[(&Method::POST, Endpoint::Maintenance)],
        "/kv" => &[(&Method::GET, Endpoint::KvList)],
        "/history" => &[(&Method::GET, Endpoint::History), (&Method::DELETE, Endpoint::HistoryClear)],
        "/history/stats" => &[(&Method::GET, Endpoint::HistoryStats)],
        "/changes" => &[(&Method::GET, Endpoint::Changes)],
        "/changes/stream" => &[(&Method::GET, Endpoint::ChangesStream)],
        "/health" => &[(&Method::GET, Endpoint::Health)],
        "/health/cache" => &[(&Method::GET, Endpoint::Cache)],
        "/openapi.yaml" => &[(&Method::GET, Endpoint::OpenApiYaml)],
        "/openapi.json" => &[(&Method::GET, Endpoint::OpenApiJson)],
        _ => return Err(Unrouted::NotFound),
    };
    let found = fixed.iter().find(|(takes, _)| *takes == method).map(|(_, endpoint)| endpoint.clone());
    found.ok_or(Unrouted::Method(match fixed {
        [(first, _), _] if **first == Method::POST => "POST, DELETE",
        [_, _] => "GET, DELETE",
        [(first, _)] if **first == Method::POST => "POST",
        _ => "GET",
    }))
}

fn only(method: &Method, takes: &Method, allow: &'static str) -> Result<(), Unrouted> {
    if method == takes { Ok(()) } else { Err(Unrouted::Method(allow)) }
}

/// Fixed routes win over keys.
fn kv(method: &Method, rest: &str) -> Result<Endpoint, Unrouted> {
    match (method, rest) {
        (_, "") => return Err(Unrouted::NotFound),
        (&Method::GET, "diff") => return Ok(Endpoint::TableDiff),
        (&Method::GET, "snapshot") => return Ok(Endpoint::TableSnapshot),
        (&Method::POST, "rollback") => return Ok(Endpoint::TableRollback),
        (&Method::POST, "batch/get") => return Ok(Endpoint::KvBatch(Batch::Get)),
        (&Method::POST, "batch/set") => return Ok(Endpoint::KvBatch(Batch::Set)),
        (&Method::POST, "batch/delete") => return Ok(Endpoint::KvBatch(Batch::Delete)),
        _ => (),
    }
    let (front, last) = rest.rsplit_once('/').filter(|(front, _)| !front.is_empty()).unwrap_or((rest, ""));
    match *method {
        Method::GET => match last {
            "entry" => decode(front).map(Endpoint::KvEntry),
            "history" => decode(front).map(Endpoint::KvHistory),
            "snapshot" => decode(front).map(Endpoint::KvSnapshot),
            _ => decode(rest).map(Endpoint::KvGet),
        },
        Method::HEAD => decode(rest).map(Endpoint::KvHead),
        Method::PUT => decode(rest).map(Endpoint::KvPut),
        Method::DELETE => decode(rest).map(Endpoint::KvDelete),
        Method::POST => {
            let verb = match last {
                "incr" => Verb::Incr,
                "decr" => Verb::Decr,
                "push" => Verb::Push,
                "pop" => Verb::Pop,
                "remove" => Verb::Remove,
                "expire" => Verb::Expire,
                "persist" => Verb::Persist,
                "rollback" => return decode(front).map(Endpoint::KvRollback),
                _ => return Err(Unrouted::Method("GET, HEAD, PUT, DELETE")),
            };
            decode(front).map(|key| Endpoint::KvVerb(key, verb))
        }
        _ => Err(Unrouted::Method("GET, HEAD, PUT, DELETE")),
    }
}

fn decode(text: &str) -> Result<String, Unrouted> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| Unrouted::Bad(Failure::parameters("the path is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<Endpoint, Unrouted> {
        route(&Method::GET, path)
    }

    #[test]
    fn a_key_is_split_before_it_is_decoded() {
        assert_eq!(get("/kv/a%2Fhistory"), Ok(Endpoint::KvGet("a/history".to_owned())));
        assert_eq!(get("/kv/a/history"), Ok(Endpoint::KvHistory("a".to_owned())));
        assert_eq!(get("/kv/a/b/entry"), Ok(Endpoint::KvEntry("a/b".to_owned())));
        assert_eq!(get("/kv/history"), Ok(Endpoint::KvGet("history".to_owned())));
        assert_eq!(get("/kv/diff"), Ok(Endpoint::TableDiff));
        assert_eq!(get("/kv/%64iff"), Ok(Endpoint::KvGet("diff".to_owned())));
        assert_eq!(route(&Method::PUT, "/kv/a/history"), Ok(Endpoint::KvPut("a/history".to_owned())));
        assert!(matches!(get("/kv/%ff"), Err(Unrouted::Bad(_))));
    }

    #[test]
    fn verbs_and_batches_are_posted() {
        let post = |path| route(&Method::POST, path);
        assert_eq!(post("/kv/a/b/incr"), Ok(Endpoint::KvVerb("a/b".to_owned(), Verb::Incr)));
        assert_eq!(post("/kv/batch/set"), Ok(Endpoint::KvBatch(Batch::Set)));
        assert_eq!(post("/kv/rollback"), Ok(Endpoint::TableRollback));
        assert_eq!(post("/kv/a/rollback"), Ok(Endpoint::KvRollback("a".to_owned())));
        assert_eq!(post("/kv/a"), Err(Unrouted::Method("GET, HEAD, PUT, DELETE")));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_not_allowed() {
        assert_eq!(get("/nothing"), Err(Unrouted::NotFound));
        assert_eq!(get("/db"), Err(Unrouted::Method("POST, DELETE")));
        assert_eq!(get("/history/7"), Err(Unrouted::Method("DELETE")));
        assert_eq!(route(&Method::DELETE, "/history/7"), Ok(Endpoint::HistoryRemove("7".to_owned())));
        assert_eq!(get("/history/stats"), Ok(Endpoint::HistoryStats));
        assert_eq!(route(&Method::POST, "/health"), Err(Unrouted::Method("GET")));
    }
}
