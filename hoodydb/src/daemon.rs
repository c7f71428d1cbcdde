//! The daemon of one mount: builds the rooms, and owns the order in which they start and stop.
//!
//! Called by [`crate::cli`]'s mount command. It is two processes: [`run`] and [`resume`] are the keeper, [`worker`] is the
//! worker. Start: checks, backing lock, dead mounts, socket, mount (keeper); lock state, session, policies, "live" (worker).
//! Stop: [`shutdown`]. It never opens a file on its own mount.

mod backing;
mod binds;
mod error;
mod figures;
mod kept;
mod minutes;
mod names;
mod observe;
mod policies;
mod preflight;
mod report;
mod schedules;
mod shutdown;
mod stale;
mod trace;
mod upgrade;
mod worker;

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use backing::{Record, holder_of};
pub use error::DaemonError;
pub use preflight::check_machine;

use crate::control::server::Listening;
use crate::control::socket;
pub use crate::fuse::Access;
use crate::fuse::MountOptions;
use crate::handover::{Memory, Word};
use crate::keeper::doorbell::Doorbell;
use crate::keeper::signals::Signals;
use crate::keeper::{self, Outcome, Tools, guardian, notify, process};
pub use crate::manager::Policy;
pub use crate::metrics::Address;
use crate::metrics::Listening as MetricsSocket;
use crate::model::printable;
use crate::process::mounts;
use kept::Kept;

/// What to serve, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Whether idle processors are kept from deep sleep while many requests come.
    #[serde(default = "yes")]
    pub quick_wake: bool,
    /// How long an unmount waits for running transactions before it names them.
    pub drain: Duration,
    /// Where the control socket is made.
    pub run_dir: PathBuf,
    /// Where the metrics are, if anywhere.
    #[serde(default)]
    pub metrics: Option<Address>,
    /// Whether lock calls are traced in the kernel.
    #[serde(default)]
    pub trace: bool,
}

/// For the options of a program that did not know of one.
fn yes() -> bool {
    true
}

impl Options {
    /// The control socket.
    fn socket_path(&self) -> PathBuf {
        socket::socket_path(&self.run_dir, &self.mountpoint)
    }

    fn mount_options(&self) -> MountOptions {
        MountOptions {
            mountpoint: self.mountpoint.clone(),
            source: self.data.to_string_lossy().into_owned(),
            access: self.access,
            threads: self.threads,
            passthrough: self.passthrough,
            quick_wake: self.quick_wake,
        }
    }
}

/// Serves until somebody unmounts; `on_live` is called once, when the first file can be opened. `log` is the file that the
/// log goes to, if it goes to a file.
///
/// # Errors
/// Everything that keeps the mount from becoming live.
pub fn run(options: Options, log: Option<PathBuf>, on_live: impl FnOnce()) -> Result<(), DaemonError> {
    keep(prepare(options, log)?, true, on_live)
}

/// Goes on with a mount that another program left in this process: `memory` and `previous` (the program to go back to if this
/// one does not come up) are descriptors.
///
/// # Errors
/// If what was left is of another version, or damaged.
pub fn resume(
    memory: RawFd,
    previous: Option<RawFd>,
    start_log: impl FnOnce(Option<&std::path::Path>),
) -> Result<(), DaemonError> {
    let kept = Kept::find(memory, previous)?;
    start_log(kept.log.as_deref());
    if let Err(error) = kept.backing.record(&kept.options.mountpoint, Some(kept.mount_device()), kept.stale.devices()) {
        tracing::error!(%error, "the lock file names the keeper that is gone");
    }
    tracing::info!(mountpoint = printable(&kept.options.mountpoint), "this process keeps the mount now");
    // A program that was brought in is on trial; one that lost its keeper has served.
    let on_trial = kept.previous.is_some();
    keep(kept, on_trial, || ())
}

