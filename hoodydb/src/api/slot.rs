//! The answer that a request waits for: given once, by whoever comes first of the work, the deadline and the server's end.
//!
//! Called by [`super::Api`], which hands it out, and [`super::database`], which fills it. Work that has begun cannot be given up
//! from outside any more: it ends at its own deadline, or is done.

use std::sync::{Arc, Mutex, PoisonError};

use http::Response;

use super::{Body, Failure};

/// Receives the answer.
pub type Reply = Box<dyn FnOnce(Response<Body>) + Send>;

/// Where the answer goes.
#[derive(Clone)]
pub struct Slot(Arc<Mutex<State>>);

struct State {
    reply: Option<Reply>,
    begun: bool,
    dress: Box<dyn Fn(Failure) -> Failure + Send>,
}

impl Slot {
    /// A slot that is open.
    pub fn new(reply: Reply) -> Self {
        Self(Arc::new(Mutex::new(State { reply: Some(reply), begun: false, dress: Box::new(|failure| failure) })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this endpoint's failures have beside `error` and `code`.
    pub(super) fn dress(&self, dress: impl Fn(Failure) -> Failure + Send + 'static) {
        self.state().dress = Box::new(dress);
    }

    /// Begins the work; false if nobody waits for it any more.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state();
        state.begun |= state.reply.is_some();
        state.reply.is_some()
    }

    /// Nothing is done of the work any more: it begins anew.
    pub(super) fn begin_anew(&self) {
        self.state().begun = false;
    }

    /// Whether somebody still waits.
    pub(super) fn is_open(&self) -> bool {
        self.state().reply.is_some()
    }

    /// Gives the answer, unless one was given.
    pub(super) fn fill(&self, response: Response<Body>) {
        let reply = self.state().reply.take();
        if let Some(reply) = reply {
            reply(response);
        }
    }

    /// Gives a failure, dressed as this endpoint's failures are.
    pub(super) fn fail(&self, failure: Failure) {
        let dressed = (self.state().dress)(failure);
        self.fill(dressed.response());
    }

    /// Ends the wait of work that has not begun, with 503 DATABASE_BUSY; whatever has begun goes on.
    pub fn expire(&self) {
        if !self.state().begun {
            self.fail(Failure::busy());
        }
    }

    /// Forgets work that has not begun: its client has gone.
    pub fn abandon(&self) {
        let mut state = self.state();
        if !state.begun {
            state.reply = None;
        }
    }
}
