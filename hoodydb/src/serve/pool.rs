//! The threads of the server: a few that wait for sockets, and a bounded number that may block on databases.
//!
//! Called by [`super::run`]. One database uses at most five threads at a time ([`crate::api`] bounds its lanes), so that even if
//! all of them hang in a lock, there are threads for the others.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::Threads;

/// Threads that may block at a time. They end when they had nothing to do for ten seconds.
const BLOCKING_MAX: usize = 1024;

/// A runtime of as many threads as processors, and those that block.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("hoodydb-http").max_blocking_threads(BLOCKING_MAX).enable_all().build()
}

/// What interrupts a lock call: the mount ends the wait of a thread that has it to take, whether it is caught or not.
const INTERRUPT: SignalKind = SignalKind::alarm();

/// The threads that may block.
pub(super) struct Pool(Handle);

impl Pool {
    /// Those of this runtime.
    ///
    /// # Errors
    /// If the signal that interrupts them cannot be caught.
    pub(super) fn here() -> io::Result<Self> {
        // Once it is caught it stays caught: it does nothing but end the call that it comes into.
        let _caught = signal(INTERRUPT)?;
        Ok(Self(Handle::current()))
    }
}

impl Threads for Pool {
    fn run(&self, work: Box<dyn FnOnce() + Send>) {
        drop(self.0.spawn_blocking(work));
    }

    fn current(&self) -> u64 {
        u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs())
    }

    /// # Source
    /// `coordinator/signals.rs`: a parked lock call of a thread with a pending SIGALRM is answered with EAGAIN. Other calls go on, since the
    /// handler is installed with SA_RESTART.
    fn interrupt(&self, thread: u64) {
        let Ok(thread) = libc::pid_t::try_from(thread) else { return };
        let process = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: tgkill(2) touches no memory; a thread that has ended is no error here, and the signal is caught.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, INTERRUPT.as_raw_value()) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_interrupted_thread_lives_on() {
        let runtime = runtime().unwrap();
        let _inside = runtime.enter();
        let pool = Pool::here().unwrap();
        let (sender, receiver) = mpsc::channel();
        let (mut waits, ends) = UnixStream::pair().unwrap();
        pool.run(Box::new(move || {
            sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            sender.send(i32::from(waits.read(&mut [0]).is_ok())).unwrap();
        }));
        let thread = receiver.recv().unwrap();
        assert_ne!(u64::from(thread.unsigned_abs()), pool.current());
        pool.interrupt(u64::from(thread.unsigned_abs()));
        pool.interrupt(u64::MAX);
        drop(ends);
        assert_eq!(receiver.recv(), Ok(1));
    }
}
