//! What the server does between requests: it writes query histories, removes expired keys and shortens change logs.
//!
//! Called by the server once a second, and by whoever ends it. Nothing here waits for a lock, and no request waits for it: what cannot
//! be done now is done at a later tick.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::{Response, StatusCode};

use super::database::{Database, Queued};
use super::work::{Create, Job, Mode};
use super::{Api, Body, Outcome, Session, Slot, call, history, kv};

/// Ticks between two rounds of removing what is old.
const TIDY_TICKS: u64 = 60;

/// Rows that a step of such a round removes, and steps of it.
const TIDY_STEP: usize = 256;
const TIDY_ROUNDS: usize = 8;

/// How long such work may take.
const TIME: Duration = Duration::from_secs(2);

impl Api {
    /// To be called once a second.
    pub fn tick(self: &Arc<Self>) {
        let is_time = self.ticks.fetch_add(1, Relaxed) % TIDY_TICKS == TIDY_TICKS - 1;
        for database in self.databases() {
            self.flush(&database, database.is_idle(), None);
            if is_time && database.is_open() {
                self.beside(&database, Mode::ReadAlone, Box::new(tidy), Box::new(|_| ()));
            }
        }
    }

    /// Ends the change streams, and writes what the query histories have still to be told, as far as that takes no wait for locks.
    pub fn close(self: &Arc<Self>) {
        self.streams.close();
        let (sender, ends) = mpsc::channel();
        for database in self.databases() {
            database.commits.wake();
            self.flush(&database, true, Some(sender.clone()));
        }
        drop(sender);
        let until = Instant::now() + TIME;
        while ends.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
    }

    /// Those that are in use.
    pub(super) fn databases(&self) -> Vec<Arc<Database>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.databases.values().map(|(_, database)| Arc::clone(database)).collect()
    }

    /// Writes a query history if it is time to, and then tells so.
    pub(super) fn flush(&self, database: &Arc<Database>, is_idle: bool, end: Option<Sender<()>>) {
        let Some(writes) = database.history.begin_flush(is_idle) else { return };
        let of = Arc::clone(database);
        let done = move |response: Response<Body>| {
            // What a lock was in the way of is tried again; a database that takes no history has none.
            if !matches!(response.status(), StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) {
                of.history.clear();
            }
            of.history.flushed();
            end.map(|end| end.send(()));
        };
        // Entries of reads alone do not make the table, and do not take the write lock to see whether it is there.
        let mode = if writes { Mode::Write } else { Mode::ReadAlone };
        self.beside(database, mode, Box::new(history::flush_job), Box::new(done));
    }

    /// Work that waits for no lock.
    fn beside(&self, database: &Arc<Database>, mode: Mode, job: Job, reply: super::Reply) {
        let now = Instant::now();
        let slot = Slot::new(reply);
        let (deadline, client) = (now + TIME, String::new());
        let queued = Queued { slot, mode, create: Create::No, now: call::now_s(), deadline, expires: now, client, job };
        database.submit(queued, &self.threads);
    }
}

/// Removes what is old; where there is something, a reader fails with DATABASE_READONLY and it runs again as a writer.
fn tidy(session: &Session<'_>) -> Outcome {
    let (connection, mut rounds) = (session.connection, 0..TIDY_ROUNDS);
    while rounds.next().is_some() && kv::sweep(connection, session.now, TIDY_STEP)? == TIDY_STEP {}
    Ok(super::work::json(StatusCode::OK, &())?.into())
}
