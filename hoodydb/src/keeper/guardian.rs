//! The guardian: stands by while the keeper becomes another program, and takes the mount back if that program dies.
//!
//! A program that cannot be executed, that ends at once, that is not hoodydb at all: the keeper's process is gone with it, and
//! the worker was ended before. The guardian has a copy of every descriptor, and goes back to the program that was there. One that
//! hangs is ended when it has had its time.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::process;
use crate::handover::{Memory, Word};

/// How often the guardian looks whether a worker serves.
const LOOK_NS: i64 = 20_000_000;

/// So long the new program has until a worker of its own serves: longer than it takes a keeper to give its workers up.
const LIMIT: Duration = super::START_LIMIT.saturating_mul(super::TRIAL_STARTS).saturating_add(Duration::from_secs(10));

/// Starts the guardian, which goes on alone. `previous` is the program to go back to.
///
/// # Errors
/// EAGAIN, ENOMEM of fork(2); EMFILE.
pub fn stand_by(memory: &Memory, previous: BorrowedFd<'_>) -> io::Result<()> {
    let keeper = std::process::id();
    let watched = process::watch(keeper)?;
    let serving = memory.word(Word::Serving).load(SeqCst);
    // Forked twice: nobody has to wait for its end.
    process::fork_away(|| guard(memory, keeper, &watched, serving, previous))
}

fn guard(memory: &Memory, keeper: u32, watched: &OwnedFd, serving: u64, previous: BorrowedFd<'_>) {
    let begun = Instant::now();
    let mut reason = "the new program died at once: went back to the one before";
    loop {
        let mut polled = [PollFd::new(watched, PollFlags::IN)];
        let limit = Timespec { tv_sec: 0, tv_nsec: LOOK_NS };
        let died = rustix::event::poll(&mut polled, Some(&limit)).is_ok_and(|ready| ready > 0);
        if memory.word(Word::Serving).load(SeqCst) != serving {
            // A worker of the new program has changed the tables: it alone can go on with them.
            return;
        }
        if !died && begun.elapsed() > LIMIT {
            reason = "the new program did not come up in time: went back to the one before";
            // ESRCH: it has just died by itself.
            let _ = rustix::process::pidfd_send_signal(watched, Signal::KILL);
        }
        if died {
            if !take_place(memory, keeper) {
                return;
            }
            memory.set_reason(reason);
            let memory = memory.number().to_string();
            let error = process::become_program(previous, &["hoodydb", "resume", "--memory", &memory]);
            tracing::error!(%error, "cannot go back to the program before: the mount is lost");
            return;
        }
    }
}

/// Takes the place of a keeper that is gone; false if another process was faster.
pub fn take_place(memory: &Memory, keeper: u32) -> bool {
    let (old, new) = (u64::from(keeper), u64::from(std::process::id()));
    memory.word(Word::KeeperPid).compare_exchange(old, new, SeqCst, SeqCst).is_ok()
}
