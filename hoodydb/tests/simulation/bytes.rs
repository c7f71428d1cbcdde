//! Saved states and encoded events as bytes: whole ones come back, others are refused, and nothing panics.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use hoodydb::manager::saved::{MAX_ENCODED_EVENT, SAVED_VERSION, SavedStateError, decode_event, encode_event};
use hoodydb::manager::{Activity, Admission, Config, Event, Group, LockCall, LockManager, Policy, Ticket, Timestamp};
use proptest::prelude::*;

use crate::chaos::{Chaos, KINDS, Seen, kind_of};

/// A state with something of everything: queues, turns, waits, limits.
static SAVED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let states = (0..20).map(|seed| Chaos::new(seed, &mut Seen::default()).state_after(300));
    states.max_by_key(Vec::len).expect("there are states")
});

/// Whatever the bytes are: an error, or a manager that can be shown and saved.
fn restore(bytes: &[u8]) -> Result<(), SavedStateError> {
    let manager = LockManager::restore(bytes)?;
    manager.view(Timestamp(0));
    manager.next_deadline();
    manager.save();
    Ok(())
}

#[test]
fn a_state_that_is_cut_or_has_something_behind_it_is_refused() {
    let bytes = &*SAVED;
    assert_eq!(restore(bytes), Ok(()));
    for length in 0..bytes.len() {
        assert_eq!(restore(&bytes[..length]), Err(SavedStateError::Truncated), "{length} of {}", bytes.len());
    }
    assert_eq!(restore(&[bytes, &b"abc"[..]].concat()), Err(SavedStateError::TrailingBytes(3)));
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut bytes = SAVED.clone();
    bytes[..4].copy_from_slice(&(SAVED_VERSION + 7).to_le_bytes());
    let error = restore(&bytes).expect_err("that is another version");
    assert_eq!(error, SavedStateError::Version { found: SAVED_VERSION + 7 });
    let (found, known) = (SAVED_VERSION + 7, SAVED_VERSION);
    assert_eq!(
        error.to_string(),
        format!("the state was saved in version {found}, this program knows version {known}")
    );
}

/// Every byte that may be a length says in turn that billions of elements follow.
#[test]
fn a_length_beyond_the_bytes_allocates_nothing_much() {
    let bytes = &*SAVED;
    for at in 4..bytes.len() {
        let huge = [&bytes[..at], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &bytes[at + 1..]].concat();
        let _ = restore(&huge);
    }
}

#[test]
fn the_longest_event_is_as_long_as_stated() {
    let mut buffer = [0; MAX_ENCODED_EVENT];
    let longest = any_event_of(0, [u64::MAX; 5], u64::MAX - 1, true);
    assert_eq!(encode_event(Timestamp(u64::MAX), &longest, &mut buffer).len(), MAX_ENCODED_EVENT);
}

