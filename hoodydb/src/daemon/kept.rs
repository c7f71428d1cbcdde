//! What the keeper holds, and every worker is given: descriptors, options, the shared memory.
//!
//! Made by [`super::prepare`] before the mount is live. A worker has it as a copy of the keeper's memory; a keeper that replaces
//! another program (an upgrade, or the death of the keeper) finds it again by the numbers in the shared memory.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::backing::Backing;
use super::stale::StaleUsers;
use super::{DaemonError, Options};
use crate::control::server::Listening;
use crate::handover::{Memory, Word};
use crate::keeper::doorbell::Doorbell;
use crate::keeper::process;
use crate::keeper::signals::Signals;
use crate::metrics::Listening as MetricsSocket;

/// What outlives a worker.
pub(super) struct Kept {
    pub(super) options: Options,
    /// The log's file; none if it is standard error.
    pub(super) log: Option<PathBuf>,
    pub(super) memory: Memory,
    pub(super) backing: Backing,
    pub(super) listening: Listening,
    pub(super) metrics: Option<MetricsSocket>,
    pub(super) stale: Arc<StaleUsers>,
    /// /dev/fuse, mounted.
    pub(super) device: OwnedFd,
    pub(super) to_keeper: Doorbell,
    pub(super) to_worker: Doorbell,
    pub(super) signals: Signals,
    /// The program that this one replaced, until a worker of this one serves.
    pub(super) previous: Option<OwnedFd>,
}

/// The numbers by which a program that replaces this one finds everything.
#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    options: Options,
    log: Option<PathBuf>,
    backing: [RawFd; 3],
    listening: RawFd,
    #[serde(default)]
    metrics: Option<RawFd>,
    device: RawFd,
    to_keeper: RawFd,
    to_worker: RawFd,
    stale_devices: Vec<u64>,
}

/// Whether this program understands what [`Kept::describe`] wrote.
pub(super) fn check(memory: &Memory) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Numbers>(&memory.context()).map(|_| ())
}

impl Kept {
    /// `st_dev` of the mount.
    pub(super) fn mount_device(&self) -> u64 {
        self.memory.word(Word::MountDevice).load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Writes into the shared memory what a program needs that takes over from this one.
    ///
    /// # Errors
    /// If it does not fit (paths of many kilobytes).
    pub(super) fn describe(&self) -> io::Result<()> {
        let numbers = Numbers {
            options: self.options.clone(),
            log: self.log.clone(),
            backing: self.backing.numbers(),
            listening: self.listening.number(),
            metrics: self.metrics.as_ref().map(MetricsSocket::number),
            device: self.device.as_raw_fd(),
            to_keeper: self.to_keeper.fd().as_raw_fd(),
            to_worker: self.to_worker.fd().as_raw_fd(),
            stale_devices: self.stale.devices(),
        };
        self.memory.set_context(&serde_json::to_vec(&numbers)?)
    }

    /// Finds what another program left in this process: the shared memory is descriptor `memory`. Closes what no table names.
    ///
    /// # Errors
    /// If the memory is of another version, or damaged.
    pub(super) fn find(memory: RawFd, previous: Option<RawFd>) -> Result<Self, DaemonError> {
        // SAFETY: the program before this one left these descriptors open for it, each owned once.
        let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
        let memory_fd = memory;
        let memory = Memory::open(own(memory)).map_err(|error| DaemonError::Resume(error.to_string()))?;
        let numbers: Numbers =
            serde_json::from_slice(&memory.context()).map_err(|error| DaemonError::Resume(error.to_string()))?;
        let mut keep = vec![memory_fd, numbers.listening, numbers.device, numbers.to_keeper, numbers.to_worker];
        keep.extend(numbers.backing);
        keep.extend(numbers.metrics);
        keep.extend(previous);
        keep.extend(memory.table_descriptors());
        keep.sort_unstable();
        let failed = |error: io::Error| DaemonError::Resume(error.to_string());
        process::close_all_but(&keep).map_err(failed)?;
        process::close_on_exec(true).map_err(failed)?;
        let devices: BTreeSet<u64> = numbers.stale_devices.into_iter().collect();
        let options = numbers.options;
        Ok(Self {
            log: numbers.log,
            backing: Backing::from_numbers(&options.data, numbers.backing.map(own)),
            listening: Listening::from_fd(own(numbers.listening), &options.socket_path()),
            metrics: numbers
                .metrics
                .zip(options.metrics.as_ref())
                .map(|(number, address)| MetricsSocket::from_fd(own(number), address)),
            stale: Arc::new(StaleUsers::find(devices, &options.data)),
            device: own(numbers.device),
            to_keeper: Doorbell::from_fd(own(numbers.to_keeper)),
            to_worker: Doorbell::from_fd(own(numbers.to_worker)),
            signals: Signals::block().map_err(failed)?,
            previous: previous.map(own),
            options,
            memory,
        })
    }
}
