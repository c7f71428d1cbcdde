//! Which of the session's threads wait for requests.
//!
//! The kernel gives requests to the waiting threads in turn. A client whose requests wake now one thread and now another looks to
//! the scheduler like the centre of many (kernel/sched/fair.c, `wake_wide()`), which then leaves everyone on the processor
//! where it was; client and daemon on two processors cost each other half of the speed (eight writers in WAL mode, 2 vCPUs: 70
//! instead of 38 us per transaction). So one thread fewer than there are waits, and the last one stands by for when another
//! sleeps on the disk.
//!
//! ```text
//!              too many read                 leave(): the disk
//!   standing by <----------- reading ------------------------------> away
//!        |                    ^   ^                                   |
//!        |  another leaves    |   |  too few read                     |
//!        +--------------------+   +-----------------------------------+  too many read: stands by
//! ```
//!
//! Changing places costs two wake-ups, and another processor for the client's next request. While all requests come from one
//! thread, nobody misses the reader that sleeps for it: it keeps its place, and who stands by looks every [`WATCH`] whether it
//! has been away for too long.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks of a thread that stands by whether the session has ended.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks whether a reader that kept its place is still away: it is replaced at the second.
const WATCH: Duration = Duration::from_millis(1);

/// So many looks without any such reader end the watch.
const QUIET_LOOKS: u32 = 20;

/// After so many requests of one thread in a row it is alone.
const ALONE_AFTER: u32 = 16;

/// The threads of a session.
pub(super) struct Readers {
    /// Whether the session is over: then nobody may stand by.
    is_over: Box<dyn Fn() -> bool + Send + Sync>,
    /// How many should read.
    wanted: usize,
    /// How many read, or work on a request that does not sleep, or have kept their place. Changed under the mutex.
    reading: AtomicUsize,
    /// Not before each thread was seen reading ([`super::buffers`]).
    may_stand_by: AtomicBool,
    waiting: Mutex<Waiting>,
    called: Condvar,
    begun: Instant,
    /// Since when a reader is away that has kept its place, in ns since `begun`; 0 if there is none.
    absent_since: AtomicU64,
    absences: AtomicU64,
    /// Whether those that stand by look every [`WATCH`].
    watched: AtomicBool,
    /// The client of the last request, and how many came from it in a row.
    client: AtomicU32,
    in_a_row: AtomicU32,
}

#[derive(Default)]
struct Waiting {
    standing_by: usize,
    /// Of those, how many were told to read.
    called: usize,
}

