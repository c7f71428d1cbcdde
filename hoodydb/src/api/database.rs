//! One database of the server: who works on it, in which order, on which connections.
//!
//! Called by [`super::Api`], which submits tasks. Two lanes, reading and writing, each with a queue and a bounded number of workers;
//! a worker is a thread of the pool for as long as its lane has work, so that an idle database costs no thread. Short tasks share a
//! snapshot, or a commit. What a task is answered with is true on the disk: writes are answered after COMMIT.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::connection::{Handle, Purpose};
use super::gate::Gate;
use super::path::{self, Place, Roots};
use super::slot::Slot;
use super::work::{Create, Job, Mode};
use super::{Failure, Threads, changes, create, history};

mod reading;
mod writing;

/// Tasks that share one snapshot or commit.
const SHARED_MAX: usize = 256;

/// Workers of one database that read at a time.
const READERS: usize = 4;

/// A task in a lane.
pub(super) struct Queued {
    pub(super) slot: Slot,
    pub(super) mode: Mode,
    pub(super) create: Create,
    pub(super) now: i64,
    pub(super) deadline: Instant,
    /// Until when locks are waited for.
    pub(super) expires: Instant,
    /// Who asks, for the query history.
    pub(super) client: String,
    pub(super) job: Job,
}

impl Queued {
    /// Whether it waits too long for a lock.
    fn is_over(&self) -> bool {
        Instant::now() >= self.expires
    }

    /// The same, of which nothing is done any more.
    fn anew(self) -> Self {
        self.slot.begin_anew();
        self
    }

    /// Whether others may share its transaction.
    fn is_shared(&self) -> bool {
        matches!(self.mode, Mode::Read | Mode::Write)
    }
}

/// A database.
pub(super) struct Database {
    /// Its path, without a symlink as far as it exists.
    path: PathBuf,
    roots: Roots,
    max_response_bytes: usize,
    lanes: Mutex<Lanes>,
    gate: Gate,
    /// Connections that nobody uses now.
    idle: Mutex<Vec<(Purpose, Handle)>>,
    /// What the query history has still to be told.
    pub(super) history: history::Pending,
    /// Looks for changes while somebody follows.
    pub(super) watcher: changes::Watcher,
    /// Wakes those that wait for changes; counts commits of this server.
    pub(super) commits: Commits,
}

#[derive(Default)]
struct Lanes {
    reads: VecDeque<Queued>,
    writes: VecDeque<Queued>,
    readers: usize,
    is_writing: bool,
}

/// Counts the commits of this server on a database, and wakes whoever waits for one.
#[derive(Default)]
pub(super) struct Commits {
    count: Mutex<u64>,
    more: Condvar,
}

impl Commits {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, and wakes all that wait.
    pub(super) fn wake(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.more.notify_all();
    }

    /// Waits until there were more than `seen`, or a moment has come.
    pub(super) fn wait(&self, seen: u64, until: Instant) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count <= seen {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return;
            };
            count = self.more.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Database {
    pub(super) fn new(path: PathBuf, roots: Roots, max_response_bytes: usize, query_history: bool) -> Self {
        Self {
            path,
            roots,
            max_response_bytes,
            lanes: Mutex::default(),
            gate: Gate::default(),
            idle: Mutex::default(),
            history: history::Pending::new(query_history),
            watcher: changes::Watcher::default(),
            commits: Commits::default(),
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The most bytes of an answer.
    pub(super) fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// Whether no task is under way or waits.
    pub(super) fn is_idle(&self) -> bool {
        let lanes = self.lanes();
        lanes.readers == 0 && !lanes.is_writing && lanes.reads.is_empty() && lanes.writes.is_empty()
    }

    /// Whether it has a connection open.
    pub(super) fn is_open(&self) -> bool {
        !self.is_idle() || !self.idle().is_empty()
    }

    /// Queues a task, and sees to it that somebody works on its lane.
    pub(super) fn submit(self: &Arc<Self>, task: Queued, threads: &Arc<dyn Threads>) {
        let mut lanes = self.lanes();
        let reads = matches!(task.mode, Mode::Read | Mode::ReadAlone);
        let needs_worker = if reads {
            lanes.reads.push_back(task);
            let needs = lanes.readers < READERS;
            lanes.readers += usize::from(needs);
            needs
        } else {
            lanes.writes.push_back(task);
            !std::mem::replace(&mut lanes.is_writing, true)
        };
        drop(lanes);
        if !needs_worker {
            return;
        }
        let (database, pool) = (Arc::clone(self), Arc::clone(threads));
        threads.run(Box::new(move || if reads { database.read(&pool) } else { database.write(&*pool) }));
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Purpose, Handle)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next tasks of a lane: one that wants to be alone, or all that may share. The worker leaves when there are none.
    fn take(&self, reads: bool) -> Vec<Queued> {
        let mut lanes = self.lanes();
        let queue = if reads { &mut lanes.reads } else { &mut lanes.writes };
        queue.retain(|task| task.slot.is_open());
        let shared = queue.iter().take(SHARED_MAX).take_while(|task| task.is_shared()).count();
        // Readers share the queue among themselves as well.
        let share = if reads { shared.div_ceil(READERS) } else { shared };
        let count = share.max(1).min(queue.len());
        let taken: Vec<Queued> = queue.drain(..count).collect();
        if taken.is_empty() {
            if reads {
                lanes.readers -= 1;
            } else {
                lanes.is_writing = false;
            }
        }
        taken
    }

    /// A connection to what lies under the path now; the file is made where a task asks for it.
    fn connect(&self, purpose: Purpose, create: Create) -> Result<Handle, Failure> {
        let place = match self.roots.resolve(&self.path) {
            Ok(place) => place,
            Err(failure) if failure.code == "DATABASE_NOT_FOUND" => Place { path: self.path.clone(), identity: None },
            Err(failure) => return Err(failure),
        };
        let identity = match (place.identity, create) {
            (Some(identity), Create::No | Create::WithParents | Create::InParent) => identity,
            (Some(_), Create::New) => return Err(create::exists()),
            (None, Create::No) => {
                self.forget();
                self.history.clear();
                return Err(path::no_database());
            }
            (None, create) => {
                self.history.clear();
                create::file(&self.roots, &self.path, create)?
            }
        };
        self.history.belongs_to(identity);
        let mut idle = self.idle();
        idle.retain(|(_, handle)| handle.identity == identity);
        if let Some(at) = idle.iter().position(|(other, _)| *other == purpose) {
            return Ok(idle.swap_remove(at).1);
        }
        drop(idle);
        Handle::open(&self.path, identity, purpose)
    }

    /// Keeps a connection for later tasks.
    fn keep(&self, purpose: Purpose, handle: Handle) {
        if handle.is_spent() {
            return;
        }
        handle.set_deadline(None);
        let mut idle = self.idle();
        if idle.iter().filter(|(other, _)| *other == purpose).count() < READERS {
            idle.push((purpose, handle));
        }
    }

    /// Closes the connections that nobody uses now.
    pub(super) fn forget(&self) {
        self.idle().clear();
    }
}

/// Answers all of them with one failure.
fn fail_all(tasks: Vec<Queued>, failure: &Failure) {
    for task in tasks {
        task.slot.fail(failure.clone());
    }
}

/// Ends the wait of tasks whose time for locks is over; true if none is left.
fn expire(tasks: &mut Vec<Queued>) -> bool {
    tasks.retain(|task| {
        if task.is_over() {
            task.slot.expire();
        }
        task.slot.is_open()
    });
    tasks.is_empty()
}
