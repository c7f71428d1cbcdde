//! The daemon's main loop, and the way out of it.
//!
//! Called by [`super::run`]. Law: no running transaction is ever aborted. SQLite opens and unlinks its journal by name, so the
//! mount stays in the tree until none runs.
//!
//! ```text
//!  serving --SIGTERM, umount--> no file open? --yes--> unmount, end
//!     |                              | no
//!     +--umount --lazy---------> draining: no new transaction, no new database; wait for the running ones
//!                                    |  (after --drain they are named)
//!                                    +--SIGTERM, umount--> detach, end
//!                                    |
//!                                    +--umount --lazy--> detached: what is open is served
//!                                                          +--the last file is closed--> end
//!                                                          +--SIGTERM--> wait for the running ones, end
//! ```
//! The phase and the wish are in the shared memory: a worker that dies on the way is followed by one that goes on from there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

use super::kept::Kept;
use super::worker::{Live, Phase, Unmount};
use crate::keeper::process;
use crate::model::{ProcessName, printable};
use crate::process::mounts;

/// How often the running transactions are looked at while the daemon waits for them.
const LOOK: Duration = Duration::from_millis(20);

/// One wait for the end of the session; the next follows at once.
const WAIT: Duration = Duration::from_secs(60);

/// How often they are named in the log.
const NAME: Duration = Duration::from_secs(10);

/// Most users that one log line names.
const USERS_NAMED_MAX: usize = 20;

/// The keeper's wish to unmount, which SIGTERM and SIGINT bring about.
pub(super) struct Wishes {
    rung: UnboundedReceiver<()>,
}

impl Wishes {
    /// Listens to the keeper's bell.
    pub(super) fn listen(kept: &Arc<Kept>) -> io::Result<Self> {
        let (heard, rung) = unbounded_channel();
        let kept = Arc::clone(kept);
        std::thread::Builder::new().name("wishes".into()).spawn(move || {
            loop {
                process::wait_readable(kept.to_worker.fd());
                if kept.to_worker.take() && heard.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { rung })
    }

    async fn next(&mut self) {
        if self.rung.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// What can happen to a daemon that serves.
struct Way {
    live: Arc<Live>,
    requests: UnboundedReceiver<Unmount>,
    wishes: Wishes,
    ended: JoinHandle<()>,
    sweeping: Option<JoinHandle<()>>,
}

/// The kernel has ended the session: unmounted, and nothing is open any more.
struct Gone;

/// Returns when the mount is gone and no transaction runs any more.
pub(super) async fn serve_until_unmounted(live: Arc<Live>, requests: UnboundedReceiver<Unmount>, wishes: Wishes) {
    let waiting = Arc::clone(&live);
    let ended = tokio::task::spawn_blocking(move || while !waiting.fuse.wait(WAIT) {});
    let mountpoint = live.options().mountpoint.clone();
    if let Err(Gone) = (Way { live, requests, wishes, ended, sweeping: None }).go().await {
        tracing::info!(mountpoint = printable(mountpoint), "the mount is gone");
    }
}

impl Way {
    async fn go(&mut self) -> Result<(), Gone> {
        let mut unmount = match Unmount::kept(&self.live.kept.memory) {
            // A worker before this one was told.
            Some(unmount) => unmount,
            None => self.asked().await?,
        };
        if unmount == Unmount::Drain && self.live.phase() == Phase::Serving && unmount_if_idle(&self.live).await {
            return Ok(());
        }
        if self.live.phase() != Phase::Detached {
            self.live.begin_to_leave();
            log_users(&self.live).await;
            self.wait_for_transactions(&mut unmount).await?;
            detach(&self.live);
        }
        if unmount == Unmount::Lazy {
            self.live.coordinator.admit_connected();
            while self.asked().await? == Unmount::Lazy {}
        }
        self.live.coordinator.stop_admitting();
        self.wait_for_transactions(&mut unmount).await
    }

    /// Serves until somebody asks for an end.
    async fn asked(&mut self) -> Result<Unmount, Gone> {
        let mut sweep = sweeps();
        loop {
            tokio::select! {
                _ = &mut self.ended => return Err(Gone),
                () = self.wishes.next() => return Ok(Unmount::Drain),
                Some(unmount) = self.requests.recv() => return Ok(unmount),
                _ = sweep.tick() => start_sweep(&mut self.sweeping, &self.live),
            }
        }
    }

    /// Waits until no transaction runs; those that run after `--drain` are named.
    async fn wait_for_transactions(&mut self, unmount: &mut Unmount) -> Result<(), Gone> {
        let live = &self.live;
        let mut sweep = sweeps();
        let mut look = interval(LOOK);
        let mut name = interval_at(Instant::now() + live.options().drain, NAME);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    if live.coordinator.running_transactions().is_empty() {
                        return Ok(());
                    }
                }
                _ = name.tick() => {
                    live.overdue.store(true, Relaxed);
                    log_running(live);
                }
                () = self.wishes.next() => {
                    *unmount = Unmount::Drain;
                    log_running(live);
                }
                Some(also) = self.requests.recv() => {
                    if also == Unmount::Drain {
                        *unmount = Unmount::Drain;
                    }
                }
                _ = sweep.tick() => start_sweep(&mut self.sweeping, live),
                _ = &mut self.ended => return Err(Gone),
            }
        }
    }
}

fn sweeps() -> Interval {
    let mut sweeps = interval(Duration::from_secs(1));
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweeps
}

/// Sweeps, unless the last one still does: one that sleeps on the disk keeps neither the loop nor a thread per second.
fn start_sweep(sweeping: &mut Option<JoinHandle<()>>, live: &Arc<Live>) {
    if sweeping.as_ref().is_none_or(JoinHandle::is_finished) {
        let live = Arc::clone(live);
        *sweeping = Some(tokio::task::spawn_blocking(move || live.sweep()));
    }
}

impl Live {
    /// From now on no transaction begins, and no database is opened that no running transaction uses.
    fn begin_to_leave(&self) {
        self.coordinator.stop_admitting();
        self.fuse.leave();
        self.enter(Phase::Draining);
        self.schedules.stop();
    }
}

/// Unmounts; false where somebody uses the mount.
async fn unmount_if_idle(live: &Arc<Live>) -> bool {
    let unmounting = Arc::clone(live);
    let outcome = tokio::task::spawn_blocking(move || {
        let is_idle = unmounting.users().is_empty() && unmounting.is_on_top();
        if is_idle { unmounting.fuse.unmount(false).map(|()| true) } else { Ok(false) }
    });
    match outcome.await {
        Ok(Ok(unmounted)) => unmounted,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the kernel does not unmount yet");
            false
        }
        Err(_) => false,
    }
}