impl Readers {
    /// `threads` threads, all of which read.
    pub(super) fn new(threads: usize, is_over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            is_over: Box::new(is_over),
            wanted: threads.saturating_sub(1).max(1),
            reading: AtomicUsize::new(threads),
            may_stand_by: AtomicBool::new(false),
            waiting: Mutex::default(),
            called: Condvar::new(),
            begun: Instant::now(),
            absent_since: AtomicU64::new(0),
            absences: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            client: AtomicU32::new(0),
            in_a_row: AtomicU32::new(0),
        }
    }

    /// Each thread was seen reading.
    pub(super) fn settled(&self) {
        self.may_stand_by.store(true, Relaxed);
    }

    /// Nobody stands by any more.
    pub(super) fn end(&self) {
        self.may_stand_by.store(false, Relaxed);
        let _waiting = self.lock();
        self.called.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of a client's thread came; 0 is the kernel itself.
    pub(super) fn request(&self, tid: u32) {
        if self.client.load(Relaxed) == tid {
            self.in_a_row.store(self.in_a_row.load(Relaxed).saturating_add(1), Relaxed);
        } else if tid != 0 {
            self.client.store(tid, Relaxed);
            self.in_a_row.store(0, Relaxed);
        }
    }

    /// The calling thread has answered a request, and is about to read the next: it stands by instead, if enough others read.
    pub(super) fn rest(&self) {
        if self.reading.load(Relaxed) > self.wanted && self.may_stand_by.load(Relaxed) {
            let waiting = self.lock();
            if self.reading.load(Relaxed) > self.wanted {
                self.reading.fetch_sub(1, Relaxed);
                self.stand_by(waiting);
            }
        }
    }

    /// The calling thread is about to sleep; `None` if it must not, since no other would read.
    pub(super) fn leave(&self) -> Option<Away<'_>> {
        if self.in_a_row.load(Relaxed) >= ALONE_AFTER
            && let Some(since) = self.keep_place()
        {
            return Some(Away { readers: self, kept: Some(since) });
        }
        let mut waiting = self.lock();
        if self.reading.load(Relaxed) > self.wanted {
            self.reading.fetch_sub(1, Relaxed);
        } else if waiting.standing_by > waiting.called {
            // It takes this one's place.
            waiting.called += 1;
            self.called.notify_one();
        } else if self.reading.load(Relaxed) > 1 {
            self.reading.fetch_sub(1, Relaxed);
        } else {
            return None;
        }
        Some(Away { readers: self, kept: None })
    }

    /// Leaves without giving up the place: when, if another thread watches.
    fn keep_place(&self) -> Option<u64> {
        let since = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        // Told before the question who watches, as whoever ends the watch asks once more who is away.
        self.absent_since.compare_exchange(0, since, SeqCst, SeqCst).ok()?;
        self.absences.fetch_add(1, Relaxed);
        if !self.watched.load(SeqCst) {
            let waiting = self.lock();
            if waiting.standing_by == waiting.called {
                drop(waiting);
                // Nobody took the place meanwhile: nobody stood by.
                self.absent_since.store(0, SeqCst);
                return None;
            }
            self.watched.store(true, SeqCst);
            self.called.notify_all();
        }
        Some(since)
    }

    fn come_back(&self) {
        let waiting = self.lock();
        if self.reading.load(Relaxed) >= self.wanted && self.may_stand_by.load(Relaxed) {
            self.stand_by(waiting);
        } else {
            self.reading.fetch_add(1, Relaxed);
        }
    }

    /// Returns when the calling thread is to read, and counts as one that does.
    fn stand_by(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.standing_by += 1;
        let mut watch = Watch::default();
        loop {
            if waiting.called > 0 {
                // Who called it has left, and counted it in.
                waiting.called -= 1;
                break;
            }
            if !self.may_stand_by.load(Relaxed) {
                self.reading.fetch_add(1, Relaxed);
                break;
            }
            let watched = self.watched.load(SeqCst);
            let time = if watched { WATCH } else { LOOK };
            let (woken, timeout) = self.called.wait_timeout(waiting, time).unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
            if timeout.timed_out() && watched && self.takes_place(&mut watch) {
                break;
            }
            if timeout.timed_out() && !watched && (self.is_over)() {
                self.may_stand_by.store(false, Relaxed);
            }
        }
        waiting.standing_by -= 1;
    }

    /// One look of a thread that stands by: whether it has taken the place of a reader that is away for too long.
    fn takes_place(&self, watch: &mut Watch) -> bool {
        let (since, absences) = (self.absent_since.load(SeqCst), self.absences.load(Relaxed));
        if since != 0 && since == watch.since {
            return self.absent_since.compare_exchange(since, 0, SeqCst, SeqCst).is_ok();
        }
        watch.quiet = if since == 0 && absences == watch.absences { watch.quiet + 1 } else { 0 };
        (watch.since, watch.absences) = (since, absences);
        if watch.quiet >= QUIET_LOOKS {
            watch.quiet = 0;
            self.watched.store(false, SeqCst);
            if self.absent_since.load(SeqCst) != 0 {
                self.watched.store(true, SeqCst);
            }
        }
        false
    }
}

/// What a thread that stands by has seen.
#[derive(Default)]
struct Watch {
    since: u64,
    absences: u64,
    quiet: u32,
}

