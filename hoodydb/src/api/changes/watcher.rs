//! One look at a database's change log for all that follow it.
//!
//! Held by each [`Database`]; a thread runs only while somebody follows. It looks after each commit of this server, and several times
//! a second for what native writers did, and keeps the newest events, from which streams are served without a look of their own. Who
//! has fallen behind what is kept reads the log itself.
//!
//! ```text
//! commits, or 200 ms --> round: a task in the reading lane --> Ring --> wakes streams and polls that it concerns
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::super::database::{Database, Queued};
use super::super::kv::{Table, schema};
use super::super::work::{Create, Mode};
use super::super::{Failure, Outcome, Session, Slot, Threads, call, work};
use super::cursor::{Cursor, Gone, Life, Position, fits};
use super::log::{Event, Filter, rows};
use super::streams::Streams;

/// How long a native writer's change may stay unseen.
const PERIOD: Duration = Duration::from_millis(200);

/// Events that are kept.
const RING_MAX: usize = 4096;

/// Events that one round reads.
const ROUND_MAX: usize = 1024;

/// How long a round may take.
const ROUND_TIME: Duration = Duration::from_secs(10);

/// Events that a stream may leave out before it tells how far it is.
pub(super) const SKIPPED_MAX: i64 = 1000;

/// What watches one database.
#[derive(Default)]
pub(in crate::api) struct Watcher(Mutex<State>);

#[derive(Default)]
struct State {
    is_running: bool,
    /// How many follow each table.
    tables: BTreeMap<String, (Table, usize)>,
    ring: Ring,
    waiting: Vec<Waiting>,
}

/// The newest events.
#[derive(Default)]
struct Ring {
    /// The event before the oldest one here.
    from: i64,
    /// The newest event that was looked at; none before the first round.
    to: Option<i64>,
    events: VecDeque<(Arc<Event>, Arc<str>)>,
    /// The life of each table, and from which event on its events are here.
    lives: BTreeMap<String, (Option<Life>, i64)>,
    /// Counts the rounds.
    rounds: u64,
    is_deleted: bool,
}

/// Somebody who waits for something to happen.
struct Waiting {
    id: u64,
    filter: Filter,
    seq: i64,
    due: Instant,
    waker: Waker,
}

/// What somebody finds who looks.
pub(super) enum Look {
    /// Events that are asked for, as JSON, and how far they reach.
    Events(Vec<(Cursor, Arc<str>)>, Cursor),
    /// There is more than is kept here.
    Behind,
    /// Nothing new up to here, if that is known: the waker is kept.
    Nothing(Option<Cursor>),
    /// The cursor is of no use any more.
    Gone(Gone),
    /// There is no database any more.
    Deleted,
}

/// Takes part in watching a table; ends with it.
pub(super) struct Follower {
    id: u64,
    database: Arc<Database>,
    table: Table,
    /// From which round on it is known how far the log reaches at least.
    round: u64,
}

impl Follower {
    /// Begins to follow.
    pub(super) fn new(
        database: Arc<Database>,
        table: &Table,
        threads: &Arc<dyn Threads>,
        streams: &Arc<Streams>,
    ) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut state = database.watcher.state();
        state.tables.entry(table.tbl().to_owned()).or_insert_with(|| (table.clone(), 0)).1 += 1;
        let round = state.ring.rounds + 2;
        let starts = !std::mem::replace(&mut state.is_running, true);
        drop(state);
        let watched = Arc::clone(&database);
        if starts {
            let (threads, streams) = (Arc::clone(threads), Arc::clone(streams));
            let watch = move || watch(&database, &threads, &streams);
            if let Err(error) = std::thread::Builder::new().name("changes".to_owned()).spawn(watch) {
                tracing::error!(%error, "cannot watch a database for changes");
                watched.watcher.state().is_running = false;
            }
        }
        let database = watched;
        Self { id: COUNT.fetch_add(1, Relaxed), database, table: table.clone(), round }
    }

    /// The database.
    pub(super) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Looks for what is after a cursor; if there is nothing, the waker is called when there is, or a moment has come.
    pub(super) fn look(&self, filter: &Filter, after: &Cursor, most: usize, due: Instant, waker: &Waker) -> Look {
        let mut state = self.database.watcher.state();
        let found = state.ring.look(filter, after, most, self.round);
        if matches!(found, Look::Nothing(_)) {
            self.wait(&mut state, filter, after.seq, due, waker);
        }
        found
    }

    /// Has the waker called after the next round.
    pub(super) fn pause(&self, filter: &Filter, waker: &Waker) {
        self.wait(&mut self.database.watcher.state(), filter, i64::MAX, Instant::now(), waker);
    }

    fn wait(&self, state: &mut State, filter: &Filter, seq: i64, due: Instant, waker: &Waker) {
        let waiting = Waiting { id: self.id, filter: filter.clone(), seq, due, waker: waker.clone() };
        match state.waiting.iter_mut().find(|other| other.id == self.id) {
            Some(same) => *same = waiting,
            None => state.waiting.push(waiting),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.database.watcher.state();
        if let Some((_, count)) = state.tables.get_mut(self.table.tbl()) {
            *count -= 1;
            if *count == 0 {
                state.tables.remove(self.table.tbl());
                state.ring.lives.remove(self.table.tbl());
            }
        }
        let is_last = state.tables.is_empty();
        drop(state);
        if is_last {
            self.database.commits.wake();
        }
    }
}

