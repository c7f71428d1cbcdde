//! The HTTP interface without HTTP: a request in, an answer out, from databases that are opened by their path like any client's.
//!
//! Called by [`crate::serve`], which has the sockets, and by [`crate::cli`], whose `db` and `kv` commands ask here directly where no
//! server is named. It knows no socket and no token. Whatever blocks runs on the threads that the caller provides.
//!
//! ```text
//! submit -> route -> an endpoint: parameters in, Work out (no I/O)
//!             |        sql/  files  kv/  time_travel/  history  changes  health
//!             v
//!           database: reading and writing lanes -> connection -> SQLite -> the mount
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};

mod call;
mod changes;
mod connection;
mod create;
mod database;
mod failure;
mod files;
mod gate;
mod guard;
mod health;
mod held;
mod history;
mod inline;
mod kv;
mod openapi;
mod path;
mod route;
mod slot;
mod sql;
#[cfg(test)]
mod testing;
mod tick;
mod time_travel;
mod work;

pub use call::{Call, Params};
pub use changes::Stream;
pub use failure::Failure;
pub use openapi::text as openapi;
pub use path::{PUBLIC_ROOT, Roots, clean};
pub use slot::{Reply, Slot};
pub use work::{Answer, Body, Create, Job, Mode, Outcome, Session, Task, Work};

use database::{Database, Queued};
use route::{Endpoint, Unrouted};

/// Below which every path of the interface lies.
pub const BASE: &str = "/api/v1/sqlite";

/// Databases that are kept open; the one that was used least recently is closed for another.
const DATABASES_MAX: usize = 64;

/// Threads that may block.
pub trait Threads: Send + Sync {
    /// Runs work, now or soon.
    fn run(&self, work: Box<dyn FnOnce() + Send>);

    /// The thread that asks, as [`Threads::interrupt`] takes it.
    fn current(&self) -> u64 {
        0
    }

    /// Ends a lock call of that thread which the mount has parked, as a refusal; a call that is none is left alone.
    fn interrupt(&self, _thread: u64) {}
}

/// Runs work on the thread that asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Inline;

impl Threads for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// How the interface is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where databases may lie.
    pub roots: Roots,
    /// The most bytes of an answer.
    pub max_response_bytes: usize,
    /// Whether the query history is written.
    pub query_history: bool,
    /// The most change streams at a time.
    pub max_streams: usize,
}

/// The interface.
pub struct Api {
    settings: Settings,
    threads: Arc<dyn Threads>,
    open: Mutex<Open>,
    figures: health::Figures,
    streams: Arc<changes::Streams>,
    ticks: AtomicU64,
}

/// The databases in use, with when each was last asked for.
#[derive(Default)]
struct Open {
    databases: HashMap<PathBuf, (u64, Arc<Database>)>,
    requests: u64,
}

impl Api {
    /// Sets it up.
    pub fn new(settings: Settings, threads: Arc<dyn Threads>) -> Arc<Self> {
        let streams = changes::Streams::new(settings.max_streams);
        let (open, figures, ticks) = (Mutex::default(), health::Figures::new(), AtomicU64::new(0));
        Arc::new(Self { settings, threads, open, figures, streams, ticks })
    }

    /// How it is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes a request; the reply is called once, perhaps before this returns. The slot ends the wait from outside, and the
    /// moment says when to: work that has not begun by then has waited too long for a lock.
    pub fn submit(self: &Arc<Self>, request: Request<Bytes>, client: String, reply: Reply) -> (Slot, Instant) {
        let slot = Slot::new(reply);
        let call = match Call::new(request, client) {
            Ok(call) => call,
            Err(failure) => {
                slot.fail(failure);
                return (slot, Instant::now());
            }
        };
        let (now, deadline, client) = (call.now, call.deadline, call.client.clone());
        let expires = deadline.checked_sub(call::LOCK_MARGIN).unwrap_or(deadline);
        match self.work(&call) {
            Err(response) => slot.fill(*response),
            Ok(Work::Done(response)) => slot.fill(response),
            Ok(Work::Health { verbose }) => slot.fill(self.health(&call, verbose)),
            Ok(Work::Cache) => slot.fill(self.cache()),
            Ok(Work::Changes(follow)) => self.follow(follow, &slot, deadline),
            Ok(Work::Aside(work)) => self.aside(&slot, work),
            Ok(Work::Echoing { task, member, value }) => {
                let dress = task.dress;
                slot.dress(move |failure| dress(failure).with(member, value.as_str()));
                self.queue(&slot, task, now, deadline, client);
            }
            Ok(Work::On(task)) => {
                slot.dress(task.dress);
                self.queue(&slot, task, now, deadline, client);
            }
        }
        (slot, expires)
    }

    fn queue(&self, slot: &Slot, task: Task, now: i64, deadline: Instant, client: String) {
        let Task { path, mode, create, job, .. } = task;
        let expires = deadline.checked_sub(call::LOCK_MARGIN).unwrap_or(deadline);
        let queued = Queued { slot: slot.clone(), mode, create, now, deadline, expires, client, job };
        self.database(&path).submit(queued, &self.threads);
    }

