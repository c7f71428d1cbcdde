//! The worker: all that a mount does, built anew whenever the one before it died.
//!
//! Called by [`super::keep`] in a process of its own, which shares the keeper's descriptors.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::kept::Kept;
use super::names::Names;
use super::trace::Tracing;
use super::{DaemonError, Options, binds, policies, schedules, shutdown};
use crate::control::server::Server;
use crate::coordinator::{Coordinator, Left, Limits, Record, RecordFull};
use crate::fuse::{self, FuseMount, LockReply};
use crate::handover::{Log, Memory, Word};
use crate::history::Historian;
use crate::keeper::{self, exit_code, guardian, process, wish};
use crate::metrics;
use crate::model::printable;

/// How often the worker shows that it lives.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Requests that may sleep on the disk at the same time; further ones queue.
const DISK_THREADS: usize = 512;

/// How long what was left is kept for requests that are sent again.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How far the daemon is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Serving,
    Draining,
    Detached,
}

impl Phase {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Detached => "detached",
        }
    }
}

/// A request to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmount {
    /// As SIGTERM.
    Drain,
    /// Detach when no transaction runs, end with the last open file.
    Lazy,
}

impl Unmount {
    /// Keeps the wish for the workers to come. One to end stands above a lazy one.
    pub(super) fn keep(self, memory: &Memory) {
        let kept = memory.word(Word::Wish);
        match self {
            Self::Drain => kept.store(wish::DRAIN, SeqCst),
            Self::Lazy => _ = kept.compare_exchange(0, wish::LAZY, SeqCst, SeqCst),
        }
    }

    /// What a worker before this one was asked for.
    pub(super) fn kept(memory: &Memory) -> Option<Self> {
        match memory.word(Word::Wish).load(SeqCst) {
            wish::DRAIN => Some(Self::Drain),
            wish::LAZY => Some(Self::Lazy),
            _ => None,
        }
    }
}

/// The live daemon: what the control socket, the sweep and the shutdown share.
pub(super) struct Live {
    pub(super) kept: Arc<Kept>,
    pub(super) coordinator: Arc<Coordinator<LockReply>>,
    pub(super) fuse: FuseMount,
    pub(super) policies: Arc<policies::Policies>,
    pub(super) binds: binds::SingleFileBinds,
    pub(super) schedules: schedules::Schedules,
    pub(super) names: Arc<Names>,
    pub(super) historian: OnceLock<Historian>,
    pub(super) tracing: Tracing,
    pub(super) unmount: mpsc::UnboundedSender<Unmount>,
    /// Whether transactions run for longer than an unmount waits quietly.
    pub(super) overdue: AtomicBool,
}

impl Live {
    pub(super) fn options(&self) -> &Options {
        &self.kept.options
    }

    pub(super) fn phase(&self) -> Phase {
        match self.kept.memory.word(Word::Phase).load(Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Detached,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.kept.memory.word(Word::Phase).store(phase as u64, Relaxed);
    }

    /// What is done every second.
    pub(super) fn sweep(&self) {
        self.fuse.sweep();
        self.policies.follow_names(&self.fuse, &self.coordinator);
        self.binds.look_at(&self.coordinator.processes(), &self.fuse, &self.kept.backing);
        if self.phase() == Phase::Serving {
            self.schedules.tick(self.options());
        }
    }
}

/// The coordinator's record in the shared memory.
struct LockLog(Log);

impl Record for LockLog {
    fn append(&mut self, entry: &[u8]) -> Result<(), RecordFull> {
        self.0.append(entry).map_err(|_| RecordFull)
    }

    fn is_due(&self) -> bool {
        self.0.is_due()
    }

    fn checkpoint(&mut self, state: &[u8]) -> Result<(), RecordFull> {
        self.0.checkpoint(state).map_err(|_| RecordFull)
    }
}

/// The worker's life; the result is its exit code.
pub(super) fn work(kept: &Arc<Kept>) -> u8 {
    // A broken invariant ends the worker at once, in every build: the next one starts from the tables.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        tracing::error!(%panic, "the worker ends");
        std::process::abort();
    }));
    process::ask_to_be_spared(process::WORKER_SCORE);
    match serve(kept) {
        Ok(()) => exit_code::UNMOUNTED,
        Err(error) => {
            tracing::error!(%error, "the worker cannot start");
            kept.memory.set_reason(&error.to_string());
            exit_code::FAILED
        }
    }
}

