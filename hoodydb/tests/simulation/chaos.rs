//! Events without a plan: every kind of call on databases and other files, by processes and threads that share handles,
//! with limits so small that each is reached. Only what a kernel could never send is left out.

use std::collections::{BTreeMap, BTreeSet};

use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use hoodydb::manager::{Activity, Admission, Config, Decision, Event, Group, LockCall, Policy, Ticket, Timestamp};

use crate::heirs::{Handovers, Managers};
use crate::random::Random;

const MS: u64 = 1_000_000;
const PENDING: u64 = 0x4000_0000;
const OWNERS: u64 = 5;
const DATABASES: [(FileId, FileId); 2] = [
    (FileId { dev: 1, ino: 10 }, FileId { dev: 1, ino: 11 }),
    (FileId { dev: 1, ino: 20 }, FileId { dev: 1, ino: 21 }),
];
/// The WAL index of the first database, deleted and made anew while others have the old one open.
const SECOND_INDEX: FileId = FileId { dev: 1, ino: 12 };
const PLAIN: [FileId; 2] = [FileId { dev: 1, ino: 30 }, FileId { dev: 1, ino: 31 }];
const POLICIES: [Policy; 4] = [Policy::Turn, Policy::Turn, Policy::Serial, Policy::Posix];

/// What came of it: how often each kind of event was told and each kind of decision made.
#[derive(Default, Debug)]
pub struct Seen {
    pub events: BTreeMap<&'static str, u32>,
    pub decisions: BTreeMap<String, u32>,
    pub handovers: Handovers,
}

pub struct Chaos<'a> {
    random: Random,
    now: u64,
    managers: Managers,
    /// Who waits: each thread makes one call at a time.
    waiting: BTreeMap<Ticket, (u64, u32)>,
    open: Vec<(FileId, Handle)>,
    probes: Vec<(FileId, u64)>,
    tickets: u64,
    seen: &'a mut Seen,
}

/// The name of an event's kind. A new kind does not compile until it is named here, and does not pass until it is told.
pub fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Set(..) => "Set",
        Event::Opened { .. } => "Opened",
        Event::WalIndex { .. } => "WalIndex",
        Event::Flush { .. } => "Flush",
        Event::Release { .. } => "Release",
        Event::Cancel(_) => "Cancel",
        Event::Probed { .. } => "Probed",
        Event::SetPolicy(..) => "SetPolicy",
        Event::Configure { .. } => "Configure",
        Event::Admit(_) => "Admit",
        Event::RefuseAll => "RefuseAll",
        Event::Tick => "Tick",
        Event::Resumed => "Resumed",
    }
}

/// How many kinds [`kind_of`] names.
pub const KINDS: usize = 13;

impl<'a> Chaos<'a> {
    pub fn new(seed: u64, seen: &'a mut Seen) -> Self {
        let config = Config {
            max_wait_ns: 300 * MS,
            max_records_per_holder: 6,
            max_records: 40,
            max_records_per_process: 12,
            max_waiters_per_process: 2,
            max_waiters_per_group: 3,
            max_waiters: 7,
            ..Config::default()
        };
        let mut chaos = Self {
            random: Random::new(seed),
            now: 0,
            managers: Managers::alone(config).with_heirs(seed ^ 0x5eed),
            waiting: BTreeMap::new(),
            open: Vec::new(),
            probes: Vec::new(),
            tickets: 0,
            seen,
        };
        for (database, index) in DATABASES {
            chaos.tell(Event::WalIndex { index, database });
        }
        chaos
    }

    /// The saved state after so many events.
    pub fn state_after(mut self, events: u32) -> Vec<u8> {
        self.go_on(events);
        self.managers.original().save()
    }

    fn go_on(&mut self, events: u32) {
        for _ in 0..events {
            self.advance();
            let event = self.event();
            self.tell(event);
        }
    }

    pub fn run(mut self, events: u32) {
        self.go_on(events);
        self.tell(Event::RefuseAll);
        assert!(self.waiting.is_empty(), "a ticket was never answered");
        let handovers = self.managers.finish(Timestamp(self.now));
        self.seen.handovers.successions += handovers.successions;
        self.seen.handovers.replays += handovers.replays;
    }

    /// Time passes, and timers go off when they are due, though not always at once.
    fn advance(&mut self) {
        let step = match self.random.below(20) {
            0 => 120 * MS,
            1..=4 => 10 * MS,
            _ => MS / 2,
        };
        let to = self.now + self.random.below(step);
        while let Some(due) = self.managers.original().next_deadline().filter(|due| due.0 <= to) {
            self.now = due.0.max(self.now) + self.random.below(100_000);
            self.tell(Event::Tick);
            let next = self.managers.original().next_deadline();
            assert!(next.is_none_or(|next| next.0 > self.now), "a timer that went off is due at once again");
        }
        self.now = self.now.max(to);
    }