/// Whether this program could go on with the shared memory at a path; the answer is what it says if so.
///
/// # Errors
/// If the memory is of another version, or damaged.
pub fn can_resume(memory: &std::path::Path) -> Result<&'static str, DaemonError> {
    let wrong = |error: String| DaemonError::Resume(error);
    let file =
        std::fs::OpenOptions::new().read(true).write(true).open(memory).map_err(|error| wrong(error.to_string()))?;
    let memory = Memory::open(file.into()).map_err(|error| wrong(error.to_string()))?;
    kept::check(&memory).map_err(|error| wrong(error.to_string()))?;
    if let Some(state) = memory.saved_locks() {
        crate::manager::LockManager::restore(&state).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(upgrade::FITS)
}

/// The keeper's life.
fn keep(kept: Kept, on_trial: bool, on_live: impl FnOnce()) -> Result<(), DaemonError> {
    let kept = Arc::new(kept);
    process::ask_to_be_spared(process::KEEPER_SCORE);
    let own = own_descriptors(&kept).map_err(DaemonError::Runtime)?;
    let mut on_live = Some(on_live);
    let mut is_trial = on_trial;
    loop {
        let serving = Arc::clone(&kept);
        let tools = Tools {
            memory: &kept.memory,
            to_keeper: &kept.to_keeper,
            to_worker: &kept.to_worker,
            signals: &kept.signals,
        };
        let outcome = keeper::keep(
            &tools,
            &|| worker::work(&serving),
            || sweep(&own, &kept.memory),
            || {
                if let Some(on_live) = on_live.take() {
                    on_live();
                }
                notify::ready();
            },
            is_trial,
        );
        is_trial = false;
        match outcome {
            Outcome::Unmounted => {
                tracing::info!("the daemon ends");
                return Ok(());
            }
            Outcome::Failed => {
                let reason = kept.memory.reason();
                if let Some(previous) = &kept.previous {
                    return Err(go_back(&kept, previous, &reason));
                }
                let _ = mounts::detach(&kept.options.mountpoint);
                return Err(DaemonError::Worker(reason));
            }
            Outcome::Upgrade => upgrade(&kept),
        }
    }
}

/// Becomes the program that the worker was asked to bring in; returns if that cannot be.
fn upgrade(kept: &Kept) {
    let memory = &kept.memory;
    memory.word(Word::EndedAt).store(keeper::now_ns(), Relaxed);
    memory.word(Word::Restarts).fetch_add(1, Relaxed);
    memory.set_reason("upgraded");
    let error = match go_over(kept) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    tracing::error!(%error, "cannot go over to the new program");
    memory.set_reason(&format!("the upgrade failed ({error}): the program is the one before"));
}

fn go_over(kept: &Kept) -> std::io::Result<std::convert::Infallible> {
    let number = RawFd::try_from(kept.memory.word(Word::Binary).swap(0, SeqCst)).map_err(std::io::Error::other)?;
    // SAFETY: the worker opened it for this and is dead; the descriptors were its keeper's too.
    let binary = unsafe { OwnedFd::from_raw_fd(number) };
    let previous = process::own_program()?;
    tracing::info!("going over to another program");
    guardian::stand_by(&kept.memory, previous.as_fd())?;
    let (memory, previous) = (kept.memory.number().to_string(), previous.as_raw_fd().to_string());
    let words = ["hoodydb", "resume", "--memory", &memory, "--previous", &previous];
    Err(process::become_program(binary.as_fd(), &words))
}

/// Becomes the program before this one, whose workers cannot start. Returns only if that fails too.
fn go_back(kept: &Kept, previous: &OwnedFd, reason: &str) -> DaemonError {
    tracing::error!(reason, "this program does not come up: going back to the one before");
    kept.memory.set_reason(&format!("the upgrade failed ({reason}): went back to the program before"));
    let memory = kept.memory.number().to_string();
    let error = process::become_program(previous.as_fd(), &["hoodydb", "resume", "--memory", &memory]);
    DaemonError::Resume(format!("cannot go back to the program before: {error}"))
}

