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
use crate::handover::{Memory, Word};
use crate::lock::FileId;
use crate::process::KernelError;

mod adopt;
mod attributes;
mod backing;
mod buffers;
mod contents;
mod directory;
mod disk;
mod filesystem;
mod forgotten;
mod handles;
mod inodes;
mod mount;
mod names;
mod once;
mod quick_wake;
mod readers;
mod requests;
mod root_rights;
mod shares;
mod xattr;

pub use backing::{Named, OpenedHook, PRIVATE_NAME, RefuseOpen};
pub use mount::FILE_SYSTEM_TYPE;

use backing::Backing;
use disk::Disk;
use filesystem::HoodyFs;
use forgotten::Forgotten;
use quick_wake::QuickWake;
use readers::Readers;

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
    /// The name shown as the source in mountinfo.
    pub source: String,
    /// Whose rights count.
    pub access: Access,
    /// Threads that read requests.
    pub threads: usize,
    /// Whether passthrough is used where the kernel has it.
    pub passthrough: bool,
    /// Whether idle processors are kept from deep sleep while many requests come.
    pub quick_wake: bool,
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
    /// Requests read, by FUSE operation name ("LOOKUP", "SETLK", ..), in alphabetical order.
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
    /// Why idle processors sleep as they like while many requests come; none if they do not.
    pub quick_wake_missing: Option<String>,
}

/// A live mount.
pub struct FuseMount {
    mountpoint: PathBuf,
    device: u64,
    backing: Arc<Backing>,
    session: Mutex<Option<Session<HoodyFs>>>,
    forgotten: Forgotten,
    threads: usize,
    readers: Arc<Readers>,
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
    Device(KernelError),
    /// mount(2) failed.
    #[error("cannot mount {}: {source}", path.display())]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// The kernel's answer, and which security module may be behind it.
        source: KernelError,
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

/// A fresh mount that nobody serves yet.
#[derive(Debug)]
pub struct Mounted {
    /// /dev/fuse; the mount lives as long as a process has it open.
    pub device: OwnedFd,
    /// The kernel's first request.
    pub init: Vec<u8>,
}

/// Mounts, and reads the kernel's first request.
///
/// # Errors
/// Those of opening /dev/fuse and of mount(2).
pub fn mount(options: &MountOptions) -> Result<Mounted, FuseError> {
    let device = mount::mount(options)?;
    match adopt::read_init(&device) {
        Ok(init) => Ok(Mounted { device, init }),
        Err(source) => {
            let _ = mount::unmount(&options.mountpoint, true);
            Err(FuseError::Session { path: options.mountpoint.clone(), source })
        }
    }
}

/// What a session works with.
pub struct Resources<'a> {
    /// /dev/fuse, mounted.
    pub device: &'a OwnedFd,
    /// `st_dev` of the mount.
    pub mount_device: u64,
    /// The backing directory (`O_DIRECTORY`).
    pub root: OwnedFd,
    /// The tables that outlive this process.
    pub memory: Memory,
    /// Who decides on locks.
    pub coordinator: Arc<Coordinator<LockReply>>,
    /// Runs what may sleep on the disk.
    pub pool: tokio::runtime::Handle,
    /// Which files must not be opened (EBUSY), because a process still has their database open through a dead mount; none if there
    /// was no such process.
    pub refuses: Option<RefuseOpen>,
    /// Told of a file that has a new name, and how to find out its path.
    pub named: Named,
    /// Told of each file that is opened and may have locks; none if nobody wants to know.
    pub opened: Option<OpenedHook>,
}

impl FuseMount {
    /// Takes over a mount: the tables as the last worker left them, and a session on the device. Answers nothing yet.
    ///
    /// # Errors
    /// If the session cannot be set up, or would answer INIT in another way than the first did.
    pub fn start(options: MountOptions, mut resources: Resources<'_>) -> Result<Self, FuseError> {
        let failed = |source: io::Error| FuseError::Session { path: options.mountpoint.clone(), source };
        let (session, backing, readers) = Self::adopt(&options, &mut resources).map_err(failed)?;
        Ok(Self {
            mountpoint: options.mountpoint.clone(),
            device: resources.mount_device,
            forgotten: Forgotten::new(backing.is_successor),
            backing,
            session: Mutex::new(Some(session)),
            threads: options.threads.max(1),
            readers,
            ended: Arc::new(Ended::default()),
        })
    }

