//! The manager as bytes: what a successor needs to go on as if the process before it had never ended.
//!
//! The caller writes every event with its time to a log before it hands it to the manager, and now and then
//! [`LockManager::save`]s a checkpoint. A successor [`LockManager::restore`]s the checkpoint and hands the events since to
//! the manager again: the same state and the same events make the same decisions, to the last bit. Whom it then owes an
//! answer, [`LockManager::waiting`] tells.
//!
//! ```text
//!   save     ---- checkpoint ----------------> restore
//!   handle   --- event, event, event --------> handle    decisions as before: they are not sent again
//!                                              handle    Event::Configure: what the successor's command line says
//! ```
//! Saved is what cannot be computed; indexes and sums are made anew. Times are those of the caller's clock, so it must be
//! one that a successor shares (`CLOCK_MONOTONIC`).
//!
//! Measured on 2 vCPUs (`cargo bench -p hoodydb --bench saved`), in WAL connections of two records each:
//!
//! | what | time | bytes |
//! |---|---|---|
//! | encode an `Event::Set` | 48 ns | 43 |
//! | decode it | 44 ns | |
//! | save 10, 1,000, 100,000 records | 2 µs, 90 µs, 25 ms | 1 kB, 62 kB, 5.4 MB |
//! | restore them | 12 µs, 0.3 ms, 38 ms | |
//! | replay 32,768 events | 12 ms | 1.4 MB |
//!
//! A checkpoint is taken under the caller's mutex: the larger the state, the rarer it should be.

use std::collections::{BTreeMap, BTreeSet};

use postcard::ser_flavors::Flavor;

use crate::lock::small_map::SmallMap;
use crate::lock::{FileId, Handle};

use super::closed::Closed;
use super::deadlock::WaitGraph;
use super::view::Counters;
use super::{Admission, Config, Event, LockManager, Policy, Slot, Timestamp};

mod small_map;

/// The meaning of the bytes. It changes with whatever is saved or encoded, and with whatever changes a decision: events are
/// only replayed by the rules that they were first handled by.
pub const SAVED_VERSION: u32 = 5;

/// No encoded event is longer.
///
/// # Units
/// Bytes. A typical [`Event::Set`] has 43.
pub const MAX_ENCODED_EVENT: usize = 104;

/// Why bytes are no saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedStateError {
    /// Another version of the program wrote them.
    #[error("the state was saved in version {found}, this program knows version {SAVED_VERSION}")]
    Version {
        /// What it wrote.
        found: u32,
    },
    /// They end too early.
    #[error("the saved state is truncated")]
    Truncated,
    /// Something follows the state.
    #[error("{0} bytes follow the saved state")]
    TrailingBytes(usize),
    /// They are no encoding of anything.
    #[error("the saved state is malformed")]
    Malformed,
    /// They are well-formed, and no manager can have written them.
    #[error("the saved state is inconsistent: {0}")]
    Inconsistent(&'static str),
}

impl From<postcard::Error> for SavedStateError {
    fn from(why: postcard::Error) -> Self {
        match why {
            postcard::Error::DeserializeUnexpectedEnd => Self::Truncated,
            _ => Self::Malformed,
        }
    }
}

/// Everything saved, in the order of the bytes.
type Saved = (
    Config,
    BTreeMap<FileId, Slot>,
    BTreeMap<FileId, FileId>,
    BTreeMap<FileId, Policy>,
    BTreeMap<FileId, SmallMap<Handle, ()>>,
    BTreeSet<Handle>,
    WaitGraph,
    Admission,
    Counters,
    Closed,
);