/// The keeper's own descriptors: all that are open, but for those of the tables.
fn own_descriptors(kept: &Kept) -> std::io::Result<Vec<RawFd>> {
    let tables = kept.memory.table_descriptors();
    let mut own = process::descriptors()?;
    own.retain(|fd| tables.binary_search(fd).is_err());
    Ok(own)
}

/// Closes what a dead worker had open and no table names: sockets, half-opened files.
fn sweep(own: &[RawFd], memory: &Memory) {
    let mut keep = [own, &memory.table_descriptors()].concat();
    keep.sort_unstable();
    match process::close_all_but(&keep) {
        Ok(closed) => tracing::debug!(closed, "closed what the worker left"),
        Err(error) => tracing::error!(%error, "descriptors of a dead worker stay open"),
    }
}

/// Everything up to the mount.
///
/// What can fail comes before the mount: once it is live, programs may rely on it.
fn prepare(mut options: Options, log: Option<PathBuf>) -> Result<Kept, DaemonError> {
    preflight::check_machine()?;
    options.mountpoint = preflight::resolve_mountpoint(&options.mountpoint)?;
    options.data = preflight::resolve_data(&options.data, &options.mountpoint)?;
    preflight::make_run_dir(&options.run_dir)?;
    if mounts::mounted_at(&options.mountpoint).is_ok_and(|mount| mount.is_none()) {
        // Before anything is changed in the data directory.
        preflight::check_mountpoint(&options.mountpoint)?;
    }
    let backing = backing::Backing::take(&options.data)?;
    let devices = stale::clear_dead_mounts(&options.mountpoint, &backing)?;
    preflight::check_mountpoint(&options.mountpoint)?;
    let stale = Arc::new(stale::StaleUsers::find(devices, &options.data));
    backing.record(&options.mountpoint, None, stale.devices())?;
    policies::Policies::load(&backing, options.policy)?;
    let memory = Memory::create(crate::handover::Limits::default()).map_err(DaemonError::Runtime)?;
    let (to_keeper, to_worker) =
        (Doorbell::new().map_err(DaemonError::Runtime)?, Doorbell::new().map_err(DaemonError::Runtime)?);
    let signals = Signals::block().map_err(DaemonError::Runtime)?;
    let mut listening = Listening::bind(&options.socket_path())?;
    let metrics = options.metrics.as_ref().map(MetricsSocket::bind).transpose()?;
    let mounted = crate::fuse::mount(&options.mount_options())?;
    // From here on a failure must take the mount away again.
    let mut go_live = || -> Result<(), DaemonError> {
        let mount = mounts::mounted_at(&options.mountpoint).ok().flatten();
        let number =
            mount.ok_or_else(|| DaemonError::Runtime(std::io::Error::other("the mount is gone again")))?.device;
        stale.forget_device(number);
        // Without the device's number the next daemon could not find who still has files open through this mount.
        backing.record(&options.mountpoint, Some(number), stale.devices())?;
        memory.word(Word::MountDevice).store(number, Relaxed);
        memory.word(Word::StartedAt).store(keeper::now_ns(), Relaxed);
        memory.word(Word::KeeperPid).store(std::process::id().into(), Relaxed);
        memory.set_init_request(&mounted.init).map_err(DaemonError::Runtime)?;
        Ok(listening.publish(&options.socket_path())?)
    };
    if let Err(error) = go_live() {
        let _ = mounts::detach(&options.mountpoint);
        return Err(error);
    }
    let kept = Kept {
        options,
        log,
        memory,
        backing,
        listening,
        metrics,
        stale,
        device: mounted.device,
        to_keeper,
        to_worker,
        signals,
        previous: None,
    };
    if let Err(error) = kept.describe() {
        let _ = mounts::detach(&kept.options.mountpoint);
        return Err(DaemonError::Runtime(error));
    }
    Ok(kept)
}