fn serve(kept: &Arc<Kept>) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let _guard = runtime.enter();
    #[cfg(feature = "fault-points")]
    {
        let memory = kept.memory.share();
        crate::fault::ask(move || crate::fault::count_down(memory.word(Word::CrashAt)));
    }
    // A broken disk may keep every thread of this one: what the disk does not concern goes on without them.
    let disk = tokio::runtime::Builder::new_current_thread()
        .thread_name("disk")
        .max_blocking_threads(DISK_THREADS)
        .build()
        .map_err(DaemonError::Runtime)?;
    let (live, requests) = build(kept, disk.handle())?;
    let live = Arc::new(live);
    watch_keeper(&live)?;
    beat(&live)?;
    let traced = Arc::clone(&live);
    let trace = move || traced.tracing.keep_up(&traced.kept);
    std::thread::Builder::new().name("tracer".into()).spawn(trace).map_err(DaemonError::Runtime)?;
    let server = Server::new(&kept.listening)?;
    let wishes = shutdown::Wishes::listen(kept).map_err(DaemonError::Runtime)?;
    let serving = runtime.spawn(server.serve(Arc::clone(&live)));
    let telling = kept.metrics.as_ref().and_then(|socket| match metrics::Server::new(socket) {
        Ok(server) => Some(runtime.spawn(server.serve(Arc::clone(&live)))),
        Err(error) => {
            tracing::error!(%error, "there are no metrics; the mount is not concerned");
            None
        }
    });
    let memory = &kept.memory;
    // From here on the tables change.
    memory.word(Word::Serving).store(memory.word(Word::Generation).load(SeqCst), SeqCst);
    live.fuse.run().map_err(DaemonError::Runtime)?;
    report_ready(kept);
    live.policies.follow_names(&live.fuse, &live.coordinator);
    if let Err(error) = live.keep_minutes() {
        tracing::error!(%error, "there is no history; the mount is not concerned");
    }
    runtime.block_on(shutdown::serve_until_unmounted(Arc::clone(&live), requests, wishes));
    serving.abort();
    telling.inspect(JoinHandle::abort);
    live.coordinator.refuse_waiters();
    if let Some(historian) = live.historian.get() {
        historian.stop();
    }
    // Nothing that still sleeps on the disk is worth waiting for: no client can hear its answer any more.
    disk.shutdown_background();
    runtime.shutdown_background();
    Ok(())
}

fn build(
    kept: &Arc<Kept>,
    pool: &tokio::runtime::Handle,
) -> Result<(Live, mpsc::UnboundedReceiver<Unmount>), DaemonError> {
    let options = &kept.options;
    let policies = Arc::new(policies::Policies::load(&kept.backing, options.policy)?);
    let log = Log::open(&kept.memory);
    let left = Left { state: log.state(), entries: log.entries() };
    let limits = Limits { max_wait: options.max_wait, policy: options.policy };
    let coordinator = Coordinator::start(limits, Box::new(LockLog(log)), &left).map_err(DaemonError::Runtime)?;
    let asked = Arc::clone(&kept.stale);
    let (named, told) = (Arc::clone(&policies), Arc::clone(&coordinator));
    let tracing = Tracing::adopt(kept);
    let files = tracing.files();
    let resources = fuse::Resources {
        device: &kept.device,
        mount_device: kept.mount_device(),
        root: kept.backing.clone_dir()?,
        memory: kept.memory.share(),
        coordinator: Arc::clone(&coordinator),
        pool: pool.clone(),
        refuses: (!asked.is_empty()).then(|| -> fuse::RefuseOpen { Box::new(move |file| asked.refuses(file)) }),
        named: Box::new(move |file, path| named.named(file, path, &told)),
        opened: files.map(|files| -> fuse::OpenedHook { Box::new(move |ino, path| files.opened(ino, path)) }),
    };
    let fuse = FuseMount::start(options.mount_options(), resources)?;
    let (unmount, requests) = mpsc::unbounded_channel();
    let binds = binds::SingleFileBinds::default();
    let schedules = schedules::Schedules::load(&kept.backing)?;
    let overdue = AtomicBool::new(false);
    let names = Names::start().map_err(DaemonError::Runtime)?;
    coordinator.tell_of_processes(Names::seen(&names));
    let live = Live {
        kept: Arc::clone(kept),
        coordinator,
        fuse,
        policies,
        binds,
        schedules,
        names,
        historian: OnceLock::new(),
        tracing,
        unmount,
        overdue,
    };
    if live.phase() != Phase::Serving {
        live.fuse.leave();
    }
    Ok((live, requests))
}