/// A thread that may sleep. When it is dropped the thread is back, which may take until it is needed.
pub(super) struct Away<'a> {
    readers: &'a Readers,
    /// Since when, if it has kept its place.
    kept: Option<u64>,
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        let kept = |since| self.readers.absent_since.compare_exchange(since, 0, SeqCst, SeqCst).is_ok();
        if !self.kept.is_some_and(kept) {
            self.readers.come_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn settled(threads: usize, is_over: bool) -> Arc<Readers> {
        let readers = Arc::new(Readers::new(threads, move || is_over));
        readers.settled();
        readers
    }

    /// A thread that rests; tells when it goes on.
    fn resting(readers: &Arc<Readers>) -> Receiver<()> {
        let (said, heard) = channel();
        let its = Arc::clone(readers);
        let before = readers.lock().standing_by;
        std::thread::spawn(move || {
            its.rest();
            let _ = said.send(());
        });
        while readers.lock().standing_by == before {
            std::thread::yield_now();
        }
        heard
    }

    #[test]
    fn one_of_two_stands_by_until_the_other_leaves() {
        let readers = settled(2, false);
        let second = resting(&readers);
        readers.rest();
        assert!(second.try_recv().is_err(), "this one reads");
        let away = readers.leave().expect("the other takes its place");
        second.recv().expect("it reads now");
        assert!(readers.leave().is_none(), "nobody else would read");
        readers.end();
        drop(away);
        assert_eq!(readers.reading.load(Relaxed), 2);
    }

    #[test]
    fn who_comes_back_stands_by_where_enough_read() {
        let readers = settled(2, false);
        let second = resting(&readers);
        let ((said, heard), (back, told)) = (channel(), channel());
        let first = Arc::clone(&readers);
        let thread = std::thread::spawn(move || {
            let away = first.leave().expect("the other takes its place");
            told.recv().expect("a word");
            drop(away);
            let _ = said.send(());
        });
        second.recv().expect("it reads now");
        back.send(()).expect("it listens");
        while readers.lock().standing_by == 0 {
            std::thread::yield_now();
        }
        assert!(heard.try_recv().is_err(), "it stands by");
        let _away = readers.leave().expect("it takes this one's place");
        heard.recv().expect("it reads again");
        thread.join().expect("no panic");
        readers.end();
    }

    #[test]
    fn of_more_threads_all_but_one_may_read_or_be_away() {
        let readers = settled(4, false);
        let _fourth = resting(&readers);
        readers.rest();
        assert_eq!(readers.reading.load(Relaxed), 3, "no more than one stands by");
        let away: Vec<_> = std::iter::from_fn(|| readers.leave()).collect();
        assert_eq!(away.len(), 3);
        assert_eq!(readers.reading.load(Relaxed), 1);
        readers.end();
    }

    #[test]
    fn the_reader_of_a_client_that_is_alone_keeps_its_place() {
        let readers = settled(2, false);
        let second = resting(&readers);
        (0..=ALONE_AFTER).for_each(|_| readers.request(7));
        for _ in 0..3 {
            drop(readers.leave().expect("the other watches"));
        }
        assert!(second.try_recv().is_err(), "the other still stands by");
        let away = readers.leave().expect("the other watches");
        second.recv().expect("it reads, since this one does not come back");
        readers.end();
        drop(away);
        assert_eq!(readers.reading.load(Relaxed), 2);
    }

    #[test]
    fn a_watch_without_absences_ends_and_begins_again() {
        let readers = settled(2, false);
        let second = resting(&readers);
        (0..=ALONE_AFTER).for_each(|_| readers.request(7));
        drop(readers.leave());
        while readers.watched.load(SeqCst) {
            std::thread::yield_now();
        }
        let _away = readers.leave().expect("the other watches again");
        second.recv().expect("it reads, since this one does not come back");
        readers.end();
    }

    #[test]
    fn a_single_thread_never_leaves_and_never_stands_by() {
        let readers = settled(1, false);
        readers.rest();
        assert!(readers.leave().is_none());
    }

    #[test]
    fn all_read_until_each_was_seen() {
        let readers = Readers::new(2, || false);
        readers.rest();
        drop(readers.leave().expect("the other reads"));
        assert_eq!(readers.reading.load(Relaxed), 2);
    }

    #[test]
    fn the_end_of_the_session_is_noticed() {
        let readers = settled(2, true);
        resting(&readers).recv().expect("it ends with the session");
    }
}