impl LockManager {
    /// The whole state as bytes: [`SAVED_VERSION`], then everything.
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.save_into(&mut bytes);
        bytes
    }

    /// [`Self::save`] at the end of `bytes`: a buffer that is kept saves the allocations of the next checkpoint.
    pub fn save_into(&self, bytes: &mut Vec<u8>) {
        // Named one by one: a new field cannot be forgotten here.
        let LockManager {
            config,
            files,
            index_links,
            policies,
            open_handles,
            read_only,
            timers: _,
            graph,
            records: _,
            admission,
            totals,
            closed,
        } = self;
        let state = (config, files, index_links, policies, open_handles, read_only, graph, admission, totals, closed);
        bytes.extend_from_slice(&SAVED_VERSION.to_le_bytes());
        *bytes = postcard::to_extend(&state, std::mem::take(bytes)).expect("a vector takes all bytes");
    }

    /// The manager that was [`Self::save`]d, with the configuration that it had: under another one a replay would answer
    /// differently from what was answered already. [`Event::Configure`] changes it afterwards.
    ///
    /// # Errors
    /// If the bytes are not exactly one saved state of this version. No bytes make it panic, or allocate more than about a
    /// megabyte beyond what they themselves justify.
    pub fn restore(bytes: &[u8]) -> Result<Self, SavedStateError> {
        let (version, state) = bytes.split_first_chunk().ok_or(SavedStateError::Truncated)?;
        let found = u32::from_le_bytes(*version);
        if found != SAVED_VERSION {
            return Err(SavedStateError::Version { found });
        }
        let (state, rest): (Saved, _) = postcard::take_from_bytes(state)?;
        if !rest.is_empty() {
            return Err(SavedStateError::TrailingBytes(rest.len()));
        }
        let (config, files, index_links, policies, open_handles, read_only, graph, admission, totals, closed) = state;
        let timer = |(file, slot): (&FileId, &Slot)| match slot {
            Slot::Database(database) => database.armed.map(|at| (at, *file)),
            Slot::Plain(_) | Slot::IndexOf(_) => None,
        };
        let timers = files.iter().filter_map(timer).collect();
        let records = files.values().map(Slot::records).sum();
        let manager = Self {
            config,
            files,
            index_links,
            policies,
            open_handles,
            read_only,
            timers,
            graph,
            records,
            admission,
            totals,
            closed,
        };
        manager.check()?;
        Ok(manager)
    }

    /// What the manager takes for granted between events. Bytes that say otherwise would lead it into a panic, or leave a
    /// ticket without an answer.
    fn check(&self) -> Result<(), SavedStateError> {
        let holds = |fine: bool, why| if fine { Ok(()) } else { Err(SavedStateError::Inconsistent(why)) };
        holds(self.config.lock_bytes.are_valid(), "the lock bytes lie behind the end of all files")?;
        holds(self.open_handles.values().all(|handles| !handles.is_empty()), "a file is open without a handle")?;
        let mut waiting = 0;
        for (file, slot) in &self.files {
            holds(slot.is_of(*file), "a file's state is another file's")?;
            for (ticket, ..) in slot.waiting() {
                waiting += 1;
                holds(self.graph.file_of(ticket) == Some(*file), "a waiter is not known to wait")?;
            }
        }
        holds(waiting == self.graph.len(), "a ticket waits nowhere")
    }
}

/// Writes an event and its time into `out` and returns what was written; it allocates nothing.
pub fn encode_event<'a>(now: Timestamp, event: &Event, out: &'a mut [u8; MAX_ENCODED_EVENT]) -> &'a [u8] {
    let room = Room { out, used: 0 };
    let room = postcard::serialize_with_flavor(&(now, event), room).expect("MAX_ENCODED_EVENT bytes take every event");
    &room.out[..room.used]
}

/// Where an encoded event goes. Postcard's own slices call `memcpy` for every number; most have few bytes.
struct Room<'a> {
    out: &'a mut [u8; MAX_ENCODED_EVENT],
    used: usize,
}

impl Flavor for Room<'_> {
    type Output = Self;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        *self.out.get_mut(self.used).ok_or(postcard::Error::SerializeBufferFull)? = byte;
        self.used += 1;
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let room = self.out.get_mut(self.used..self.used + bytes.len());
        let room = room.ok_or(postcard::Error::SerializeBufferFull)?;
        match (room, bytes) {
            ([a], [x]) => *a = *x,
            ([a, b], [x, y]) => (*a, *b) = (*x, *y),
            ([a, b, c], [x, y, z]) => (*a, *b, *c) = (*x, *y, *z),
            (room, bytes) => room.copy_from_slice(bytes),
        }
        self.used += bytes.len();
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}

/// The event and the time at the start of `bytes`, and how many bytes they take.
///
/// # Errors
/// If `bytes` do not begin with an event.
pub fn decode_event(bytes: &[u8]) -> Result<(Timestamp, Event, usize), SavedStateError> {
    let ((now, event), rest): ((Timestamp, Event), _) = postcard::take_from_bytes(bytes)?;
    Ok((now, event, bytes.len() - rest.len()))
}
