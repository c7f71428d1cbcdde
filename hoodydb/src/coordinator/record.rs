//! The record of what happened, kept where a successor of this process finds it: every event before it takes effect, and from
//! time to time the whole state.
//!
//! A killed process leaves a state and the events since. The manager is a state machine without a clock, so the same state and
//! the same events give the same manager, with every queue in its order and every deadline where it was; what it decided is
//! decided again, and a request that the kernel sends once more gets that same answer.

use std::collections::HashMap;

use crate::manager::saved::{MAX_ENCODED_EVENT, SavedStateError, decode_event, encode_event};
use crate::manager::{Config, Decision, Denial, Event, LockManager, Ticket, Timestamp};

/// Where the record is kept. One writer at a time.
pub trait Record: Send {
    /// Adds one entry; when this returns, a successor will find it.
    ///
    /// # Errors
    /// If there is no room: [`Self::is_due`] was not heeded.
    fn append(&mut self, entry: &[u8]) -> Result<(), RecordFull>;
    /// Whether it is time for [`Self::checkpoint`].
    fn is_due(&self) -> bool;
    /// Keeps the whole state, and begins the entries anew.
    ///
    /// # Errors
    /// If the state does not fit.
    fn checkpoint(&mut self, state: &[u8]) -> Result<(), RecordFull>;
}

/// The record has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of the lock manager is full")]
pub struct RecordFull;

/// No record: for tests, and for what need not outlive its process.
#[derive(Debug, Default)]
pub struct NoRecord;

impl Record for NoRecord {
    fn append(&mut self, _entry: &[u8]) -> Result<(), RecordFull> {
        Ok(())
    }

    fn is_due(&self) -> bool {
        false
    }

    fn checkpoint(&mut self, _state: &[u8]) -> Result<(), RecordFull> {
        Ok(())
    }
}

/// What a predecessor left.
#[derive(Debug, Default)]
pub struct Left {
    /// The last state that was kept; none if there was not one yet.
    pub state: Option<Vec<u8>>,
    /// The entries since.
    pub entries: Vec<Vec<u8>>,
}

/// A request whose event took effect: 0 stands for events that are no request's.
const NO_TICKET: u64 = 0;

/// Longest entry.
pub(super) const ENTRY_MAX_BYTES: usize = 8 + MAX_ENCODED_EVENT;

/// One entry: the request's ticket (8 bytes, little endian), then the encoded event.
pub(super) fn entry<'a>(
    buffer: &'a mut [u8; ENTRY_MAX_BYTES],
    now: Timestamp,
    ticket: Option<Ticket>,
    event: &Event,
) -> &'a [u8] {
    let mut encoded = [0; MAX_ENCODED_EVENT];
    let encoded = encode_event(now, event, &mut encoded);
    let length = 8 + encoded.len();
    buffer[..8].copy_from_slice(&ticket.map_or(NO_TICKET, |ticket| ticket.0).to_le_bytes());
    buffer[8..length].copy_from_slice(encoded);
    &buffer[..length]
}

/// The lock state as it was.
pub(super) struct Recovered {
    pub(super) manager: LockManager,
    /// The answers given since the state was kept; some may not have reached the kernel.
    pub(super) answered: HashMap<Ticket, Result<(), Denial>>,
}

/// Rebuilds the lock state.
///
/// # Errors
/// If what was left is damaged, or of another version.
pub(super) fn recover(config: Config, left: &Left) -> Result<Recovered, SavedStateError> {
    let mut manager = match &left.state {
        Some(state) => LockManager::restore(state)?,
        None => LockManager::new(config),
    };
    let mut answered = HashMap::new();
    let mut decisions = Vec::new();
    for entry in &left.entries {
        let (ticket, event) = entry.split_first_chunk::<8>().ok_or(SavedStateError::Truncated)?;
        let (now, event, _) = decode_event(event)?;
        let ticket = u64::from_le_bytes(*ticket);
        if ticket != NO_TICKET && !matches!(event, Event::Set(..)) {
            answered.insert(Ticket(ticket), Ok(()));
        }
        manager.handle(now, event, &mut decisions);
        for decision in decisions.drain(..) {
            // A probe whose answer was lost is given up by the manager after a moment.
            if let Decision::Answer(ticket, result) = decision {
                answered.insert(ticket, result);
            }
        }
    }
    Ok(Recovered { manager, answered })
}
