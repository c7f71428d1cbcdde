//! A page of changes, at once or when there is one.
//!
//! Made by [`super`]. A page that is waited for holds no thread: the watcher has it read again when something has happened.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use http::{Response, StatusCode};
use serde::Serialize;

use super::super::{Answer, Body, Failure, Outcome, Session, Slot, Threads};
use super::cursor::{Cursor, Position};
use super::log::{self, Event, Filter};
use super::streams::Streams;
use super::watcher::{self, Follower, Look};

/// The answer.
#[derive(Debug, Serialize)]
struct Page {
    cursor: String,
    oldest_cursor: String,
    next_cursor: String,
    has_more: bool,
    events: Vec<Event>,
}

/// What a page is asked for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) filter: Filter,
    pub(super) since: Option<Cursor>,
    pub(super) limit: usize,
}

impl Question {
    /// Reads the page; where the next begins if this one is empty.
    pub(super) fn answer(&self, session: &Session<'_>) -> Result<(Answer, Option<Cursor>), Failure> {
        let position = Position::read(session.connection, &self.filter.table)?;
        let end = position.end();
        let (events, next, has_more) = match &self.since {
            None => (Vec::new(), end.clone(), false),
            Some(since) => {
                position.check(since)?;
                let scan = log::scan(session.connection, &position, &self.filter, since, self.limit, session.now)?;
                (scan.events, scan.next, scan.has_more)
            }
        };
        let empty = (events.is_empty() && !has_more).then(|| next.clone());
        let (cursor, oldest_cursor, next_cursor) = (end.encode(), position.start().encode(), next.encode());
        let page = Page { cursor, oldest_cursor, next_cursor, has_more, events };
        Ok((Answer::json(&page)?.within(session)?, empty))
    }
}

/// A page that is waited for.
pub(super) struct Polling {
    question: Mutex<Question>,
    until: Instant,
    slot: Slot,
    follower: Follower,
    threads: Arc<dyn Threads>,
    streams: Arc<Streams>,
}

impl Polling {
    /// Reads the page, and waits if it is empty.
    pub(super) fn start(
        question: Question,
        until: Instant,
        slot: Slot,
        follower: Follower,
        threads: Arc<dyn Threads>,
        streams: Arc<Streams>,
    ) {
        let question = Mutex::new(question);
        Arc::new(Self { question, until, slot, follower, threads, streams }).read();
    }

    fn question(&self) -> Question {
        self.question.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(self: &Arc<Self>) {
        if !self.slot.is_open() {
            return;
        }
        let question = self.question();
        let empty = Arc::new(Mutex::new(None));
        let finds = Arc::clone(&empty);
        let job = move |session: &Session<'_>| -> Outcome {
            let (answer, next) = question.answer(session)?;
            *finds.lock().unwrap_or_else(PoisonError::into_inner) = next;
            Ok(answer)
        };
        let polling = Arc::clone(self);
        let reply = move |response| {
            let next = empty.lock().unwrap_or_else(PoisonError::into_inner).take();
            polling.take(response, next);
        };
        watcher::submit(self.follower.database(), &self.threads, Slot::new(Box::new(reply)), Box::new(job));
    }

    /// Gives the answer, unless it is empty and there is time left.
    fn take(self: &Arc<Self>, response: Response<Body>, next: Option<Cursor>) {
        let is_time = Instant::now() < self.until && !self.streams.is_closing();
        match next.filter(|_| is_time && response.status() == StatusCode::OK) {
            None => self.slot.fill(response),
            Some(next) => {
                let filter = self.question().filter;
                self.question.lock().unwrap_or_else(PoisonError::into_inner).since = Some(next.clone());
                let waker = Waker::from(Arc::clone(self));
                if !matches!(self.follower.look(&filter, &next, 1, self.until, &waker), Look::Nothing(_)) {
                    self.read();
                }
            }
        }
    }
}

impl Wake for Polling {
    fn wake(self: Arc<Self>) {
        self.read();
    }
}
