//! What a thread does that has the turn and has not written yet: /proc tells sleepers from those that cannot go on.
//!
//! Called by the timer thread, outside of the mutex; one look costs about 30 us.
//!
//! # Source
//! proc(5): `/proc/PID/stat` (state), `/proc/PID/wchan`; sched-stats.rst: `/proc/PID/schedstat` (time on a processor).

use std::collections::HashMap;
use std::time::Instant;

use crate::lock::Tid;
use crate::manager::Activity;

/// What was seen of the threads that were looked at before.
#[derive(Default)]
pub(super) struct Watch {
    seen: HashMap<u64, Look>,
}

struct Look {
    at: Instant,
    on_processor_ns: u64,
}

/// Turns remembered; then it starts anew. A turn is looked at a few times within a second.
const MAX_SEEN: usize = 256;

impl Watch {
    /// Looks at the thread that has a turn.
    pub(super) fn look(&mut self, turn: u64, tid: Tid) -> Activity {
        match state(tid) {
            Some(b'D') => Activity::Starved,
            Some(b'R') => self.runnable(turn, tid),
            // A request to the mount sleeps in the kernel until the daemon answers (fs/fuse/dev.c).
            Some(b'S') if waits_for_the_mount(tid) => Activity::Starved,
            _ => Activity::Asleep,
        }
    }

    /// A thread that wants a processor: it computes if it had one for most of the time since the last look.
    fn runnable(&mut self, turn: u64, tid: Tid) -> Activity {
        let now = Look { at: Instant::now(), on_processor_ns: on_processor_ns(tid) };
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        let Some(before) = self.seen.remove(&turn) else {
            self.seen.insert(turn, now);
            return Activity::Working;
        };
        let ran_ns = now.on_processor_ns.saturating_sub(before.on_processor_ns);
        let passed_ns = now.at.duration_since(before.at).as_nanos();
        self.seen.insert(turn, now);
        if u128::from(ran_ns) * 2 < passed_ns { Activity::Starved } else { Activity::Working }
    }
}

fn state(tid: Tid) -> Option<u8> {
    let stat = std::fs::read(format!("/proc/{}/stat", tid.0)).ok()?;
    // The command in parentheses may hold anything, even parentheses: the state follows the last one.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

fn waits_for_the_mount(tid: Tid) -> bool {
    std::fs::read(format!("/proc/{}/wchan", tid.0)).is_ok_and(|name| name == b"request_wait_answer")
}

fn on_processor_ns(tid: Tid) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", tid.0)).unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_tid() -> Tid {
        let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
        Tid(link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("a number"))
    }

    #[test]
    fn threads_are_told_apart() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(1, own_tid()), Activity::Working);
        assert_eq!(watch.look(2, Tid(u32::MAX)), Activity::Asleep);
        let (tell, hear) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(own_tid()).expect("the test listens");
            let _ = held.recv();
        });
        let tid = hear.recv().expect("the thread tells");
        while state(tid) != Some(b'S') {
            std::thread::yield_now();
        }
        assert_eq!(watch.look(3, tid), Activity::Asleep);
        drop(release);
        sleeper.join().expect("the thread ends");
    }
}