impl Watcher {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn look(&self, filter: &Filter, after: &Cursor, most: usize, round: u64) -> Look {
        if self.is_deleted {
            return Look::Deleted;
        }
        let (Some(to), Some((life, since))) = (self.to, self.lives.get(filter.table.tbl())) else {
            return Look::Nothing(None);
        };
        if let Err(gone) = fits(after.life.as_ref(), life.as_ref()) {
            return Look::Gone(gone);
        }
        if after.seq > to {
            // The last round may have begun before the cursor was taken, unless it is long ago.
            return if self.rounds >= round { Look::Gone(Gone::Future) } else { Look::Nothing(None) };
        }
        if after.seq < self.from.max(*since) {
            return Look::Behind;
        }
        let at = |seq| Cursor { life: life.clone(), seq };
        let (mut found, mut reached) = (Vec::new(), to);
        let first = self.events.partition_point(|(event, _)| event.seq <= after.seq);
        for (event, text) in self.events.range(first..).filter(|(event, _)| filter.takes(&event.table, &event.key)) {
            if filter.include_values {
                return Look::Behind;
            }
            if found.len() == most {
                reached = found.last().map_or(after.seq, |(cursor, _): &(Cursor, _)| cursor.seq);
                break;
            }
            found.push((at(event.seq), Arc::clone(text)));
        }
        if found.is_empty() && reached - after.seq < SKIPPED_MAX {
            return Look::Nothing(Some(at(reached)));
        }
        Look::Events(found, at(reached))
    }

    /// Takes what a round has read; whether nothing that was here counts any more.
    fn take(&mut self, round: Round) -> bool {
        let is_same =
            round.lives.iter().all(|(table, life)| self.lives.get(table).is_none_or(|(before, _)| before == life));
        let goes_on = !self.is_deleted && is_same && round.after.is_some_and(|after| after <= round.newest);
        (self.rounds, self.is_deleted) = (self.rounds + 1, false);
        let begin = round.after.filter(|_| goes_on).unwrap_or(round.newest);
        let since = |table: &String| self.lives.get(table).filter(|_| goes_on).map_or(begin, |(_, since)| *since);
        self.lives = round
            .lives
            .into_iter()
            .map(|(table, life)| (since(&table), table, life))
            .map(|(since, table, life)| (table, (life, since)))
            .collect();
        if !goes_on {
            (self.from, self.to) = (begin, Some(begin));
            self.events.clear();
            return true;
        }
        self.to = Some(round.reached);
        self.events.extend(round.events.into_iter().filter_map(|event| {
            let text = serde_json::to_string(&event).ok()?;
            Some((Arc::new(event), text.into()))
        }));
        while self.events.len() > RING_MAX {
            self.from = self.events.pop_front().map_or(self.from, |(event, _)| event.seq);
        }
        false
    }
}

/// What one look has read.
struct Round {
    /// Where it began.
    after: Option<i64>,
    newest: i64,
    reached: i64,
    events: Vec<Event>,
    lives: BTreeMap<String, Option<Life>>,
}

