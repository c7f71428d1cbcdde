//! The table of endpoints: what each takes and answers. Called by [`super`]; the shapes are in [`super::shapes`].

use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::shapes::{boolean, integer, string};
use super::{method, parameter, query};

/// One endpoint.
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) sent: Option<Sent>,
    pub(super) answers: Vec<(u16, Answers)>,
    /// Statuses of failures.
    pub(super) failures: &'static [u16],
}

/// The body of a request.
pub(super) enum Sent {
    /// JSON.
    Json(&'static str),
    /// JSON or nothing.
    MaybeJson(&'static str),
    /// Any bytes.
    Value,
}

/// The body of an answer.
pub(super) enum Answers {
    /// JSON.
    Json(&'static str),
    /// One of several shapes.
    Either(&'static [&'static str]),
    /// The bytes of a value, with its content type.
    Raw,
    /// Text of a kind.
    Text(&'static str),
    /// None.
    Nothing,
}

use Answers::{Either, Json, Nothing, Raw, Text};

/// What every endpoint with a database may fail with: what is wrong with it, who asks, and the server itself.
const ANY: &[u16] = &[400, 401, 403, 413, 500, 503];
const WITH_409: &[u16] = &[400, 401, 403, 409, 413, 500, 503];
const WITH_404: &[u16] = &[400, 401, 403, 404, 413, 500, 503];
const WITH_404_409: &[u16] = &[400, 401, 403, 404, 409, 413, 500, 503];
const WITH_410: &[u16] = &[400, 401, 403, 409, 410, 413, 500, 503];
const KV_WRITE: &[u16] = &[400, 401, 403, 404, 409, 412, 413, 422, 500, 503];

/// All paths, in the order of the description.
pub(super) fn paths() -> [&'static str; 33] {
    [
        "/db",
        "/db/create",
        "/db/list",
        "/query",
        "/maintenance",
        "/kv",
        "/kv/{key}",
        "/kv/{key}/entry",
        "/kv/{key}/incr",
        "/kv/{key}/decr",
        "/kv/{key}/push",
        "/kv/{key}/pop",
        "/kv/{key}/remove",
        "/kv/{key}/expire",
        "/kv/{key}/persist",
        "/kv/{key}/history",
        "/kv/{key}/snapshot",
        "/kv/{key}/rollback",
        "/kv/batch/get",
        "/kv/batch/set",
        "/kv/batch/delete",
        "/kv/snapshot",
        "/kv/diff",
        "/kv/rollback",
        "/history",
        "/history/{index}",
        "/history/stats",
        "/changes",
        "/changes/stream",
        "/health",
        "/health/cache",
        "/openapi.yaml",
        "/openapi.json",
    ]
}

/// What a path takes.
pub(super) fn at(path: &str) -> Vec<(HttpMethod, Described)> {
    let all: Vec<(&str, Described)> = match path {
        "/db" | "/db/create" | "/db/list" | "/query" | "/maintenance" => sql(path),
        "/history" | "/history/{index}" | "/history/stats" | "/changes" | "/changes/stream" => records(path),
        "/kv/{key}/history" | "/kv/{key}/snapshot" | "/kv/{key}/rollback" | "/kv/snapshot" | "/kv/diff"
        | "/kv/rollback" => time_travel(path),
        path if path.starts_with("/kv") => kv(path),
        _ => server(path),
    };
    all.into_iter().map(|(name, described)| (method(name), described)).collect()
}

fn one(
    verb: &'static str,
    name: &'static str,
    tag: &'static str,
    summary: &'static str,
    answers: Answers,
    failures: &'static [u16],
) -> (&'static str, Described) {
    let answers = vec![(200, answers)];
    (verb, Described { name, tag, summary, parameters: Vec::new(), sent: None, answers, failures })
}

impl Described {
    fn with(mut self, parameters: Vec<Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    fn sends(mut self, sent: Sent) -> Self {
        self.sent = Some(sent);
        self
    }

    fn also(mut self, status: u16, answers: Answers) -> Self {
        self.answers.push((status, answers));
        self
    }
}

/// The same with more.
fn and(one: (&'static str, Described), more: impl FnOnce(Described) -> Described) -> (&'static str, Described) {
    (one.0, more(one.1))
}

fn db() -> Parameter {
    query("db", string(), true, "The database: a name, or an absolute path below the root.")
}

fn timeout() -> Parameter {
    query("timeout", string(), false, "Seconds until the request is given up: 1 to 300, 30 if absent or malformed.")
}

fn create() -> Parameter {
    query("create_db_if_missing", boolean(), false, "Whether to make the database if it does not exist.")
}

fn optional(name: &str, words: &str) -> Parameter {
    query(name, string(), false, words)
}

fn number(name: &str, words: &str) -> Parameter {
    query(name, integer(), false, words)
}

fn header(name: &str, words: &str) -> Parameter {
    parameter(name, ParameterIn::Header, string(), false, words)
}

fn sql(path: &str) -> Vec<(&'static str, Described)> {
    match path {
        "/db" => vec![
            and(one("POST", "transaction", "sql", "Runs a transaction", Json("Results"), WITH_409), |described| {
                described.with(vec![db(), create(), timeout()]).sends(Sent::Json("Transaction"))
            }),
            and(
                one("DELETE", "deleteDatabase", "databases", "Deletes a database", Json("Removed"), WITH_404),
                |described| described.with(vec![db(), timeout()]),
            ),
        ],
        "/db/create" => {
            let (verb, mut described) =
                one("POST", "createDatabase", "databases", "Makes a database", Nothing, WITH_409);
            described.answers = vec![(201, Json("Created"))];
            let kv_table = optional("kv_table", "The table of keys and values: kv_store if absent.");
            let init = query("init_kv", boolean(), false, "Whether to make the tables of keys and values at once.");
            let path = query("path", string(), true, "The database: a name, or an absolute path below the root.");
            vec![(verb, described.with(vec![path, init, kv_table, timeout()]))]
        }
        "/db/list" => {
            vec![and(one("GET", "listDatabases", "databases", "Lists databases", Json("Listing"), ANY), |described| {
                described.with(vec![optional("dir", "An absolute path: the root if absent."), timeout()])
            })]
        }
        "/query" => {
            vec![and(one("GET", "query", "sql", "Reads by one SELECT", Json("QueryResult"), ANY), |described| {
                let sql = query("sql", string(), true, "SELECT or WITH, in base64url or as it is.");
                described.with(vec![db(), sql, timeout()])
            })]
        }
        _ => vec![and(
            one("POST", "maintenance", "databases", "Cares for a database", Json("Done"), WITH_404_409),
            |described| described.with(vec![db(), timeout()]).sends(Sent::Json("Maintenance")),
        )],
    }
}

fn key() -> Parameter {
    parameter("key", ParameterIn::Path, string(), true, "The key, percent-encoded.")
}

fn table() -> Parameter {
    optional("table", "The table of keys and values: kv_store if absent.")
}

fn json_path() -> Parameter {
    optional("path", "Where in the document: names and [indexes] with dots between them.")
}

fn of_key() -> Vec<Parameter> {
    vec![db(), key(), table(), timeout()]
}

fn writes() -> Vec<Parameter> {
    let history = query("history", boolean(), false, "Whether the history keeps values: true if absent.");
    let once = header(
        "Idempotency-Key",
        "A repeat of the request with the same key changes nothing and gets the same answer.",
    );
    vec![create(), history, once]
}

fn if_match() -> Parameter {
    header("If-Match", "Strong ETags, or *: the write is done only if one is the key's.")
}

fn if_none_match() -> Parameter {
    header("If-None-Match", "ETags, or *.")
}

fn kv(path: &str) -> Vec<(&'static str, Described)> {
    let change = |name, summary, answers| {
        and(one("POST", name, "kv", summary, answers, KV_WRITE), |described| {
            described.with([of_key(), writes(), vec![if_match()]].concat())
        })
    };
    let batch = |name, summary, answers, failures| {
        and(one("POST", name, "kv", summary, answers, failures), |described| {
            described.with(vec![db(), table(), timeout()])
        })
    };
    match path {
        "/kv" => {
            vec![and(one("GET", "listKeys", "kv", "Lists keys", Either(&["Page", "PageAt"]), WITH_409), |described| {
                described.with(vec![
                    db(),
                    table(),
                    optional("prefix", "What keys begin with."),
                    number("limit", "The most keys of a page: 100 if absent, 1000 at most."),
                    number("offset", "Keys to leave out."),
                    optional("after", "The key after which the page begins."),
                    number("at_timestamp", "Seconds since 1970: the keys of that time."),
                    timeout(),
                ])
            })]
        }
        "/kv/{key}" => vec![
            and(one("GET", "getValue", "kv", "Reads a value", Raw, WITH_404_409), |described| {
                let at = number("at_timestamp", "Seconds since 1970: the value of that time, in an envelope.");
                described.with([of_key(), vec![json_path(), at, if_none_match()]].concat()).also(304, Nothing)
            }),
            and(one("HEAD", "headValue", "kv", "Tells whether a key exists", Nothing, &[]), |described| {
                let statuses = [304, 400, 401, 403, 404, 409, 500, 503];
                let described = described.with([of_key(), vec![if_none_match()]].concat());
                statuses.into_iter().fold(described, |described, status| described.also(status, Nothing))
            }),
            and(one("PUT", "putValue", "kv", "Stores a value", Json("Put"), KV_WRITE), |described| {
                let ttl = number("ttl", "Seconds to live; 0 or absent is for ever.");
                let bytes = optional("if_match", "The bytes that the value must have now.");
                let own = vec![json_path(), ttl, bytes, if_match(), if_none_match()];
                described.with([of_key(), writes(), own].concat()).sends(Sent::Value)
            }),
            and(one("DELETE", "deleteValue", "kv", "Deletes a key", Json("Deleted"), KV_WRITE), |described| {
                described.with([of_key(), writes(), vec![if_match()]].concat())
            }),
        ],
        "/kv/{key}/entry" => {
            vec![and(
                one("GET", "getEntry", "kv", "Reads a value and what is known of it", Json("Shown"), WITH_404_409),
                |described| described.with([of_key(), vec![if_none_match()]].concat()).also(304, Nothing),
            )]
        }
        "/kv/{key}/incr" | "/kv/{key}/decr" => {
            let (name, summary) = if path.ends_with("incr") {
                ("increment", "Adds to a number")
            } else {
                ("decrement", "Subtracts from a number")
            };
            vec![and(change(name, summary, Json("Counted")), |described| {
                described.with(vec![number("delta", "How much: 1 if absent."), json_path()])
            })]
        }
        "/kv/{key}/push" => vec![and(change("push", "Appends to an array", Json("Pushed")), |described| {
            described.with(vec![json_path()]).sends(Sent::Json("Value"))
        })],
        "/kv/{key}/pop" => {
            vec![and(change("pop", "Takes the last element of an array", Json("Popped")), |described| {
                described.with(vec![json_path()])
            })]
        }
        "/kv/{key}/remove" => {
            vec![and(change("removeElement", "Takes an element out of an array", Json("Taken")), |described| {
                let index = number("index", "Which element, from 0.");
                described.with(vec![index, json_path()]).sends(Sent::MaybeJson("Removal"))
            })]
        }
        "/kv/{key}/expire" => vec![and(change("expire", "Lets a key end", Json("Timed")), |described| {
            described.with(vec![query("ttl", integer(), true, "Seconds to live, at least 1.")])
        })],
        "/kv/{key}/persist" => vec![change("persist", "Lets a key live for ever", Json("Timed"))],
        "/kv/batch/get" => {
            vec![and(batch("getValues", "Reads several values", Json("GotAll"), WITH_409), |described| {
                described.sends(Sent::Json("Keys"))
            })]
        }
        "/kv/batch/set" => {
            vec![and(batch("putValues", "Stores several values", Json("SetAll"), KV_WRITE), |described| {
                described.with(writes()).sends(Sent::Json("Sets"))
            })]
        }
        _ => vec![and(batch("deleteValues", "Deletes several keys", Json("DeletedAll"), KV_WRITE), |described| {
            described.with(writes()).sends(Sent::Json("Deletes"))
        })],
    }
}

fn time_travel(path: &str) -> Vec<(&'static str, Described)> {
    let tag = "time travel";
    let limit = |words| number("limit", words);
    match path {
        "/kv/{key}/history" => vec![and(
            one("GET", "keyHistory", tag, "Lists the operations of a key", Json("KeyHistory"), WITH_409),
            |described| {
                described.with([of_key(), vec![limit("The most operations: 50 if absent, 1000 at most.")]].concat())
            },
        )],
        "/kv/{key}/snapshot" => {
            let (verb, described) = one(
                "GET",
                "keySnapshot",
                tag,
                "Reads a value as an operation left it",
                Json("KeySnapshot"),
                WITH_404_409,
            );
            let op_number = query("op_number", integer(), true, "The number of the operation.");
            vec![(verb, described.with([of_key(), vec![op_number]].concat()))]
        }
        "/kv/{key}/rollback" => vec![and(
            one("POST", "rollBackKey", tag, "Undoes operations of a key", Json("RolledBack"), KV_WRITE),
            |described| {
                let once = header(
                    "Idempotency-Key",
                    "A repeat of the request with the same key changes nothing and gets the same answer.",
                );
                described.with(
                    [of_key(), vec![create(), number("steps", "How many operations: 1 if absent."), once]].concat(),
                )
            },
        )],
        "/kv/snapshot" => vec![and(
            one("GET", "tableSnapshot", tag, "Reads a table as of a time", Json("TableSnapshot"), WITH_409),
            |described| {
                let timestamp = query("timestamp", integer(), true, "Seconds since 1970.");
                let prefix = optional("prefix", "What keys begin with.");
                described.with(vec![
                    db(),
                    table(),
                    timestamp,
                    limit("The most keys: 100 if absent, 0 for all."),
                    prefix,
                    timeout(),
                ])
            },
        )],
        "/kv/diff" => vec![and(
            one("GET", "tableDiff", tag, "Compares a table at two times", Json("Diff"), WITH_409),
            |described| {
                let at = |name, words| query(name, integer(), true, words);
                let keys = optional("keys", "Only these, with commas between them.");
                described.with(vec![
                    db(),
                    table(),
                    at("from", "Seconds since 1970."),
                    at("to", "Seconds since 1970."),
                    keys,
                    timeout(),
                ])
            },
        )],
        _ => vec![and(
            one(
                "POST",
                "rollBackTable",
                tag,
                "Sets a table back to a time",
                Either(&["TableRolledBack", "TableRollbackPreview"]),
                KV_WRITE,
            ),
            |described| {
                let to = query("to_timestamp", integer(), true, "Seconds since 1970.");
                let dry = query("dry_run", boolean(), false, "Whether to tell only what would be done.");
                let confirm = optional("confirm", "yes, unless it is a dry run.");
                let once = header(
                    "Idempotency-Key",
                    "A repeat of the request with the same key changes nothing and gets the same answer.",
                );
                described
                    .with(vec![db(), table(), create(), to, dry, confirm, once, timeout()])
                    .sends(Sent::MaybeJson("Which"))
            },
        )],
    }
}

fn records(path: &str) -> Vec<(&'static str, Described)> {
    let tag = "history";
    let changes = |described: Described| {
        let since = optional("since", "A cursor of an earlier answer.");
        let values = query("include_values", boolean(), false, "Whether events tell values.");
        described.with(vec![db(), table(), since, optional("prefix", "What keys begin with."), values])
    };
    match path {
        "/history" => vec![
            and(
                one("GET", "queryHistory", tag, "Lists what was asked of a database", Json("History"), ANY),
                |described| {
                    let limit = number("limit", "The most entries: 100 if absent, 1000 at most.");
                    described.with(vec![db(), limit, number("offset", "Entries to leave out."), timeout()])
                },
            ),
            and(
                one("DELETE", "clearQueryHistory", tag, "Forgets what was asked", Json("Message"), WITH_409),
                |described| described.with(vec![db(), timeout()]),
            ),
        ],
        "/history/{index}" => vec![and(
            one("DELETE", "deleteQueryHistory", tag, "Forgets one entry", Json("Message"), WITH_404_409),
            |described| {
                let index = parameter("index", ParameterIn::Path, string(), true, "The id of the entry.");
                described.with(vec![db(), index, timeout()])
            },
        )],
        "/history/stats" => {
            vec![and(one("GET", "queryHistoryStats", tag, "Sums up what was asked", Json("Stats"), ANY), |described| {
                described.with(vec![db(), timeout()])
            })]
        }
        "/changes" => vec![and(
            one("GET", "changes", "changes", "Reads or awaits changes", Json("Changes"), WITH_410),
            |described| {
                let limit = number("limit", "The most events: 1 to 1000, 100 if absent.");
                let wait = number("wait", "Seconds to wait for one: 0 to 60.");
                changes(described).with(vec![limit, wait, timeout()])
            },
        )],
        _ => vec![and(
            one("GET", "changesStream", "changes", "Streams changes", Text("text/event-stream"), WITH_410),
            |described| changes(described).with(vec![header("Last-Event-ID", "Wins over since.")]),
        )],
    }
}

fn server(path: &str) -> Vec<(&'static str, Described)> {
    let tag = "server";
    match path {
        "/health" => vec![and(
            one("GET", "health", tag, "Tells that the server lives", Json("Health"), &[400, 403]),
            |described| described.with(vec![query("verbose", boolean(), false, "Whether to tell more.")]),
        )],
        "/health/cache" => {
            vec![one("GET", "cache", tag, "Tells how many databases are open", Json("CacheInfo"), &[401, 403])]
        }
        "/openapi.yaml" => {
            vec![one("GET", "openapiYaml", tag, "Gives this description", Text("application/yaml"), &[401, 403])]
        }
        _ => {
            let (verb, mut described) =
                one("GET", "openapiJson", tag, "Leads to the description", Nothing, &[401, 403]);
            described.answers = vec![(302, Nothing)];
            vec![(verb, described)]
        }
    }
}