fn any_event_of(kind: usize, [a, b, c, d, e]: [u64; 5], start: u64, flag: bool) -> Event {
    let file = FileId { dev: a, ino: b };
    let policy = [Policy::Turn, Policy::Serial, Policy::Posix][c as usize % 3];
    match kind {
        0 => {
            let call = LockCall {
                file,
                owner: LockOwner(c),
                handle: Handle(d),
                pid: Pid(e as u32),
                tid: Tid((e >> 32) as u32),
                range: ByteRange::new(start, start.saturating_add(1 + d % 600)).expect("start is no end"),
                kind: [Some(LockKind::Write), Some(LockKind::Read), None][(!e as usize) % 3],
                wait: flag,
            };
            Event::Set(Ticket(e), call, Group(d))
        }
        1 => Event::Opened { file, handle: Handle(c), read_only: flag },
        2 => Event::WalIndex { index: file, database: FileId { dev: c, ino: d } },
        3 => Event::Flush { file, owner: LockOwner(c), handle: Handle(d) },
        4 => Event::Release { file, handle: Handle(c) },
        5 => Event::Cancel(Ticket(a)),
        6 => {
            let activity = [Activity::Asleep, Activity::Working, Activity::Starved][d as usize % 3];
            Event::Probed { database: file, turn: c, activity }
        }
        7 => Event::SetPolicy(file, policy),
        8 => Event::Configure { max_wait_ns: a, policy },
        9 => Event::Admit([Admission::Nobody, Admission::Everybody, Admission::Connected][d as usize % 3]),
        10 => Event::RefuseAll,
        11 => Event::Resumed,
        _ => Event::Tick,
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    (0..KINDS, any::<[u64; 5]>(), 0..u64::MAX, any::<bool>())
        .prop_map(|(kind, numbers, start, flag)| any_event_of(kind, numbers, start, flag))
}

#[test]
fn every_kind_of_event_is_among_those_that_are_encoded() {
    let kinds: BTreeSet<&str> = (0..KINDS).map(|kind| kind_of(&any_event_of(kind, [1; 5], 1, true))).collect();
    assert_eq!(kinds.len(), KINDS);
}

proptest! {
    #[test]
    fn events_come_back_as_they_were(events in prop::collection::vec((any::<u64>(), any_event()), 1..20)) {
        let mut log = Vec::new();
        for (now, event) in &events {
            log.extend_from_slice(encode_event(Timestamp(*now), event, &mut [0; MAX_ENCODED_EVENT]));
        }
        let mut left = log.as_slice();
        for (now, event) in &events {
            let (at, read, taken) = decode_event(left).expect("a whole event");
            prop_assert_eq!((at, read), (Timestamp(*now), *event));
            prop_assert!(decode_event(&left[..taken - 1]).is_err(), "a cut event is none");
            left = &left[taken..];
        }
        prop_assert!(left.is_empty());
    }

    #[test]
    fn arbitrary_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_event(&bytes);
        let _ = restore(&bytes);
        let _ = restore(&[&SAVED_VERSION.to_le_bytes(), bytes.as_slice()].concat());
    }

    #[test]
    fn flipped_bits_are_no_reason_to_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..4)) {
        let mut bytes = SAVED.clone();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let _ = restore(&bytes);
    }

    #[test]
    fn flipped_bits_of_events_are_no_reason_to_panic(event in any_event(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut buffer = [0; MAX_ENCODED_EVENT];
        let mut bytes = encode_event(Timestamp(1), &event, &mut buffer).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = decode_event(&bytes);
    }
}

/// A new command line comes after the replay: databases without a policy of their own follow, the others keep theirs.
#[test]
fn a_successor_is_configured_by_an_event() {
    let files = [1, 2].map(|ino| FileId { dev: 1, ino });
    let mut manager = LockManager::new(Config::default());
    let mut tell = |event| manager.handle(Timestamp(0), event, &mut Vec::new());
    tell(Event::SetPolicy(files[0], Policy::Turn));
    for file in files {
        let range = ByteRange::new(0x4000_0000, 0x4000_0001).expect("PENDING is a byte");
        let (owner, handle) = (LockOwner(1), Handle(file.ino));
        let (pid, tid, kind) = (Pid(1), Tid(1), Some(LockKind::Read));
        tell(Event::Set(
            Ticket(file.ino),
            LockCall { file, owner, handle, pid, tid, range, kind, wait: false },
            Group(0),
        ));
    }
    let mut manager = LockManager::restore(&manager.save()).expect("a saved state restores");
    let policies = |manager: &LockManager| -> Vec<Policy> {
        manager.view(Timestamp(0)).databases.iter().map(|database| database.policy).collect()
    };
    assert_eq!(policies(&manager), [Policy::Turn, Policy::Turn]);
    manager.handle(Timestamp(0), Event::Configure { max_wait_ns: 1, policy: Policy::Serial }, &mut Vec::new());
    assert_eq!(policies(&manager), [Policy::Turn, Policy::Serial]);
}