    fn tell(&mut self, event: Event) {
        *self.seen.events.entry(kind_of(&event)).or_default() += 1;
        let mut out = Vec::new();
        self.managers.handle(Timestamp(self.now), event, &mut out);
        for decision in out {
            let name = match decision {
                Decision::Answer(ticket, result) => {
                    assert!(self.waiting.remove(&ticket).is_some(), "a ticket is answered once");
                    format!("{result:?}")
                }
                Decision::Probe { database, turn, .. } => {
                    self.probes.push((database, turn));
                    "Probe".to_owned()
                }
            };
            *self.seen.decisions.entry(name).or_default() += 1;
        }
        let waiting: BTreeSet<Ticket> = self.managers.original().waiting().map(|(ticket, ..)| ticket).collect();
        assert!(waiting.iter().eq(self.waiting.keys()), "a ticket was forgotten");
    }

    fn event(&mut self) -> Event {
        if !self.probes.is_empty() && self.random.once_in(3) {
            let (database, turn) = self.probes.remove(0);
            let activity = self.random.pick(&[Activity::Asleep, Activity::Working, Activity::Starved]);
            return Event::Probed { database, turn, activity };
        }
        let file = self.file();
        let (database, index) = self.random.pick(&DATABASES);
        let owner = LockOwner(1 + self.random.below(OWNERS));
        let handle = self.handle(owner.0, file);
        match self.random.below(400) {
            0..=11 => {
                self.open.push((file, handle));
                Event::Opened { file, handle, read_only: self.random.once_in(4) }
            }
            12..=23 if !self.open.is_empty() => {
                let at = self.random.below(self.open.len() as u64) as usize;
                let (file, handle) = self.open.swap_remove(at);
                Event::Release { file, handle }
            }
            24..=35 => Event::Flush { file, owner, handle },
            36..=45 => {
                let waiting: Vec<Ticket> = self.waiting.keys().copied().collect();
                Event::Cancel(if waiting.is_empty() { Ticket(0) } else { self.random.pick(&waiting) })
            }
            46..=48 => Event::SetPolicy(database, self.random.pick(&POLICIES)),
            49 => Event::Configure {
                max_wait_ns: (50 + self.random.below(400)) * MS,
                policy: self.random.pick(&POLICIES),
            },
            50 => Event::Admit(self.random.pick(&[Admission::Nobody, Admission::Connected])),
            51..=55 => Event::Admit(Admission::Everybody),
            56 => Event::RefuseAll,
            57 => Event::WalIndex { index, database },
            58 => Event::WalIndex { index: SECOND_INDEX, database: DATABASES[0].0 },
            59 => Event::Tick,
            60 => Event::Resumed,
            _ => self.call(file, owner, handle),
        }
    }

    fn file(&mut self) -> FileId {
        let (database, index) = self.random.pick(&DATABASES);
        match self.random.below(8) {
            0 => self.random.pick(&PLAIN),
            1..=4 => database,
            5..=6 => index,
            _ => SECOND_INDEX,
        }
    }

    /// Mostly a process's own; sometimes a second one, or one that it has from its parent.
    fn handle(&mut self, owner: u64, file: FileId) -> Handle {
        let owner = if self.random.once_in(30) { 1 } else { owner };
        Handle(owner * 1_000 + file.ino * 10 + u64::from(self.random.once_in(12)))
    }

    fn call(&mut self, file: FileId, owner: LockOwner, handle: Handle) -> Event {
        use LockKind::{Read, Write};
        let tid = owner.0 as u32 * 10 + u32::from(self.random.once_in(4));
        if self.waiting.values().any(|(other, thread)| (*other, *thread) == (owner.0, tid)) {
            return Event::Tick;
        }
        let on_main = [
            (PENDING, 1, Some(Read)),
            (PENDING, 1, Some(Read)),
            (PENDING + 2, 510, Some(Read)),
            (PENDING, 1, None),
            (PENDING + 1, 1, Some(Write)),
            (PENDING, 1, Some(Write)),
            (PENDING + 2, 510, Some(Write)),
            (PENDING, 2, None),
            (PENDING, 512, None),
            (0, 10, Some(Read)),
        ];
        let on_index = [
            (128, 1, Some(Read)),
            (128, 1, Some(Read)),
            (124, 1, Some(Read)),
            (124, 1, Some(Read)),
            (124, 1, Some(Write)),
            (124, 1, None),
            (120, 1, Some(Write)),
            (120, 1, Some(Write)),
            (120, 1, None),
            (120, 8, None),
            (121, 1, Some(Write)),
            (128, 1, Some(Write)),
        ];
        let start = self.random.below(12);
        let plain = (start, 1 + self.random.below(3), self.random.pick(&[None, Some(Read), Some(Write), Some(Write)]));
        let (start, length, kind) = match () {
            () if DATABASES.iter().any(|(main, _)| *main == file) => self.random.pick(&on_main),
            () if PLAIN.contains(&file) => plain,
            () => self.random.pick(&on_index),
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, (owner.0, tid));
        let call = LockCall {
            file,
            owner,
            handle,
            pid: Pid(owner.0 as u32 * 10),
            tid: Tid(tid),
            range: ByteRange::new(start, start + length).expect("nobody locks no bytes"),
            kind,
            wait: self.random.once_in(if PLAIN.contains(&file) { 2 } else { 10 }),
        };
        Event::Set(ticket, call, Group(owner.0 % 3))
    }
}
