//! The threads of the server: a few that wait for sockets, and a bounded number that may block on databases.
//!
//! Called by [`super::run`]. One database uses at most five threads at a time ([`crate::api`] bounds its lanes), so that even if
//! all of them hang in a lock, there are threads for the others.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::api::Threads;

/// Threads that may block at a time. They end when they had nothing to do for ten seconds.
const BLOCKING_MAX: usize = 1024;

/// A runtime of as many threads as processors, and those that block.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("hoodydb-http").max_blocking_threads(BLOCKING_MAX).enable_all().build()
}

/// The threads that may block.
pub(super) struct Pool(Handle);

impl Pool {
    /// Those of this runtime.
    pub(super) fn here() -> Self {
        Self(Handle::current())
    }
}

impl Threads for Pool {
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        drop(self.0.spawn_blocking(work));
    }
}
