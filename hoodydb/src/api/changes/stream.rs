//! A stream of changes as server-sent events.
//!
//! Made by [`super`], pulled by the room that has the socket, or by a command. It holds no thread: whoever pulls is woken when there is
//! something, and a stream whose client reads slowly keeps nothing but its position.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Session, Slot, Threads, work};
use super::cursor::{Cursor, Gone, Position};
use super::log::{self, Filter, Scan};
use super::streams::Seat;
use super::watcher::{self, Follower, Look};

/// How long a stream lives.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How often a stream tells how far it is.
const CHECKPOINT: Duration = Duration::from_secs(15);

/// Events that are fetched at a time.
const BATCH: usize = 256;

/// Server-sent events.
pub struct Stream {
    follower: Follower,
    threads: Arc<dyn Threads>,
    filter: Filter,
    at: Cursor,
    seat: Seat,
    ready: VecDeque<Bytes>,
    reading: Option<Arc<Inbox>>,
    pub(super) until: Instant,
    pub(super) checkpoint: Instant,
    is_over: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("filter", &self.filter).field("at", &self.at).finish_non_exhaustive()
    }
}

/// Where a look at the log is put by the thread that did it.
#[derive(Default)]
struct Inbox(Mutex<Content>);

/// What was read, if it was, and who is to be woken by it.
type Content = (Option<Read>, Option<Waker>);

/// What a look at the log found; the code of the failure if it could not be looked at.
type Read = Result<Result<Scan, Gone>, String>;

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// A stream from a cursor on that is known to be good.
    pub(super) fn new(
        follower: Follower,
        threads: Arc<dyn Threads>,
        filter: Filter,
        at: Cursor,
        oldest: &Cursor,
        seat: Seat,
    ) -> Self {
        let now = Instant::now();
        let cursor = at.encode();
        let hello = serde_json::json!({"cursor": cursor, "oldest_cursor": oldest.encode()}).to_string();
        let ready = VecDeque::from([Bytes::from_static(b"retry: 1000\n\n"), text(&cursor, "ready", &hello)]);
        let (until, checkpoint) = (now + LIFETIME, now + CHECKPOINT);
        Self { follower, threads, filter, at, seat, ready, reading: None, until, checkpoint, is_over: false }
    }

    /// The next event's text, ready to be sent; none after the last. The waker of the context is called when it makes sense to ask
    /// again.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Poll::Ready(Some(text));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let now = Instant::now();
            if self.seat.streams().is_closing() {
                self.end("end", "shutdown");
            } else if now >= self.until {
                self.end("end", "max_lifetime");
            } else if self.step(now, context.waker()).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Waits for the next event's text on the thread of the caller; none after the last.
    pub fn wait(&mut self) -> Option<Bytes> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(text) = self.poll_next(&mut context) {
                return text;
            }
            std::thread::park();
        }
    }

    /// Looks for more; pending if there is nothing, and the waker is kept.
    fn step(&mut self, now: Instant, waker: &Waker) -> Poll<()> {
        if let Some(inbox) = &self.reading {
            let mut content = inbox.lock();
            let Some(read) = content.0.take() else {
                content.1 = Some(waker.clone());
                return Poll::Pending;
            };
            drop(content);
            self.reading = None;
            return self.take(read, waker);
        }
        let due = self.checkpoint.min(self.until);
        match self.follower.look(&self.filter, &self.at, BATCH, due, waker) {
            Look::Events(events, reached) => {
                let is_empty = events.is_empty();
                self.ready.extend(events.into_iter().map(|(cursor, json)| text(&cursor.encode(), "change", &json)));
                self.at = reached;
                if is_empty {
                    self.tell(now);
                }
            }
            Look::Nothing(reached) => {
                self.at = reached.unwrap_or_else(|| self.at.clone());
                if now < self.checkpoint {
                    return Poll::Pending;
                }
                self.tell(now);
            }
            Look::Behind => self.read(),
            Look::Gone(gone) => self.gone(gone),
            Look::Deleted => self.end("end", "database_deleted"),
        }
        Poll::Ready(())
    }

    /// Has the log itself looked at.
    fn read(&mut self) {
        let inbox = Arc::<Inbox>::default();
        let (finds, fails) = (Arc::clone(&inbox), Arc::clone(&inbox));
        let (filter, at) = (self.filter.clone(), self.at.clone());
        let job = move |session: &Session<'_>| {
            let position = Position::read(session.connection, &filter.table)?;
            let scan = match position.check(&at) {
                Ok(()) => Ok(log::scan(session.connection, &position, &filter, &at, BATCH, session.now)?),
                Err(gone) => Err(gone),
            };
            finds.lock().0 = Some(Ok(scan));
            Ok(work::json(http::StatusCode::OK, &())?.into())
        };
        let reply = move |response: http::Response<super::super::Body>| {
            let mut content = fails.lock();
            content.0.get_or_insert_with(|| Err(super::code_of(&response)));
            let waker = content.1.take();
            drop(content);
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        self.reading = Some(inbox);
        watcher::submit(self.follower.database(), &self.threads, Slot::new(Box::new(reply)), Box::new(job));
    }

    /// Takes what was read from the log.
    fn take(&mut self, read: Read, waker: &Waker) -> Poll<()> {
        match read {
            Ok(Ok(scan)) => {
                let is_empty = scan.events.is_empty();
                for event in &scan.events {
                    let json = serde_json::to_string(event).unwrap_or_default();
                    self.ready.push_back(text(&event.cursor, "change", &json));
                }
                self.at = scan.next;
                if is_empty && scan.has_more {
                    self.tell(Instant::now());
                }
            }
            Ok(Err(gone)) => self.gone(gone),
            Err(code) if code == "DATABASE_NOT_FOUND" => self.end("end", "database_deleted"),
            Err(code) if code == "CONFLICT" => self.gone(Gone::Table),
            Err(_) => {
                self.follower.pause(&self.filter, waker);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Tells how far it is.
    fn tell(&mut self, now: Instant) {
        let cursor = self.at.encode();
        let json = serde_json::json!({"cursor": cursor}).to_string();
        self.ready.push_back(text(&cursor, "checkpoint", &json));
        self.checkpoint = now + CHECKPOINT;
    }

    fn gone(&mut self, gone: Gone) {
        // A position that was good and is after the end now is one in a file that is there no more.
        let gone = if gone == Gone::Future { Gone::Replaced } else { gone };
        self.end("reset", gone.reason());
    }

    fn end(&mut self, event: &str, reason: &str) {
        let json = serde_json::json!({"reason": reason}).to_string();
        self.ready.push_back(text(&self.at.encode(), event, &json));
        self.is_over = true;
    }
}

/// An event as it goes over the wire; JSON may have line breaks between its tokens only.
///
/// # Source
/// The HTML standard, 9.2.6: a line break ends a field.
fn text(id: &str, event: &str, json: &str) -> Bytes {
    let data = json.replace(['\n', '\r'], " ");
    Bytes::from(format!("id: {id}\nevent: {event}\ndata: {data}\n\n"))
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
