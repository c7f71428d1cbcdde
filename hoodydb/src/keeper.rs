//! The keeper: the process that stays. It holds the mount's descriptors and the shared memory, starts the worker that does all
//! the work, and starts the next one when a worker dies, hangs or is to be replaced.
//!
//! Called by [`crate::daemon`]. It has one thread, allocates next to nothing, and after the start touches neither the disk nor
//! the mount: what does so little has few ways to die.
//!
//! ```text
//!   keeper --clone(CLONE_FILES)--> worker: every descriptor it opens stays open when it dies
//!     |  <--- doorbell: "ready", "upgrade" ---- |
//!     |  ---- doorbell: "unmount" ------------> |
//!     +-- pidfd: dead?   heartbeat: hung? -> SIGKILL, next worker
//! ```

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::handover::{Memory, Word};

pub mod doorbell;
pub mod guardian;
pub mod notify;
pub mod process;
pub mod signals;

use doorbell::Doorbell;
use process::{Child, Death};
use signals::Signals;

/// How often the worker's heartbeat is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// So many looks without a heartbeat, and the worker hangs. Looks are counted, not time: a machine that stood still (a paused
/// virtual machine) is no hang.
const LOOKS_UNTIL_HUNG: u32 = 12;

/// So long a worker has until it serves; the next one is started then.
const START_LIMIT: Duration = Duration::from_secs(20);

/// So many workers are tried before a program is given up that never served.
const TRIAL_STARTS: u32 = 3;

/// So many deaths within [`CRASH_WINDOW`] are told loudly; after a worker of [`SHORT_LIFE`] the next one then waits
/// [`CRASH_PAUSE`].
const CRASHES_TOLERATED: usize = 10;
const CRASH_WINDOW: Duration = Duration::from_secs(60);
const CRASH_PAUSE: Duration = Duration::from_secs(1);
const SHORT_LIFE: Duration = Duration::from_millis(50);

/// What the worker's exit code says to the keeper; any other death has the next worker started.
pub mod exit_code {
    /// The mount is gone: the keeper ends too.
    pub const UNMOUNTED: u8 = 0;
    /// The worker could not start; [`crate::handover::Memory::reason`] has the line.
    pub const FAILED: u8 = 3;
}

/// What the keeper wants of the worker ([`Word::Wish`]); kept until the end, so that a successor goes on with it.
pub mod wish {
    /// As SIGTERM: unmount when the running transactions are over.
    pub const DRAIN: u64 = 1;
    /// `umount --lazy`: detach when the running transactions are over, end with the last open file. The worker stores it.
    pub const LAZY: u64 = 2;
}

/// What the worker asks of the keeper ([`Word::Request`]).
pub mod request {
    /// Replace the program: [`crate::handover::Word::Binary`] has its descriptor.
    pub const UPGRADE: u64 = 1;
}

/// What the keeper works with.
#[derive(Debug)]
pub struct Tools<'a> {
    /// The shared memory.
    pub memory: &'a Memory,
    /// Rung by the worker.
    pub to_keeper: &'a Doorbell,
    /// Rung by the keeper.
    pub to_worker: &'a Doorbell,
    /// SIGTERM, SIGINT and SIGHUP.
    pub signals: &'a Signals,
}

/// Why the keeper returns.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mount is gone.
    Unmounted,
    /// No worker could start (a trial only), for the reason in the shared memory.
    Failed,
    /// The program is to be replaced; no worker runs.
    Upgrade,
}

/// Why a worker is no more.
enum End {
    Died(Death),
    Hung,
    Late,
    Upgrade,
}

/// Keeps a worker running until the mount is gone. `work` is what the worker does; `sweep` clears up behind
/// the one before it; `on_live` is called when one serves. `is_trial`: this program has not served yet, and is given up if its workers
/// cannot start.
pub fn keep(
    tools: &Tools,
    work: &(dyn Fn() -> u8 + Sync),
    mut sweep: impl FnMut(),
    mut on_live: impl FnMut(),
    mut is_trial: bool,
) -> Outcome {
    let memory = tools.memory;
    let mut crashes = Crashes::default();
    let mut failed_starts = 0;
    loop {
        sweep();
        let generation = memory.word(Word::Generation).fetch_add(1, SeqCst) + 1;
        let child = match process::start_worker(work) {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "cannot start a worker: trying again");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let started = Instant::now();
        memory.word(Word::WorkerPid).store(child.pid().into(), Relaxed);
        let end = watch(tools, &child, generation, || {
            is_trial = false;
            on_live();
        });
        let reason = match &end {
            End::Died(Death::Exited(exit_code::UNMOUNTED)) => return Outcome::Unmounted,
            End::Upgrade => {
                child.kill();
                return Outcome::Upgrade;
            }
            End::Died(death) => death.to_string(),
            End::Hung => {
                child.kill();
                "it hung (no heartbeat)".to_owned()
            }
            End::Late => {
                child.kill();
                "it did not come up in time".to_owned()
            }
        };
        if is_trial {
            failed_starts += 1;
            // A worker that says why it cannot start would say the same again.
            let said = matches!(end, End::Died(Death::Exited(exit_code::FAILED)));
            if said || failed_starts == TRIAL_STARTS {
                if !said {
                    memory.set_reason(&reason);
                }
                return Outcome::Failed;
            }
        }
        memory.word(Word::EndedAt).store(now_ns(), Relaxed);
        memory.word(Word::Restarts).fetch_add(1, Relaxed);
        memory.set_reason(&reason);
        tracing::warn!(worker = child.pid(), reason, "the worker is gone: the next one takes over");
        if crashes.count(started.elapsed()) {
            std::thread::sleep(CRASH_PAUSE);
        }
    }
}

