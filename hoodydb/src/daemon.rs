//! The daemon of one mount: builds the rooms, and owns the order in which they start and stop.
//!
//! Called by [`crate::cli`]'s mount command. Start: checks, backing lock, dead mounts, lock state, mount, policies, socket, "live".
//! Stop: [`shutdown`]. It never opens a file on its own mount.

mod backing;
mod binds;
mod error;
mod notify;
mod policies;
mod preflight;
mod report;
mod shutdown;
mod stale;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use backing::{Record, holder_of};
pub use error::DaemonError;
pub use preflight::check_machine;

use crate::control::server::Server;
use crate::control::socket;
use crate::coordinator::{Coordinator, Limits};
pub use crate::fuse::Access;
use crate::fuse::{FuseMount, LockReply, MountOptions};
pub use crate::manager::Policy;
use crate::model::printable;
use crate::process::mounts;

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the databases appear.
    pub mountpoint: PathBuf,
    /// Where they are kept.
    pub data: PathBuf,
    /// Whose rights count.
    pub access: Access,
    /// Longest wait of a call that its client did not ask to wait.
    pub max_wait: Duration,
    /// Policy of databases that have none of their own.
    pub policy: Policy,
    /// Threads that read requests.
    pub threads: usize,
    /// Whether passthrough is used where the kernel has it.
    pub passthrough: bool,
    /// How long an unmount waits for running transactions before it detaches the mount.
    pub drain: Duration,
    /// Where the control socket is made.
    pub run_dir: PathBuf,
}

/// How far the daemon is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Serving,
    Draining,
    Detached,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Detached => "detached",
        }
    }
}

/// A request to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unmount {
    /// As SIGTERM.
    Drain,
    /// Detach now, end with the last open file.
    Lazy,
}

/// The live daemon: what the control socket, the sweep and the shutdown share.
struct Live {
    options: Options,
    started: Instant,
    coordinator: Arc<Coordinator<LockReply>>,
    fuse: FuseMount,
    backing: backing::Backing,
    policies: policies::Policies,
    stale: Arc<stale::StaleUsers>,
    binds: binds::SingleFileBinds,
    phase: AtomicU8,
    unmount: mpsc::UnboundedSender<Unmount>,
}

impl Live {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Detached,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// What is done every second.
    fn sweep(&self) {
        self.policies.follow_names(&self.fuse, &self.coordinator);
        self.binds.look_at(&self.coordinator.view(), &self.fuse, &self.backing);
    }
}

/// Serves until somebody unmounts; `on_live` is called once, when the first file can be opened.
///
/// # Errors
/// Everything that keeps the mount from becoming live. Afterwards only the loss of the runtime.
pub fn run(options: Options, on_live: impl FnOnce()) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let outcome = {
        let _guard = runtime.enter();
        build(options, runtime.handle()).map(|built| {
            on_live();
            serve(built, &runtime);
        })
    };
    // Nothing that still sleeps on the disk is worth waiting for: no client can hear its answer any more.
    runtime.shutdown_background();
    outcome
}

/// A live mount, and what its main loop listens to.
struct Built {
    live: Live,
    server: Server,
    signals: shutdown::Signals,
    requests: mpsc::UnboundedReceiver<Unmount>,
}

fn serve(Built { live, server, signals, requests }: Built, runtime: &tokio::runtime::Runtime) {
    let live = Arc::new(live);
    let serving = runtime.spawn(server.serve(Arc::clone(&live)));
    notify::ready();
    runtime.block_on(shutdown::serve_until_unmounted(Arc::clone(&live), requests, signals));
    // The socket's file goes first: from here on a new daemon may take over.
    serving.abort();
    let _ = runtime.block_on(serving);
    live.coordinator.refuse_waiters();
    tracing::info!("the daemon ends");
}

/// Everything up to the mount.
///
/// What can fail comes before the mount: once it is live, programs may rely on it.
fn build(mut options: Options, pool: &tokio::runtime::Handle) -> Result<Built, DaemonError> {
    preflight::check_machine()?;
    options.mountpoint = preflight::resolve_mountpoint(&options.mountpoint)?;
    options.data = preflight::resolve_data(&options.data, &options.mountpoint)?;
    preflight::make_run_dir(&options.run_dir)?;
    if mounts::mounted_at(&options.mountpoint).is_ok_and(|mount| mount.is_none()) {
        // Before anything is changed in the data directory.
        preflight::check_mountpoint(&options.mountpoint)?;
    }
    let mut backing = backing::Backing::take(&options.data)?;
    let devices = stale::clear_dead_mounts(&options.mountpoint, &backing)?;
    preflight::check_mountpoint(&options.mountpoint)?;
    let stale = Arc::new(stale::StaleUsers::find(devices, &options.data));
    backing.record(&options.mountpoint, None, stale.devices())?;
    let policies = policies::Policies::load(&backing, options.policy)?;
    let coordinator = Coordinator::start(Limits { max_wait: options.max_wait, policy: options.policy })
        .map_err(DaemonError::Runtime)?;
    let mount = MountOptions {
        mountpoint: options.mountpoint.clone(),
        data: backing.clone_dir()?,
        source: options.data.to_string_lossy().into_owned(),
        access: options.access,
        threads: options.threads,
        passthrough: options.passthrough,
    };
    let server = Server::bind(&socket::socket_path(&options.run_dir, &options.mountpoint))?;
    let signals = shutdown::Signals::install().map_err(DaemonError::Runtime)?;
    let asked = Arc::clone(&stale);
    let refuses = Box::new(move |file| asked.refuses(file));
    let fuse = FuseMount::start(mount, Arc::clone(&coordinator), pool.clone(), Some(refuses))?;
    stale.forget_device(fuse.device());
    if let Err(error) = backing.record(&options.mountpoint, Some(fuse.device()), stale.devices()) {
        // Without the device's number the next daemon could not find who still has files open through this mount.
        let _ = fuse.unmount(true);
        return Err(error);
    }
    tracing::info!(
        mountpoint = printable(&options.mountpoint),
        backing = printable(&options.data),
        passthrough = fuse.stats().passthrough,
        "the mount is live"
    );
    policies.follow_names(&fuse, &coordinator);
    let (unmount, requests) = mpsc::unbounded_channel();
    let live = Live {
        started: Instant::now(),
        coordinator,
        fuse,
        backing,
        policies,
        stale,
        binds: binds::SingleFileBinds::default(),
        phase: AtomicU8::new(Phase::Serving as u8),
        unmount,
        options,
    };
    Ok(Built { live, server, signals, requests })
}