/// Takes the mount out of the tree, once: later another mount may have the same place.
fn detach(live: &Live) {
    if live.phase() == Phase::Detached {
        return;
    }
    let mountpoint = &live.options().mountpoint;
    match live.is_on_top().then(|| live.fuse.unmount(true)) {
        Some(Ok(())) => tracing::info!(mountpoint = printable(mountpoint), "detached the mount"),
        Some(Err(error)) => tracing::warn!(%error, mountpoint = printable(mountpoint), "cannot detach the mount"),
        None => tracing::warn!(
            mountpoint = printable(mountpoint),
            "another mount lies on this one: only that can be detached"
        ),
    }
    live.enter(Phase::Detached);
}

impl Live {
    /// Whether an unmount of the mount point means this mount, and not another that lies on it.
    fn is_on_top(&self) -> bool {
        let mount = mounts::mounted_at(&self.options().mountpoint).ok().flatten();
        mount.is_some_and(|mount| mount.device == self.fuse.device())
    }
}

async fn log_users(live: &Arc<Live>) {
    let looking = Arc::clone(live);
    let Ok(users) = tokio::task::spawn_blocking(move || looking.users()).await else { return };
    for user in users.iter().take(USERS_NAMED_MAX) {
        tracing::warn!(
            pid = user.process.pid,
            command = printable(&user.process.command),
            path = printable(&user.path),
            "still uses the mount"
        );
    }
    if users.len() > USERS_NAMED_MAX {
        tracing::warn!("{} more files are open", users.len() - USERS_NAMED_MAX);
    }
}

fn log_running(live: &Live) {
    let name = |process: &ProcessName| format!("pid {} ({})", process.pid, printable(&process.command));
    let running: Vec<String> = live.running().iter().map(name).collect();
    tracing::warn!(running = running.join(", "), "waits for running transactions");
}
