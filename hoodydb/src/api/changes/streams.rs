//! How many streams of changes there are, and whether they are to end.
//!
//! Held by [`super::super::Api`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// All streams of the server.
#[derive(Debug)]
pub(in crate::api) struct Streams {
    most: usize,
    count: AtomicUsize,
    is_closing: AtomicBool,
}

/// A stream's place among them; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Streams>);

impl Streams {
    /// None yet, and never more than `most`.
    pub(in crate::api) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, count: AtomicUsize::new(0), is_closing: AtomicBool::new(false) })
    }

    /// How many there are.
    pub(in crate::api) fn count(&self) -> u64 {
        self.count.load(SeqCst) as u64
    }

    /// Ends them all; whoever waits has to be woken to see it.
    pub(in crate::api) fn close(&self) {
        self.is_closing.store(true, SeqCst);
    }

    /// Whether they are to end.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(SeqCst)
    }

    /// A place for one more; none if there are too many, or they are to end.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Seat> {
        let more = |count: usize| (count < self.most).then_some(count + 1);
        let entered = !self.is_closing() && self.count.fetch_update(SeqCst, SeqCst, more).is_ok();
        entered.then(|| Seat(Arc::clone(self)))
    }
}

impl Seat {
    /// All streams.
    pub(super) fn streams(&self) -> &Streams {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, SeqCst);
    }
}