    fn adopt(
        options: &MountOptions,
        resources: &mut Resources<'_>,
    ) -> io::Result<(Session<HoodyFs>, Arc<Backing>, Arc<Readers>)> {
        let limit = raise_descriptor_limit();
        let refuses = resources.refuses.take();
        let named: Named = std::mem::replace(&mut resources.named, Box::new(|_, _| ()));
        let opened = resources.opened.take();
        let Resources { device, memory, .. } = &*resources;
        let backing = Arc::new(Backing::new(
            resources.root.try_clone()?,
            options.access,
            Arc::clone(&resources.coordinator),
            limit,
            memory,
            QuickWake::new(options.quick_wake),
        )?);
        let _ = backing.device.set(device.try_clone()?);
        if let Some(refuses) = refuses {
            let _ = backing.refuse_open.set(refuses);
        }
        let _ = backing.named.set(named);
        if let Some(opened) = opened {
            let _ = backing.opened.set(opened);
        }
        let session_device = device.try_clone()?;
        let readers = Arc::new(Readers::new(options.threads.max(1), move || mount::is_over(&session_device)));
        let filesystem = HoodyFs {
            backing: Arc::clone(&backing),
            disk: Disk::new(resources.pool.clone(), Arc::clone(&readers)),
            readers: Arc::clone(&readers),
            stack_depth: stack_depth(&resources.root)?,
            want_passthrough: options.passthrough,
        };
        let mut config = fuser::Config::default();
        config.n_threads = Some(options.threads.max(1));
        config.acl = SessionACL::All;
        let adopt::Adopted { session, answer } = adopt::session(filesystem, device, &memory.init_request(), config)?;
        let first_answer = memory.init_reply();
        if first_answer.is_empty() {
            adopt::answer_init(device.as_fd(), &answer)?;
            memory.set_init_reply(&answer)?;
        } else if first_answer != answer {
            return Err(io::Error::other("this program would have the kernel do what the mount was not made for"));
        }
        backing.decide_passthrough(options, resources);
        if backing.is_successor {
            backing.clear_up(memory.fd());
        }
        Ok((session, backing, readers))
    }

    /// Begins to answer, with the requests first that a dead worker had read and not answered.
    ///
    /// # Errors
    /// EAGAIN if there is no room for the threads; EINVAL where the kernel cannot send requests again (before Linux 6.9).
    pub fn run(&self) -> io::Result<()> {
        let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        if self.backing.is_successor {
            adopt::resend(session.as_fd())?;
        }
        let signal = Arc::clone(&self.ended);
        std::thread::Builder::new().name("fuse".into()).spawn(move || {
            if let Err(error) = session.run() {
                tracing::error!(%error, "the FUSE session ended");
            }
            *signal.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            signal.changed.notify_all();
        })?;
        let (threads, readers) = (self.threads, Arc::clone(&self.readers));
        std::thread::Builder::new().name("buffers".into()).spawn(move || {
            buffers::keep_in_memory(threads);
            readers.settled();
        })?;
        Ok(())
    }

    /// Takes and lets go of every mutex of the hot paths: returns if none of them is stuck.
    pub fn touch(&self) {
        self.backing.inodes.counts();
        self.backing.handles.len();
    }

    /// From now on nothing changes the tables: whoever wants to waits for ever.
    pub fn freeze(&self) {
        self.backing.inodes.freeze();
        self.backing.handles.freeze();
    }

    /// The mount is about to go: from now on no database is opened but those of running transactions (EBUSY).
    pub fn leave(&self) {
        self.backing.leaving.store(true, Relaxed);
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// `st_dev` of the mount, as userspace sees it (`makedev`).
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Called once a second: lets go of what the kernel told a killed worker to forget.
    pub fn sweep(&self) {
        if let Some(device) = self.backing.device.get() {
            self.forgotten.look(&self.backing.inodes, device);
        }
    }

    /// Forgets what was kept for requests that a process before this one had read: by now the kernel has sent them all again.
    pub fn forget_left(&self) {
        self.backing.at_work.forget_left();
        self.backing.handles.forget_left();
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
            quick_wake_missing: self.backing.quick_wake.missing().map(str::to_owned),
        }
    }

    /// A path of a file below the mount point, relative to it; `None` once it is unlinked or forgotten.
    pub fn path_of(&self, file: FileId) -> Option<PathBuf> {
        self.backing.inodes.path_of(file)
    }

    /// As [`Self::path_of`], by the inode number that the mount shows.
    pub fn path_of_inode(&self, ino: u64) -> Option<PathBuf> {
        let file = self.backing.inodes.with(ino, |inode| inode.file).ok()?;
        self.path_of(file)
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
        mount::unmount(&self.mountpoint, lazy)?;
        self.readers.end();
        Ok(())
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
    /// Decided once per mount: files that are open one way cannot be opened the other way too.
    fn decide_passthrough(&self, options: &MountOptions, resources: &Resources<'_>) {
        const YES: u64 = 1;
        const NO: u64 = 2;
        let decided = resources.memory.word(Word::Passthrough);
        let mut missing = self.passthrough_missing.lock().unwrap_or_else(PoisonError::into_inner);
        let possible = match (&*missing, options.passthrough) {
            _ if decided.load(Relaxed) == YES => Ok(()),
            (Some(reason), _) => Err(reason.clone()),
            (None, false) => Err("switched off by --no-passthrough".to_owned()),
            (None, true) => mount::probe_passthrough(resources.device, &resources.root),
        };
        let possible = if decided.load(Relaxed) == NO && possible.is_ok() {
            Err("it was not possible when the mount was made".to_owned())
        } else {
            possible
        };
        decided.store(if possible.is_ok() { YES } else { NO }, Relaxed);
        self.passthrough.store(possible.is_ok(), Relaxed);
        *missing = possible.err();
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
