//! Who is connected, and who goes when the house is full.
//!
//! Called by [`super::connection`] for each connection, by [`super::stream`] and [`super::answer`] to tell what it is doing. When there is no
//! room for one more, the connection that has waited longest for a request is closed, or one that has stalled in the middle of
//! sending or receiving: connections that do nothing never keep out one that wants something.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After how long without a byte a transfer counts as stalled.
const STALLED: Duration = Duration::from_secs(2);

/// Everybody who is connected.
pub(super) struct Crowd {
    most: usize,
    started: Instant,
    state: Mutex<State>,
    /// Bytes of answers that are being sent.
    sending: AtomicU64,
}

#[derive(Default)]
struct State {
    next: u64,
    members: HashMap<u64, Arc<Member>>,
}

/// One connection.
pub(super) struct Member {
    id: u64,
    started: Instant,
    phase: AtomicU8,
    /// When it last came a step further, in milliseconds after `started`.
    moved_ms: AtomicU64,
    closing: Notify,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// There is no whole head of a request.
    Waiting = 0,
    /// A body is being received.
    Receiving = 1,
    /// A request is worked on.
    Working = 2,
    /// An answer is being sent.
    Sending = 3,
}

/// A place in the crowd; free again when dropped.
pub(super) struct Place<'c> {
    crowd: &'c Crowd,
    member: Arc<Member>,
}

impl Crowd {
    /// A crowd of at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, started: Instant::now(), state: Mutex::default(), sending: AtomicU64::new(0) }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.state().members.len()
    }

    /// A place for one more, if need be that of another; none if everybody is at work.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let mut state = self.state();
        if state.members.len() >= self.most {
            let victim = self.least(&state, true)?;
            state.members.remove(&victim.id);
            victim.closing.notify_one();
        }
        state.next += 1;
        let id = state.next;
        let member = Arc::new(Member {
            id,
            started: self.started,
            phase: AtomicU8::new(Phase::Waiting as u8),
            moved_ms: AtomicU64::new(0),
            closing: Notify::new(),
        });
        member.moved();
        state.members.insert(id, Arc::clone(&member));
        Some(Place { crowd: self, member })
    }

    /// Closes a connection that has stalled while it was sent an answer; false if none has.
    pub(super) fn close_stalled(&self) -> bool {
        let mut state = self.state();
        let Some(victim) = self.least(&state, false) else { return false };
        state.members.remove(&victim.id);
        victim.closing.notify_one();
        true
    }

    /// Bytes of answers that are being sent now.
    pub(super) fn sending(&self) -> u64 {
        self.sending.load(Relaxed)
    }

    pub(super) fn sends(&self, bytes: u64) {
        self.sending.fetch_add(bytes, Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sending.fetch_sub(bytes, Relaxed);
    }

    /// Who is given up first: those that wait, then those that have stalled; of each the one that has done nothing for longest.
    fn least(&self, state: &State, waiting_too: bool) -> Option<Arc<Member>> {
        let stalled_before =
            millis(self.started).saturating_sub(u64::try_from(STALLED.as_millis()).unwrap_or(u64::MAX));
        let rank = |member: &&Arc<Member>| {
            let (phase, moved) = (member.phase.load(Relaxed), member.moved_ms.load(Relaxed));
            match phase {
                phase if phase == Phase::Waiting as u8 => waiting_too.then_some((0, moved)),
                phase if phase == Phase::Working as u8 => None,
                _ => (moved < stalled_before).then_some((1, moved)),
            }
        };
        let ranked = state.members.values().filter_map(|member| Some((rank(&member)?, member)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, member)| Arc::clone(member))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Who has it.
    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.crowd.state().members.remove(&self.member.id);
    }
}

impl Member {
    /// It does something else now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.moved();
    }

    /// Whether it waits for a request.
    pub(super) fn is_waiting(&self) -> bool {
        self.phase.load(Relaxed) == Phase::Waiting as u8
    }

    /// It came a step further.
    pub(super) fn moved(&self) {
        self.moved_ms.store(millis(self.started), Relaxed);
    }

    /// Returns when its place is needed.
    pub(super) async fn closed(&self) {
        self.closing.notified().await;
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: &Place<'_>, phase: Phase, moved_ms: u64) {
        place.member.enter(phase);
        place.member.moved_ms.store(moved_ms, Relaxed);
    }

    fn has(crowd: &Crowd, place: &Place<'_>) -> bool {
        crowd.state().members.contains_key(&place.member.id)
    }

    fn crowd(most: usize) -> Crowd {
        let started = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        Crowd { started, ..Crowd::new(most) }
    }

    #[test]
    fn whoever_waits_longest_makes_room() {
        let crowd = crowd(3);
        let places: Vec<_> = (0..3).filter_map(|_| crowd.enter()).collect();
        at(&places[0], Phase::Working, 1);
        at(&places[1], Phase::Waiting, 30);
        at(&places[2], Phase::Waiting, 20);
        let newcomer = crowd.enter().unwrap();
        assert!(
            !has(&crowd, &places[2]) && has(&crowd, &places[0]) && has(&crowd, &places[1]) && has(&crowd, &newcomer)
        );
        assert_eq!(crowd.len(), 3);
    }

    #[test]
    fn stalled_ones_make_room_and_those_at_work_do_not() {
        let crowd = crowd(3);
        let places: Vec<_> = (0..3).filter_map(|_| crowd.enter()).collect();
        at(&places[0], Phase::Working, 1);
        at(&places[1], Phase::Sending, 99_999);
        at(&places[2], Phase::Receiving, 99_999);
        assert!(crowd.enter().is_none() && !crowd.close_stalled());
        at(&places[1], Phase::Sending, 10);
        let newcomer = crowd.enter().unwrap();
        assert!(!has(&crowd, &places[1]));
        drop(newcomer);
        assert_eq!(crowd.len(), 2);
    }
}
