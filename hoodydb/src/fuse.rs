//! The FUSE session: mounts, answers every request of the kernel, and hands lock calls to the coordinator.
//!
//! The only room that knows the fuser crate. It knows files, handles and errno, and never what SQLite means by a lock.
//!
//! ```text
//!   kernel <-> filesystem (translate) -> backing (state of the mount) -> names, contents, directory, xattr
//!                        |                  inodes, handles
//!                        +-> coordinator (locks)
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use fuser::{Session, SessionACL};
use rustix::process::{Resource, Rlimit};

use crate::coordinator::{Coordinator, Refusal, Reply};
use crate::lock::FileId;

mod attributes;
mod backing;
mod contents;
mod directory;
mod filesystem;
mod handles;
mod inodes;
mod mount;
mod names;
mod requests;
mod root_rights;
mod xattr;

pub use backing::PRIVATE_NAME;
pub use mount::FILE_SYSTEM_TYPE;

use backing::Backing;
use filesystem::HoodyFs;

/// Whose rights count on the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// The mode bits, checked by the kernel.
    Unix,
    /// Any process that can see the mount reads and writes; files appear as root:root 0644.
    Shared,
}

/// What to mount, and how.
#[derive(Debug)]
pub struct MountOptions {
    /// Where.
    pub mountpoint: PathBuf,
    /// The backing directory, opened by the caller (`O_DIRECTORY`).
    pub data: OwnedFd,
    /// The name shown as the source in mountinfo.
    pub source: String,
    /// Whose rights count.
    pub access: Access,
    /// Threads that read requests.
    pub threads: usize,
    /// Whether passthrough is used where the kernel has it.
    pub passthrough: bool,
}

/// A lock call's answer on its way to the kernel.
pub struct LockReply(fuser::ReplyEmpty);

impl Reply for LockReply {
    fn granted(self) {
        self.0.ok();
    }

    fn refused(self, why: Refusal) {
        self.0.error(match why {
            Refusal::Again => fuser::Errno::EAGAIN,
            Refusal::Deadlock => fuser::Errno::EDEADLK,
            Refusal::Interrupted => fuser::Errno::EINTR,
            Refusal::NoLocks => fuser::Errno::ENOLCK,
        });
    }
}

/// Counts and sizes of the FUSE room, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuseStats {
    /// Requests answered, by FUSE operation name ("LOOKUP", "SETLK", ..), in alphabetical order.
    pub requests: Vec<(&'static str, u64)>,
    /// Inodes that the kernel remembers.
    pub inodes: u64,
    /// Open file handles.
    pub handles: u64,
    /// Descriptors that the room holds open.
    pub descriptors: u64,
    /// Most handles that can be open at once.
    pub handles_max: u64,
    /// Whether reads and writes bypass the daemon.
    pub passthrough: bool,
    /// Why not, in words, where `passthrough` is false.
    pub passthrough_missing: Option<String>,
}

/// A live mount.
pub struct FuseMount {
    mountpoint: PathBuf,
    device: u64,
    backing: Arc<Backing>,
    ended: Arc<Ended>,
}

#[derive(Default)]
struct Ended {
    done: Mutex<bool>,
    changed: Condvar,
}

