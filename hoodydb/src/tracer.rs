//! The lock tracer: eBPF programs that watch every fcntl lock call on one mount from inside of the kernel.
//!
//! Built by [`crate::daemon`] in the worker. It only watches: a mount without it does all that a mount with it does. It never
//! knows a path; a file is the inode number that the mount shows.
//!
//! ```text
//!   kernel   programs -> ROWS, OVERFLOW, COUNTS      EVENTS (only while somebody wants them)
//!                             |                        |
//!   worker              [`sample`] -> Sample       [`watch`] -> LockEvents, by a cursor
//! ```
//! Maps and links are descriptors, which the keeper has too: the programs go on counting while no worker lives, and the next
//! worker takes the maps over ([`Tracer::handed`], [`Tracer::adopt`]). Nothing is pinned: the last descriptor's end detaches
//! everything.

mod btf;
mod load;
mod sample;
mod support;
mod watch;

use std::collections::HashSet;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

pub use support::Missing;

use crate::model::{LockEvents, Sample};
use load::Maps;
use support::Begin;

/// What is watched, and how much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// `st_dev` of the mount.
    pub device: u64,
    /// Entries of the tables.
    pub sizes: Sizes,
    /// As on a kernel that has no FUSE tracepoints, even where there are some.
    pub by_system_call: bool,
}

/// Entries of the tables; what does not fit is counted, see [`Sample`].
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Calls at work.
    pub starts: u32,
    /// Rows.
    pub rows: u32,
    /// Owners of locks.
    pub holds: u32,
    /// Bytes of single events: a power of two, and whole pages.
    pub events_bytes: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            starts: hoodydb_ebpf::STARTS_MAX,
            rows: hoodydb_ebpf::ROWS_MAX,
            holds: hoodydb_ebpf::HOLDS_MAX,
            events_bytes: hoodydb_ebpf::EVENTS_BYTES,
        }
    }
}

/// Descriptors of one that another process goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed {
    /// What the programs are, and how they see calls; 0 stands for none.
    pub version: u64,
    /// Maps, then links; -1 stands for none.
    pub descriptors: [RawFd; Handed::DESCRIPTORS],
}

impl Handed {
    /// How many there are.
    pub const DESCRIPTORS: usize = load::MAPS + load::LINKS;

    const fn version(begin: Begin) -> u64 {
        let begin = match begin {
            Begin::Request => 1,
            Begin::SystemCall => 2,
        };
        hoodydb_ebpf::WIRE_VERSION << 8 | begin
    }

    /// How the programs see calls, if they are of this version.
    fn begin(&self) -> Option<Begin> {
        [Begin::Request, Begin::SystemCall].into_iter().find(|begin| Self::version(*begin) == self.version)
    }
}

/// Programs at work.
pub struct Tracer {
    device: u64,
    begin: Begin,
    maps: Mutex<Maps>,
    watch: Mutex<watch::Watch>,
    /// Processes that had ended at the last fold.
    ended: Mutex<HashSet<u32>>,
    /// Dropped last: the programs end with them.
    links: Vec<OwnedFd>,
}

impl Tracer {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// Which piece is missing, and how to get it.
    pub fn start(watched: &Watched) -> Result<Self, Missing> {
        let plan = support::Facts::gather().plan(watched.by_system_call)?;
        let (maps, links) = load::load(watched, &plan)?;
        Ok(Self::of(watched.device, plan.begin, maps, links))
    }

    /// Goes on with programs that a process before this one loaded, if they are what this program knows; else their
    /// descriptors are closed.
    ///
    /// # Safety
    /// The descriptors are nobody else's, or none.
    pub unsafe fn adopt(watched: &Watched, handed: &Handed) -> Option<Self> {
        // SAFETY: the caller's.
        let (maps, links) = unsafe { load::adopt(handed) }?;
        let tracer = Self::of(watched.device, handed.begin()?, maps, links);
        sample::finish_fold(&mut tracer.maps());
        tracer.watch().resume(&mut tracer.maps());
        Some(tracer)
    }

    fn of(device: u64, begin: Begin, maps: Maps, links: Vec<OwnedFd>) -> Self {
        Self { device, begin, maps: Mutex::new(maps), watch: Mutex::default(), ended: Mutex::default(), links }
    }

    /// What another process needs to go on with this one.
    pub fn handed(&self) -> Handed {
        let mut descriptors = [-1; Handed::DESCRIPTORS];
        let links = self.links.iter().map(AsRawFd::as_raw_fd);
        for (place, fd) in descriptors.iter_mut().zip(self.maps().descriptors().into_iter().chain(links)) {
            *place = fd;
        }
        Handed { version: Handed::version(self.begin), descriptors }
    }

    /// What it cannot see on this kernel, and how to get it.
    pub fn limits(&self) -> Option<&'static str> {
        (self.begin == Begin::SystemCall).then_some(
            "this kernel has no tracepoint fuse:fuse_request_send: hold times are missing, and every system call of the host \
             costs a little more; use Linux 6.12 or later",
        )
    }

    /// Everything so far.
    ///
    /// # Errors
    /// If the kernel does not let the maps be read.
    pub fn sample(&self) -> Result<Sample, Missing> {
        sample::sample(&self.maps(), self.device)
    }

    /// Folds the rows of processes that had ended when this was called the last time into one per file and role, so that tables
    /// do not fill up with them.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn fold(&self) -> Result<(), Missing> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        sample::fold(&mut self.maps(), &mut ended, sample::is_alive)
    }

    /// Single events behind a cursor, or only the cursor where there is none yet. From the first question on they are kept,
    /// until nobody has asked for two seconds.
    pub fn events(&self, cursor: Option<u64>) -> LockEvents {
        self.watch().events(&mut self.maps(), cursor)
    }

    /// Takes in what happened, and stops it when nobody asks any more. True while somebody does.
    pub fn drain(&self) -> bool {
        self.watch().drain(&mut self.maps())
    }

    fn maps(&self) -> std::sync::MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, watch::Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
