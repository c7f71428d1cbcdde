//! Ends a wait for a lock at the moment that the user named: the mount itself would let it go on for `--max-wait`.
//!
//! Called by [`super::Care`]. The thread that waits is the first one, and the kernel gives it the signals of the process; whoever
//! waits for a lock on the mount is let go by SIGALRM, and SQLite takes that for "busy". Any other call goes on.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

/// After the first signal, for one that came before the wait began.
const AGAIN: Duration = Duration::from_millis(50);

/// A thread that sends the signal.
pub(super) struct Alarm(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    at: Option<Instant>,
    is_over: bool,
}

impl Alarm {
    /// Set to no moment. Where it cannot be made, waits are as long as the mount lets them be.
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        if is_caught() {
            let _ = std::thread::Builder::new().name("alarm".to_owned()).spawn(move || of_thread.run());
        }
        Self(shared)
    }

    /// Sets it to another moment, or to none.
    pub(super) fn set(&self, at: Option<Instant>) {
        self.0.lock().at = at;
        self.0.changed.notify_one();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let left = state.at.map(|at| at.saturating_duration_since(Instant::now()));
            let pause = match left {
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Some(Duration::ZERO) => {
                    // Under the mutex: none is sent once the wait is over and the moment taken back.
                    let _ = kill_process(getpid(), Signal::ALARM);
                    AGAIN
                }
                Some(left) => left,
            };
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whether the signal does not end this process.
fn is_caught() -> bool {
    static CAUGHT: OnceLock<bool> = OnceLock::new();
    *CAUGHT.get_or_init(|| {
        signal_hook::flag::register(signal_hook::consts::SIGALRM, Arc::new(AtomicBool::new(false))).is_ok()
    })
}