impl Round {
    fn read(session: &Session<'_>, after: Option<i64>, tables: &[Table]) -> Result<Self, Failure> {
        let connection = session.connection;
        let mut lives = BTreeMap::new();
        for table in tables {
            // A table that is none of keys any more has no life.
            let life = Position::read(connection, table).map(|position| position.life);
            let life = life.or_else(|failure| if failure.code == "CONFLICT" { Ok(None) } else { Err(failure) })?;
            lives.insert(table.tbl().to_owned(), life);
        }
        let newest = schema::newest(connection)?;
        let mut round = Self { after, newest, reached: newest, events: Vec::new(), lives };
        let Some(after) = after.filter(|after| *after < newest) else { return Ok(round) };
        let (mut count, mut reached) = (0, after);
        let is_end = rows(connection, after, |row| {
            if count == ROUND_MAX {
                return false;
            }
            (count, reached) = (count + 1, row.seq);
            if let Some(life) = round.lives.get(&row.table) {
                round.events.push(row.event(life.as_ref()));
            }
            true
        })?;
        round.reached = if is_end { newest } else { reached };
        Ok(round)
    }
}

/// Looks for as long as somebody follows.
fn watch(database: &Arc<Database>, threads: &Arc<dyn Threads>, streams: &Streams) {
    loop {
        let seen = database.commits.count();
        let mut state = database.watcher.state();
        if state.tables.is_empty() {
            (state.is_running, state.ring) = (false, Ring::default());
            let left = std::mem::take(&mut state.waiting);
            drop(state);
            left.into_iter().for_each(|waiting| waiting.waker.wake());
            return;
        }
        let after = state.ring.to;
        let tables: Vec<Table> = state.tables.values().map(|(table, _)| table.clone()).collect();
        drop(state);
        let read = round(database, threads, after, tables);
        let mut state = database.watcher.state();
        let (mut is_behind, mut all) = (false, streams.is_closing());
        match read {
            Ok(round) => {
                is_behind = round.reached < round.newest;
                all |= state.ring.take(round);
            }
            Err(failure) if failure == "DATABASE_NOT_FOUND" => {
                state.ring = Ring { is_deleted: true, rounds: state.ring.rounds + 1, ..Ring::default() };
            }
            // Locked, or whatever else: the next round tells.
            Err(_) => (),
        }
        let concerned = state.concerned(all);
        drop(state);
        concerned.into_iter().for_each(Waker::wake);
        if !is_behind {
            database.commits.wait(seen, Instant::now() + PERIOD);
        }
    }
}

impl State {
    /// Those who wait and have something to see now.
    fn concerned(&mut self, all: bool) -> Vec<Waker> {
        let now = Instant::now();
        let ring = &self.ring;
        let is_concerned = |waiting: &mut Waiting| {
            let new = ring.events.partition_point(|(event, _)| event.seq <= waiting.seq);
            let takes = |(event, _): &(Arc<Event>, Arc<str>)| waiting.filter.takes(&event.table, &event.key);
            let is_far = ring.to.is_some_and(|to| to - waiting.seq >= SKIPPED_MAX || to < waiting.seq);
            let is_life = ring.to.is_some() && waiting.seq < ring.from;
            all || ring.is_deleted || is_far || is_life || waiting.due <= now || ring.events.range(new..).any(takes)
        };
        self.waiting.extract_if(.., is_concerned).map(|waiting| waiting.waker).collect()
    }
}

/// Reads the log in the reading lane; the error is the code of a failure.
fn round(
    database: &Arc<Database>,
    threads: &Arc<dyn Threads>,
    after: Option<i64>,
    tables: Vec<Table>,
) -> Result<Round, String> {
    let found = Arc::new(Mutex::new(None));
    let finds = Arc::clone(&found);
    let job = move |session: &Session<'_>| -> Outcome {
        let round = Round::read(session, after, &tables)?;
        *finds.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
        Ok(work::json(http::StatusCode::OK, &())?.into())
    };
    let (sender, receiver) = mpsc::channel();
    let reply = Box::new(move |response: http::Response<_>| _ = sender.send(super::code_of(&response)));
    submit(database, threads, Slot::new(reply), Box::new(job));
    let code = receiver.recv().unwrap_or_default();
    let round = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    round.ok_or(code)
}

/// Work in the reading lane that nobody has asked for by a request of their own.
pub(super) fn submit(database: &Arc<Database>, threads: &Arc<dyn Threads>, slot: Slot, job: work::Job) {
    let deadline = Instant::now() + ROUND_TIME;
    let (expires, client) = (deadline, String::new());
    let queued =
        Queued { slot, mode: Mode::Read, create: Create::No, now: call::now_s(), deadline, expires, client, job };
    database.submit(queued, threads);
}