    /// Does what takes no database.
    fn aside(&self, slot: &Slot, work: Box<dyn FnOnce() -> Outcome + Send>) {
        let slot = slot.clone();
        self.threads.run(Box::new(move || {
            if slot.begin() {
                match work() {
                    Ok(answer) => slot.fill(answer.response),
                    Err(failure) => slot.fail(failure),
                }
            }
        }));
    }

    /// Takes a request and waits for the answer.
    pub fn answer(self: &Arc<Self>, request: Request<Bytes>, client: String) -> Response<Body> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let reply = Box::new(move |response| _ = sender.send(response));
        let (slot, _) = self.submit(request, client, reply);
        receiver.recv().unwrap_or_else(|_| {
            drop(slot);
            Failure::internal(&"a request was dropped").response()
        })
    }

    /// From a request to what is to be done.
    fn work(&self, call: &Call) -> Result<Work, Box<Response<Body>>> {
        let endpoint = route::route(&call.method, &call.path).map_err(|none| Box::new(unrouted(none)))?;
        self.figures.count(&endpoint);
        let roots = &self.settings.roots;
        let work = match endpoint {
            Endpoint::Transaction => sql::transaction(call, roots),
            Endpoint::Query => sql::query(call, roots),
            Endpoint::Create => files::create(call, roots),
            Endpoint::Delete => files::delete(call, roots),
            Endpoint::List => files::list(call, roots),
            Endpoint::Maintenance => files::maintenance(call, roots),
            Endpoint::KvList => kv::list(call, roots),
            Endpoint::KvGet(key) => kv::get(call, roots, key),
            Endpoint::KvHead(key) => kv::head(call, roots, key),
            Endpoint::KvEntry(key) => kv::entry(call, roots, key),
            Endpoint::KvPut(key) => kv::put(call, roots, key),
            Endpoint::KvDelete(key) => kv::delete(call, roots, key),
            Endpoint::KvVerb(key, verb) => kv::verb(call, roots, key, verb),
            Endpoint::KvBatch(batch) => kv::batch(call, roots, batch),
            Endpoint::KvHistory(key) => time_travel::history(call, roots, key),
            Endpoint::KvSnapshot(key) => time_travel::snapshot(call, roots, key),
            Endpoint::KvRollback(key) => time_travel::rollback(call, roots, key),
            Endpoint::TableSnapshot => time_travel::table_snapshot(call, roots),
            Endpoint::TableDiff => time_travel::table_diff(call, roots),
            Endpoint::TableRollback => time_travel::table_rollback(call, roots),
            Endpoint::History => history::list(call, roots),
            Endpoint::HistoryClear => history::clear(call, roots),
            Endpoint::HistoryRemove(index) => history::remove(call, roots, &index),
            Endpoint::HistoryStats => history::stats(call, roots),
            Endpoint::Changes => changes::page(call, roots),
            Endpoint::ChangesStream => changes::stream(call, roots),
            Endpoint::Health => health::health(call),
            Endpoint::Cache => Ok(Work::Cache),
            Endpoint::OpenApiYaml => openapi::yaml(),
            Endpoint::OpenApiJson => openapi::redirect(),
        };
        work.map_err(|failure| Box::new(failure.response()))
    }

    /// The database of a path; of too many the one that was used least recently and has nothing to do is closed.
    fn database(&self, path: &Path) -> Arc<Database> {
        let key = self.real(path);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.requests += 1;
        let count = open.requests;
        if let Some((used, database)) = open.databases.get_mut(&key) {
            *used = count;
            return Arc::clone(database);
        }
        let mut closed = None;
        if open.databases.len() >= DATABASES_MAX {
            let idle = open
                .databases
                .iter()
                .filter(|(_, (_, database))| database.is_idle() && Arc::strong_count(database) == 1);
            let oldest = idle.min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            closed = oldest.and_then(|path| open.databases.remove(&path));
        }
        let Settings { roots, max_response_bytes, query_history, .. } = &self.settings;
        let database = Arc::new(Database::new(key.clone(), roots.clone(), *max_response_bytes, *query_history));
        open.databases.insert(key, (count, Arc::clone(&database)));
        drop(open);
        if let Some((_, closed)) = closed {
            self.flush(&closed, true, None);
        }
        database
    }

    /// One file has one name here, whatever symlinks lead to its directory.
    fn real(&self, path: &Path) -> PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
        if parent == self.settings.roots.root() {
            return path.to_owned();
        }
        parent.canonicalize().map_or_else(|_| path.to_owned(), |parent| parent.join(name))
    }
}

fn unrouted(unrouted: Unrouted) -> Response<Body> {
    match unrouted {
        Unrouted::NotFound => Failure::not_found("NOT_FOUND", "there is no such path").response(),
        Unrouted::Bad(failure) => failure.response(),
        Unrouted::Method(allow) => {
            let text = "the path does not take this method";
            let mut response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text).response();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            response
        }
    }
}