/// Tells the keeper that requests are answered.
fn report_ready(kept: &Kept) {
    let memory = &kept.memory;
    let ended = memory.word(Word::EndedAt).load(Relaxed);
    let stall = if ended == 0 { 0 } else { keeper::now_ns().saturating_sub(ended) };
    memory.word(Word::StallNs).store(stall, Relaxed);
    memory.word(Word::Ready).store(memory.word(Word::Generation).load(SeqCst), SeqCst);
    kept.to_keeper.ring();
    let passthrough = memory.word(Word::Passthrough).load(Relaxed) == 1;
    let (mountpoint, backing) = (printable(&kept.options.mountpoint), printable(&kept.options.data));
    if ended == 0 {
        tracing::info!(mountpoint, backing, passthrough, "the mount is live");
    } else {
        tracing::info!(mountpoint, stall_us = stall / 1000, "this worker serves the mount now");
    }
}

/// Shows the keeper that this process lives: every mutex of the hot paths is taken once per beat.
fn beat(live: &Arc<Live>) -> Result<(), DaemonError> {
    let live = Arc::clone(live);
    let beating = move || {
        // Long after the last request that the kernel sends again.
        let mut beats_until_forgotten = FORGET_AFTER.as_millis() / HEARTBEAT.as_millis();
        loop {
            live.coordinator.touch();
            live.fuse.touch();
            live.kept.memory.word(Word::Heartbeat).fetch_add(1, Relaxed);
            if beats_until_forgotten == 1 {
                live.coordinator.forget_left();
                live.fuse.forget_left();
            }
            beats_until_forgotten = beats_until_forgotten.saturating_sub(1);
            std::thread::sleep(HEARTBEAT);
        }
    };
    std::thread::Builder::new().name("heartbeat".into()).spawn(beating).map_err(DaemonError::Runtime)?;
    Ok(())
}

/// Takes the keeper's place when the keeper dies.
fn watch_keeper(live: &Arc<Live>) -> Result<(), DaemonError> {
    let live = Arc::clone(live);
    let keeper_pid = live.kept.memory.word(Word::KeeperPid).load(Relaxed);
    let watching = move || {
        let keeper = u32::try_from(keeper_pid).ok().and_then(|pid| process::watch(pid).ok());
        // No such process, or its number is another's by now: it is gone.
        if let Some(keeper) = keeper
            && rustix::process::getppid().is_some_and(|parent| live.is_keeper(parent))
        {
            process::wait_readable(&keeper);
        }
        tracing::warn!("the keeper is gone: this process takes its place");
        let keeper = u32::try_from(keeper_pid).unwrap_or(0);
        // Nothing may change the tables any more: a descriptor that is opened from here on would be closed by the exec.
        live.coordinator.freeze();
        live.fuse.freeze();
        live.schedules.freeze();
        let memory = &live.kept.memory;
        if !guardian::take_place(memory, keeper) {
            std::process::abort();
        }
        memory.word(Word::EndedAt).store(keeper::now_ns(), Relaxed);
        memory.word(Word::Restarts).fetch_add(1, Relaxed);
        memory.set_reason("the keeper died");
        let error = process::become_successor(live.kept.memory.number());
        // Without a keeper the mount lives as long as this worker; to go on frozen would hang everybody.
        tracing::error!(%error, "cannot take the keeper's place");
        std::process::abort();
    };
    std::thread::Builder::new().name("keeper-watch".into()).spawn(watching).map_err(DaemonError::Runtime)?;
    Ok(())
}

impl Live {
    fn is_keeper(&self, pid: rustix::process::Pid) -> bool {
        u64::try_from(pid.as_raw_nonzero().get())
            .is_ok_and(|pid| pid == self.kept.memory.word(Word::KeeperPid).load(Relaxed))
    }
}
