//! Single events for those who ask by a cursor. Called by [`super::Tracer`].
//!
//! The kernel writes events only while the switch is on; it is on from the first question until nobody has asked for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hoodydb_ebpf::{Event, FLAG_OF_DESCRIPTION, FLAG_WAITS, count, kind, role};

use super::load::Maps;
use crate::model::{LockEvent, LockEvents};

/// Events kept for those who ask late: 8 MB.
const KEPT_MAX: usize = 65_536;

/// Most events of one answer.
const ANSWER_MAX: usize = 8_192;

/// So long after the last question nobody is taken to ask any more.
const ATTENTION: Duration = Duration::from_secs(2);

/// What happened: an event, or how many events had no room.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Event(Event),
    Lost(u64),
}

/// So long after the last question whoever asks is slow, and the ring is emptied before it is full.
const SLOW: Duration = Duration::from_millis(300);

/// Events that were drained.
#[derive(Debug, Default)]
pub(super) struct Watch {
    asked: Option<Instant>,
    kept: VecDeque<Entry>,
    /// The cursor in front of the first kept one.
    before: u64,
    /// Events that found the ring full, as last seen.
    lost: u64,
    /// Whether `before` is not known until the first event is taken in.
    is_resumed: bool,
}

impl Watch {
    /// Goes on where a process before this one was, if somebody asked it. What it had not taken in is there still.
    pub(super) fn resume(&mut self, maps: &mut Maps) {
        if matches!(maps.switch.get(&0, 0), Ok(1)) {
            self.asked = Some(Instant::now());
            self.lost = count_of(maps, count::LOST_EVENTS);
            self.is_resumed = true;
        }
    }

    pub(super) fn events(&mut self, maps: &mut Maps, cursor: Option<u64>) -> LockEvents {
        if self.asked.is_none() {
            self.switch_on(maps);
        }
        self.asked = Some(Instant::now());
        self.take_in(maps);
        let last = self.before + self.kept.len() as u64;
        // One from the future is of another daemon on the same mount point.
        let Some(cursor) = cursor.filter(|cursor| *cursor <= last) else {
            return LockEvents { cursor: last, lost: 0, events: Vec::new() };
        };
        let mut lost = self.before.saturating_sub(cursor);
        let begin = cursor.max(self.before);
        let skipped = usize::try_from(begin - self.before).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        let mut taken = 0;
        for entry in self.kept.iter().skip(skipped).take(ANSWER_MAX) {
            taken += 1;
            match entry {
                Entry::Event(event) => events.push(shown(event)),
                Entry::Lost(more) => lost += more,
            }
        }
        LockEvents { cursor: begin + taken, lost, events }
    }

    /// True while somebody asks.
    pub(super) fn drain(&mut self, maps: &mut Maps) -> bool {
        let Some(asked) = self.asked else { return false };
        let since = asked.elapsed();
        if since < ATTENTION {
            // Left in the kernel as long as possible, where the end of this process does not touch them.
            if since > SLOW {
                self.take_in(maps);
            }
            return true;
        }
        let _ = maps.switch.set(0, 0, 0);
        self.asked = None;
        self.before += self.kept.len() as u64;
        self.kept = VecDeque::new();
        false
    }

    fn switch_on(&mut self, maps: &mut Maps) {
        // What came when nobody asked any more is nobody's.
        while maps.events.next().is_some() {}
        self.lost = count_of(maps, count::LOST_EVENTS);
        if self.before == 0 {
            // Behind whatever a process before this one has told.
            self.before = count_of(maps, count::EVENTS);
        }
        let _ = maps.switch.set(0, 1, 0);
    }

    fn take_in(&mut self, maps: &mut Maps) {
        let from = self.kept.len();
        let told = count_of(maps, count::EVENTS);
        while let Some(item) = maps.events.next() {
            if item.len() == size_of::<Event>() {
                // SAFETY: as long as an event, whose every bit pattern is a value; it may lie unaligned.
                let event = unsafe { item.as_ptr().cast::<Event>().read_unaligned() };
                self.kept.push_back(Entry::Event(event));
            }
        }
        // Two processors may have written in another order than their calls ended in.
        self.kept.make_contiguous()[from..].sort_by_key(|entry| match entry {
            Entry::Event(event) => event.ended_ns,
            Entry::Lost(_) => u64::MAX,
        });
        if std::mem::take(&mut self.is_resumed) {
            // An event's number is its place, as long as none is lost.
            self.before = match self.kept.front() {
                Some(Entry::Event(first)) => first.number - 1,
                _ => told,
            };
        }
        let lost = count_of(maps, count::LOST_EVENTS);
        if lost > self.lost {
            self.kept.push_back(Entry::Lost(lost - self.lost));
            self.lost = lost;
        }
        while self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
            self.before += 1;
        }
    }
}

fn count_of(maps: &Maps, index: u32) -> u64 {
    maps.counts.get(&index, 0).unwrap_or(0)
}

fn shown(event: &Event) -> LockEvent {
    let kind = match event.kind {
        kind::READ => "read",
        kind::WRITE => "write",
        kind::UNLOCK => "unlock",
        _ => "close",
    };
    let name = event.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    LockEvent {
        ended_ns: event.ended_ns,
        path: String::new(),
        ino: event.ino,
        pid: event.pid,
        tid: event.tid,
        comm: String::from_utf8_lossy(name).into_owned(),
        cgroup: event.cgroup,
        role: role::NAMES.get(usize::from(event.role)).copied().unwrap_or("BYTES").to_owned(),
        kind: kind.to_owned(),
        start: event.start,
        end: event.end,
        waits: event.flags & FLAG_WAITS != 0,
        of_description: event.flags & FLAG_OF_DESCRIPTION != 0,
        result: event.result,
        wait_ns: event.wait_ns,
        held_ns: event.held_ns,
    }
}
