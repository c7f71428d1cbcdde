//! The last 24 hours, minute by minute, in a small SQLite file of the daemon's own.
//!
//! Called by [`crate::daemon`]. One thread does everything: it looks once a second, and writes every ten. Nobody else ever waits for
//! its disk; what cannot be written is kept for a while, and said. It knows neither locks nor FUSE: a look is a closure.
//!
//! ```text
//!   look, once a second -> Collector (model) -> minutes -> Store, every 10 s and when somebody asks
//!   hoodydb history ------------------------> Historian -> Store
//! ```

mod store;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::history::{Collector, HistoryRow, Minute, Seen, row};
use crate::model::printable;
use store::Store;

/// How often the databases are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often what was seen is written: the death of a worker loses no more than this.
const WRITE: Duration = Duration::from_secs(10);

/// How long a file that cannot be opened or written is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What is kept.
pub const KEPT_S: u64 = 24 * 3_600;

/// Length of a minute.
const MINUTE_S: u64 = 60;

/// Minutes of databases that wait for a disk that takes them; then the oldest are lost.
const UNWRITTEN_MAX: usize = 6_000;

/// How long whoever asks waits for a disk that does not answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What looks: none at the end of the mount.
pub type Look = Box<dyn Fn() -> Option<Vec<Seen>> + Send>;

/// What the thread is asked.
enum Ask {
    Read { since_unix_s: u64, path: Option<String>, reply: SyncSender<Answer> },
    Stop { done: SyncSender<()> },
}

/// The rows that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The oldest first.
    pub rows: Vec<HistoryRow>,
    /// Why some are missing.
    pub missing: Option<String>,
}

/// The daemon's side of the thread.
pub struct Historian {
    asks: SyncSender<Ask>,
    missing: Arc<Mutex<Option<String>>>,
}

impl Historian {
    /// Starts the thread, which opens or makes the file. `from_zero`: nothing was counted before, so the first look counts whole.
    ///
    /// # Errors
    /// EAGAIN if there is no room for the thread.
    pub fn start(file: PathBuf, from_zero: bool, look: Look) -> std::io::Result<Self> {
        let (asks, asked) = sync_channel(16);
        let missing = Arc::new(Mutex::new(None));
        let keeper = Keeper {
            file,
            store: None,
            next_try: Instant::now(),
            part: now_ns(),
            collector: Collector::new(MINUTE_S, from_zero),
            unwritten: VecDeque::new(),
            next_write: Instant::now() + WRITE,
            missing: Arc::clone(&missing),
        };
        std::thread::Builder::new().name("history".into()).spawn(move || keeper.run(&asked, &look))?;
        Ok(Self { asks, missing })
    }

    /// Why minutes are not kept, where they are not.
    pub fn missing(&self) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The minutes since a time, of one database or of all, the one that runs included.
    ///
    /// # Errors
    /// In words, if the disk does not answer.
    pub fn read(&self, since_unix_s: u64, path: Option<String>) -> Result<Answer, String> {
        let (reply, answer) = sync_channel(1);
        let asked = self.asks.try_send(Ask::Read { since_unix_s, path, reply });
        let silent = || "the history's disk does not answer".to_owned();
        asked.map_err(|_| silent())?;
        answer.recv_timeout(ANSWER).map_err(|_| silent())
    }

    /// Writes what is left and ends; a disk that does not answer is not waited for.
    pub fn stop(&self) {
        let (done, ended) = sync_channel(1);
        if self.asks.try_send(Ask::Stop { done }).is_ok() {
            let _ = ended.recv_timeout(ANSWER);
        }
    }
}

/// The thread's state.
struct Keeper {
    file: PathBuf,
    store: Option<Store>,
    next_try: Instant,
    /// Tells this worker's part of a minute from those of workers before it.
    part: u64,
    collector: Collector,
    /// Whole minutes that are not on the disk yet.
    unwritten: VecDeque<Minute>,
    next_write: Instant,
    missing: Arc<Mutex<Option<String>>>,
}

impl Keeper {
    fn run(mut self, asked: &Receiver<Ask>, look: &Look) {
        let mut next_look = Instant::now();
        loop {
            let wait = next_look.saturating_duration_since(Instant::now());
            match asked.recv_timeout(wait) {
                Ok(Ask::Read { since_unix_s, path, reply }) => {
                    self.look(look);
                    self.write();
                    let _ = reply.send(self.answer(since_unix_s, path.as_deref()));
                }
                Ok(Ask::Stop { done }) => {
                    self.look(look);
                    self.write();
                    drop(self.store.take());
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    next_look = Instant::now() + LOOK;
                    if !self.look(look) {
                        return;
                    }
                    if Instant::now() >= self.next_write {
                        self.write();
                    }
                }
            }
        }
    }

    /// False at the end of the mount.
    fn look(&mut self, look: &Look) -> bool {
        let Some(seen) = look() else { return false };
        let ended = self.collector.look(now_ns() / 1_000_000_000, seen);
        self.unwritten.extend(ended);
        let too_many = self.unwritten.len().saturating_sub(UNWRITTEN_MAX);
        self.unwritten.drain(..too_many);
        true
    }

    fn write(&mut self) {
        self.next_write = Instant::now() + WRITE;
        if self.store.is_none() && Instant::now() < self.next_try {
            return;
        }
        match self.try_write() {
            Ok(()) => {
                self.unwritten.clear();
                self.say(None);
            }
            Err(error) => {
                self.store = None;
                self.next_try = Instant::now() + TRY_AGAIN;
                self.say(Some(format!("{}: {error}", printable(&self.file))));
            }
        }
    }

    fn try_write(&mut self) -> Result<(), store::StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(Store::open(&self.file)?),
        };
        let minutes: Vec<Minute> = self.unwritten.iter().cloned().chain(self.collector.running()).collect();
        store.write(&minutes, self.part)?;
        store.forget_before((now_ns() / 1_000_000_000).saturating_sub(KEPT_S))
    }

    /// Tells of a change, once.
    fn say(&self, missing: Option<String>) {
        let mut told = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*told, &missing) {
            (None, Some(reason)) => {
                tracing::warn!(reason, "the history's minutes cannot be kept; the mount is not concerned")
            }
            (Some(_), None) => tracing::info!("the history's minutes are kept again"),
            _ => (),
        }
        *told = missing;
    }

    fn answer(&self, since_unix_s: u64, path: Option<&str>) -> Answer {
        let missing = || self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stored = match &self.store {
            Some(store) => store.read(since_unix_s, path),
            None => Ok(Vec::new()),
        };
        match stored {
            Ok(minutes) if self.store.is_some() => {
                Answer { rows: minutes.iter().map(row).collect(), missing: missing() }
            }
            // What is not on the disk is better than nothing.
            stored => {
                let running = self.collector.running();
                let wanted = |minute: &&Minute| {
                    minute.minute_unix_s >= since_unix_s && path.is_none_or(|path| minute.path == path)
                };
                let rows = self.unwritten.iter().chain(&running).filter(wanted).map(row).collect();
                Answer { rows, missing: stored.err().map(|error| error.to_string()).or_else(missing) }
            }
        }
    }
}

/// Nanoseconds since 1970.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