/// What can go wrong before the mount is live.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// /dev/fuse cannot be opened.
    #[error("cannot open /dev/fuse: {0}; load the module with `modprobe fuse`, or give the container the device")]
    Device(io::Error),
    /// mount(2) failed.
    #[error("cannot mount {}: {source}", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The session could not be set up.
    #[error("cannot serve {}: {source}", path.display())]
    Session {
        /// The mount point.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

impl FuseMount {
    /// Mounts and starts to answer requests on threads of its own. `pool` runs what may sleep on the disk; `refuses` says
    /// which files must not be opened (EBUSY), because a process still has their database open through a dead mount.
    pub fn start(
        options: MountOptions,
        coordinator: Arc<Coordinator<LockReply>>,
        pool: tokio::runtime::Handle,
        refuses: Option<Box<dyn Fn(FileId) -> bool + Send + Sync>>,
    ) -> Result<Self, FuseError> {
        let failed = |source: io::Error| FuseError::Session { path: options.mountpoint.clone(), source };
        let limit = raise_descriptor_limit();
        let root = options.data.try_clone().map_err(failed)?;
        let backing = Arc::new(Backing::new(root, options.access, coordinator, limit).map_err(failed)?);
        if let Some(refuses) = refuses {
            let _ = backing.refuse_open.set(refuses);
        }
        let device = mount::mount(&options)?;
        let kept = device.try_clone();
        let live = kept.and_then(|kept| {
            let _ = backing.device.set(kept);
            Self::serve(&options, device, &backing, pool)
        });
        match live {
            Ok((device, ended)) => Ok(Self { mountpoint: options.mountpoint.clone(), device, backing, ended }),
            Err(error) => {
                let _ = mount::unmount(&options.mountpoint, true);
                Err(failed(error))
            }
        }
    }

    fn serve(
        options: &MountOptions,
        device: OwnedFd,
        backing: &Arc<Backing>,
        pool: tokio::runtime::Handle,
    ) -> io::Result<(u64, Arc<Ended>)> {
        let filesystem = HoodyFs {
            backing: backing.clone(),
            pool,
            stack_depth: stack_depth(&options.data)?,
            want_passthrough: options.passthrough,
        };
        let mut config = fuser::Config::default();
        config.n_threads = Some(options.threads.max(1));
        config.acl = SessionACL::All;
        let session = Session::from_fd(filesystem, device, SessionACL::All, config)?;
        backing.decide_passthrough(options, session.as_fd());
        let ended = Arc::new(Ended::default());
        let signal = ended.clone();
        std::thread::Builder::new().name("fuse".into()).spawn(move || {
            if let Err(error) = session.run() {
                tracing::error!(%error, "the FUSE session ended");
            }
            *signal.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            signal.changed.notify_all();
        })?;
        // The session answers now: this is its first request, and says under which device number the mount is seen.
        let device = rustix::fs::stat(&options.mountpoint)?.st_dev;
        Ok((device, ended))
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// `st_dev` of the mount, as userspace sees it (`makedev`).
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Counts and sizes now.
    pub fn stats(&self) -> FuseStats {
        let (inodes, descriptors) = self.backing.inodes.counts();
        let handles = self.backing.handles.len();
        let missing = self.backing.passthrough_missing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        FuseStats {
            requests: self.backing.requests.list(),
            inodes: inodes as u64,
            handles: handles as u64,
            descriptors: (descriptors + handles) as u64,
            handles_max: self.backing.max_handles,
            passthrough: self.backing.passthrough.load(Relaxed),
            passthrough_missing: missing,
        }
    }

    /// A path of a file below the mount point, relative to it; `None` once it is unlinked or forgotten.
    pub fn path_of(&self, file: FileId) -> Option<PathBuf> {
        self.backing.inodes.path_of(file)
    }

    /// The identity of the file at a path relative to the mount point; symbolic links are not followed.
    ///
    /// # Errors
    /// ENOENT if there is none, or the path is not a plain relative one.
    pub fn file_at(&self, path: &Path) -> io::Result<FileId> {
        let mut fd = (*self.backing.inodes.path_fd(inodes::ROOT)?).try_clone()?;
        for component in path.components() {
            let Component::Normal(name) = component else { return Err(io::ErrorKind::NotFound.into()) };
            fd = inodes::open_path(&fd, name)?;
        }
        Ok(inodes::file_id(&rustix::fs::fstat(&fd)?))
    }

    /// Unmounts; with `lazy` the name goes at once and the session lives on until the last file is closed.
    ///
    /// # Errors
    /// EBUSY while files are open and `lazy` is false.
    pub fn unmount(&self, lazy: bool) -> io::Result<()> {
        mount::unmount(&self.mountpoint, lazy)
    }

    /// Waits until the kernel has ended the session (unmounted and the last file closed, or aborted), `timeout` at most.
    /// Says whether it has ended.
    pub fn wait(&self, timeout: std::time::Duration) -> bool {
        let done = self.ended.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.changed.wait_timeout_while(done, timeout, |done| !*done);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Backing {
    fn decide_passthrough(&self, options: &MountOptions, device: impl AsFd) {
        let mut missing = self.passthrough_missing.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match (&*missing, options.passthrough) {
            (Some(reason), _) => Err(reason.clone()),
            (None, false) => Err("switched off by --no-passthrough".to_owned()),
            (None, true) => mount::probe_passthrough(device, &options.data),
        };
        self.passthrough.store(reason.is_ok(), Relaxed);
        *missing = reason.err();
    }
}

/// Raises the soft limit of descriptors to the hard one and gives it.
fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit { current: maximum, maximum };
        if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of descriptors stays as it is");
        }
    }
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// 1 if the backing directory is itself a stacked file system (overlayfs), else 0.
fn stack_depth(root: &OwnedFd) -> io::Result<u32> {
    const OVERLAYFS: i64 = 0x794c_7630;
    Ok(u32::from(rustix::fs::fstatfs(root)?.f_type == OVERLAYFS))
}