/// Returns when this worker is not to go on.
fn watch(tools: &Tools, child: &Child, generation: u64, mut on_ready: impl FnMut()) -> End {
    let memory = tools.memory;
    let started = Instant::now();
    let mut beats = memory.word(Word::Heartbeat).load(Relaxed);
    let mut silent_looks = 0;
    let mut ready = false;
    let mut next_alive = Instant::now();
    loop {
        let [died, signalled, rung] = wait_for([child.pidfd(), tools.signals.fd(), tools.to_keeper.fd()]);
        if signalled && tools.signals.take() {
            memory.word(Word::Wish).store(wish::DRAIN, SeqCst);
            notify::stopping();
            tools.to_worker.ring();
        }
        if rung {
            tools.to_keeper.take();
        }
        if !ready && memory.word(Word::Ready).load(SeqCst) == generation {
            ready = true;
            on_ready();
        }
        if memory.word(Word::Request).swap(0, SeqCst) == request::UPGRADE {
            return End::Upgrade;
        }
        if died {
            return End::Died(child.wait());
        }
        if ready && Instant::now() >= next_alive {
            notify::alive();
            next_alive = Instant::now() + notify::alive_interval();
        }
        let latest = memory.word(Word::Heartbeat).load(Relaxed);
        if latest != beats || !ready {
            (beats, silent_looks) = (latest, 0);
        } else if !(signalled || rung) {
            silent_looks += 1;
        }
        if silent_looks >= LOOKS_UNTIL_HUNG {
            return End::Hung;
        }
        if !ready && started.elapsed() > START_LIMIT {
            return End::Late;
        }
    }
}

/// Waits for any of the descriptors to be readable, [`LOOK`] at most.
fn wait_for<const N: usize>(fds: [&OwnedFd; N]) -> [bool; N] {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    if let Err(error) = rustix::event::poll(&mut polled, Some(&limit))
        && error != rustix::io::Errno::INTR
    {
        // Not a reason to die: the looks go on at their pace.
        tracing::error!(%error, "poll");
        std::thread::sleep(LOOK);
    }
    polled.map(|fd| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
}

/// Nanoseconds of CLOCK_MONOTONIC, the same in every process.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The deaths of the last minute.
#[derive(Debug, Default)]
struct Crashes {
    times: VecDeque<Instant>,
    last_told: Option<Instant>,
}

impl Crashes {
    /// Counts a worker that died after `life`, and says loudly if they are many. True: the next one is to wait, since this one
    /// died before it did anything; workers that serve between their deaths are replaced at once, however often.
    fn count(&mut self, life: Duration) -> bool {
        let now = Instant::now();
        self.times.push_back(now);
        while self.times.front().is_some_and(|first| now.duration_since(*first) > CRASH_WINDOW) {
            self.times.pop_front();
        }
        let many = self.times.len() >= CRASHES_TOLERATED;
        if many && self.last_told.is_none_or(|told| now.duration_since(told) > CRASH_WINDOW) {
            self.last_told = Some(now);
            tracing::error!(
                deaths = self.times.len(),
                "workers die again and again: {CRASHES_TOLERATED} within a minute. Each is replaced; the log tells why they die"
            );
        }
        many && life < SHORT_LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_short_lives_are_waited_for() {
        let mut crashes = Crashes::default();
        for _ in 1..CRASHES_TOLERATED {
            assert!(!crashes.count(Duration::ZERO), "few deaths are no loop");
        }
        assert!(crashes.count(Duration::ZERO), "the tenth within a minute is");
        assert!(!crashes.count(SHORT_LIFE), "whoever has served is followed at once");
        assert!(crashes.count(Duration::ZERO));
    }
}
