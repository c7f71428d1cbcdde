//! The daemon's main loop, and the way out of it.
//!
//! Called by [`super::run`]. Law: no running transaction is ever aborted.
//!
//! ```text
//!  serving --SIGTERM, umount--> no file open? --yes--> unmount, end
//!     |                              | no
//!     |                          draining: no new transaction; wait for the running ones, up to --drain
//!     |                              |
//!     +--umount --lazy--> detached (no new open) --the running transactions are over, or the last file is closed--> end
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::kept::Kept;
use super::worker::{Live, Phase, Unmount};
use crate::handover::Word;
use crate::keeper::{process, wish};
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

/// The keeper's wish to unmount, which SIGTERM and SIGINT bring about. It outlives the worker that heard it first.
pub(super) struct Wishes {
    rung: UnboundedReceiver<()>,
}

impl Wishes {
    /// Listens to the keeper's bell.
    pub(super) fn listen(kept: &Arc<Kept>) -> io::Result<Self> {
        let (heard, rung) = unbounded_channel();
        if kept.memory.word(Word::Wish).load(SeqCst) == wish::DRAIN {
            // A worker before this one was told.
            let _ = heard.send(());
        }
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

/// Returns when the mount is gone and no transaction runs any more.
pub(super) async fn serve_until_unmounted(
    live: Arc<Live>,
    mut requests: UnboundedReceiver<Unmount>,
    mut wishes: Wishes,
) {
    let waiting = Arc::clone(&live);
    let mut ended = tokio::task::spawn_blocking(move || while !waiting.fuse.wait(WAIT) {});
    let mut sweep = interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeping: Option<JoinHandle<()>> = None;
    loop {
        let wish = tokio::select! {
            _ = &mut ended => {
                tracing::info!(mountpoint = printable(&live.options().mountpoint), "the mount is gone");
                return;
            }
            () = wishes.next() => Unmount::Drain,
            Some(wish) = requests.recv() => wish,
            _ = sweep.tick() => {
                // One that sleeps on the disk keeps neither this loop nor a thread per second.
                if sweeping.as_ref().is_none_or(JoinHandle::is_finished) {
                    let live = Arc::clone(&live);
                    sweeping = Some(tokio::task::spawn_blocking(move || live.sweep()));
                }
                continue;
            }
        };
        match wish {
            Unmount::Lazy => detach(&live),
            Unmount::Drain => {
                return shut_down(&live, &mut wishes, &mut ended).await;
            }
        }
    }
}

async fn shut_down(live: &Arc<Live>, wishes: &mut Wishes, ended: &mut JoinHandle<()>) {
    if live.phase() == Phase::Serving && unmount_if_idle(live).await {
        return;
    }
    live.coordinator.stop_admitting();
    if live.phase() == Phase::Serving {
        live.enter(Phase::Draining);
    }
    log_users(live).await;
    let drained = wait_for_transactions(live, wishes, ended, Some(live.options().drain)).await;
    detach(live);
    if !drained {
        tracing::warn!("transactions still run: no new file can be opened, and these are served until they end");
        wait_for_transactions(live, wishes, ended, None).await;
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

/// Waits until no transaction runs (true), or the limit is over (false).
async fn wait_for_transactions(
    live: &Arc<Live>,
    wishes: &mut Wishes,
    ended: &mut JoinHandle<()>,
    limit: Option<Duration>,
) -> bool {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut look = interval(LOOK);
    let mut name = interval(NAME);
    name.tick().await;
    loop {
        tokio::select! {
            _ = look.tick() => {
                if live.coordinator.running_transactions().is_empty() {
                    return true;
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return false;
                }
            }
            _ = name.tick() => log_running(live),
            () = wishes.next() => log_running(live),
            _ = &mut *ended => return true,
        }
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
