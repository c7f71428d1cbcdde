//! The world of the simulation: virtual time, the lock manager, and the rules that every grant is checked by.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use hoodydb::manager::{Activity, Config, Decision, Event, Group, LockCall, Policy, Ticket, Timestamp};

use crate::client::{self, Bytes, Plan, Step};
use crate::heirs::{Handovers, Managers};
use crate::random::Random;

const MAIN: FileId = FileId { dev: 1, ino: 10 };
const INDEX: FileId = FileId { dev: 1, ino: 11 };
const PENDING: u64 = 0x4000_0000;
/// Work is drawn up to twice its mean; the longest write of the usual patterns is made of these means.
pub const LONGEST_TRANSACTION_NS: u64 = 2 * (500_000 + 400_000 + 300_000) + 500_000;
/// What a lock call costs the client.
const CALL_NS: u64 = 10_000;

/// How the database keeps its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    Rollback,
    Wal,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub commits: u32,
    /// Transactions that failed with SQLITE_BUSY or SQLITE_BUSY_SNAPSHOT.
    pub busy: u32,
    pub longest_read_wait_ns: u64,
    pub longest_write_wait_ns: u64,
    pub killed: usize,
    pub records_left: u64,
    pub handovers: Handovers,
}

struct Client {
    plan: Plan,
    owner: LockOwner,
    /// Changes with each connection.
    connection: u64,
    steps: Vec<Step>,
    at: usize,
    done: u32,
    header: u64,
    retries: u32,
    mark_tries: u32,
    parked: Option<(Ticket, u64)>,
    activity: Activity,
    alive: bool,
}

pub struct World {
    random: Random,
    now: u64,
    journal: Journal,
    managers: Managers,
    clients: Vec<Client>,
    /// (time, sequence, client): the sequence makes ties deterministic.
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    sequence: u64,
    tickets: BTreeMap<Ticket, usize>,
    answered: BTreeSet<Ticket>,
    next_ticket: u64,
    kills: Vec<u64>,
    /// Commits so far: the state of the database.
    version: u64,
    mark_version: u64,
    /// The naive rule book: who holds what, by byte.
    held: BTreeMap<(FileId, u64), BTreeMap<usize, LockKind>>,
    outcome: Outcome,
}

impl World {
    pub fn new(seed: u64, journal: Journal, plans: &[Plan]) -> Self {
        let client = |(number, plan): (usize, &Plan)| Client {
            plan: *plan,
            owner: LockOwner(1000 + number as u64),
            connection: number as u64 + 1,
            steps: [client::connect(journal), client::transaction(journal, plan.pattern, 0)].concat(),
            at: 0,
            done: 0,
            header: 0,
            retries: 0,
            mark_tries: 0,
            parked: None,
            activity: Activity::Working,
            alive: true,
        };
        let clients: Vec<Client> = plans.iter().enumerate().map(client).collect();
        let mut world = Self {
            random: Random::new(seed),
            now: 0,
            journal,
            managers: Managers::alone(Config::default()),
            clients,
            events: BinaryHeap::new(),
            sequence: 0,
            tickets: BTreeMap::new(),
            answered: BTreeSet::new(),
            next_ticket: 1,
            kills: Vec::new(),
            version: 0,
            mark_version: 0,
            held: BTreeMap::new(),
            outcome: Outcome::default(),
        };
        world.tell(Event::WalIndex { index: INDEX, database: MAIN });
        for number in 0..world.clients.len() {
            let start = world.random.below(2_000_000);
            world.wake(number, start);
        }
        world
    }

    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.tell(Event::SetPolicy(MAIN, policy));
        self
    }

    /// Lets others take over from the manager, side by side with it.
    pub fn with_heirs(mut self, seed: u64) -> Self {
        self.managers = self.managers.with_heirs(seed);
        self
    }

    /// Kills `count` clients, each at a random moment.
    pub fn with_kills(mut self, count: usize) -> Self {
        self.kills = (0..count).map(|_| 1_000_000 + self.random.below(60_000_000)).collect();
        self.kills.sort_unstable_by_key(|at| Reverse(*at));
        self
    }

    pub fn run(mut self) -> Outcome {
        loop {
            let client = self.events.peek().map(|Reverse((at, ..))| *at);
            let timer = self.managers.original().next_deadline().map(|at| at.0);
            let kill = self.kills.last().copied().filter(|_| client.is_some() || timer.is_some());
            let Some(next) = [client, timer, kill].into_iter().flatten().min() else { break };
            self.now = self.now.max(next);
            if kill == Some(next) {
                self.kills.pop();
                self.kill();
            } else if timer == Some(next) {
                self.tell(Event::Tick);
            } else if let Some(Reverse((_, _, number))) = self.events.pop()
                && self.clients[number].alive
            {
                self.step(number);
            }
        }
        let waiting = self.clients.iter().filter(|client| client.alive && client.parked.is_some()).count();
        assert_eq!(waiting, 0, "somebody waits for ever");
        for number in 0..self.clients.len() {
            self.close(number);
        }
        // None twice: that is asserted at each answer.
        assert_eq!(self.answered.len() as u64, self.next_ticket - 1, "a ticket was never answered");
        self.outcome.records_left = self.managers.original().view(Timestamp(self.now)).records;
        self.outcome.handovers = self.managers.finish(Timestamp(self.now));
        self.outcome
    }

    fn wake(&mut self, number: usize, after_ns: u64) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + after_ns, self.sequence, number)));
    }

    fn step(&mut self, number: usize) {
        self.clients[number].activity = Activity::Working;
        let Some(step) = self.clients[number].steps.get(self.clients[number].at).copied() else {
            return self.next_transaction(number);
        };
        self.clients[number].at += 1;
        match step {
            Step::Lock { bytes, kind, .. } => self.call(number, bytes, Some(kind)),
            Step::TryMoveMark if self.mark_version == self.version => self.wake(number, 0),
            Step::TryMoveMark => self.call(number, Bytes::Mark, Some(LockKind::Write)),
            Step::Unlock(bytes) => self.call(number, bytes, None),
            Step::ReadHeader => {
                self.clients[number].header = self.version;
                self.wake(number, 1_000);
            }
            Step::CheckHeader if self.clients[number].header == self.version => self.wake(number, 0),
            Step::CheckHeader => {
                self.call_quietly(number, Bytes::Mark);
                self.read_again(number);
            }
            Step::CheckSnapshot if self.clients[number].header == self.version => self.wake(number, 0),
            Step::CheckSnapshot => self.busy(number),
            Step::Work { mean_ns } => {
                let work = self.random.below(2 * mean_ns);
                self.wake(number, work);
            }
            Step::Sleep { ns } => {
                self.clients[number].activity = Activity::Asleep;
                self.wake(number, ns);
            }
            Step::Starve { ns } => {
                self.clients[number].activity = Activity::Starved;
                self.wake(number, ns);
            }
            Step::Commit => {
                self.version += 1;
                self.outcome.commits += 1;
                self.wake(number, 0);
            }
            Step::Close => {
                self.close(number);
                self.clients[number].connection += 1000;
                self.wake(number, 50_000);
            }
            Step::Think => {
                let think = self.random.below(2 * self.clients[number].plan.think_ns);
                self.clients[number].activity = Activity::Asleep;
                self.wake(number, think);
            }
        }
    }

    fn next_transaction(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.done += 1;
        client.retries = 0;
        client.mark_tries = 0;
        if client.done >= client.plan.transactions {
            return;
        }
        client.steps = client::transaction(self.journal, client.plan.pattern, client.done);
        client.at = 0;
        self.step(number);
    }

    fn read_again(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.mark_tries += 1;
        assert!(client.mark_tries < 100, "SQLITE_PROTOCOL: a read start was retried a hundred times");
        client.at = client.steps.iter().position(|step| *step == Step::ReadHeader).expect("WAL reads have a header");
        self.wake(number, 1_000);
    }

    /// A lock of the transaction was refused: everything of it is let go, then the busy handler decides.
    fn busy(&mut self, number: usize) {
        let bytes: &[Bytes] = match self.journal {
            Journal::Rollback => &[Bytes::AllOfMain],
            Journal::Wal => &[Bytes::WalWrite, Bytes::Mark],
        };
        bytes.iter().for_each(|bytes| self.call_quietly(number, *bytes));
        const DELAYS_MS: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
        let client = &mut self.clients[number];
        client.mark_tries = 0;
        if client.retries < client.plan.busy_retries {
            let delay = DELAYS_MS[(client.retries as usize).min(DELAYS_MS.len() - 1)];
            client.retries += 1;
            let start = |step: &Step| {
                matches!(step, Step::ReadHeader | Step::Lock { bytes: Bytes::Pending, kind: LockKind::Read, .. })
            };
            client.at = client.steps.iter().position(start).expect("every transaction starts to read");
            client.activity = Activity::Asleep;
            return self.wake(number, delay * 1_000_000);
        }
        self.outcome.busy += 1;
        self.clients[number].at = self.clients[number].steps.len() - 1;
        self.wake(number, 0);
    }

    fn kill(&mut self) {
        let alive: Vec<usize> = (0..self.clients.len()).filter(|number| self.clients[*number].alive).collect();
        let choice = self.random.below(alive.len() as u64) as usize;
        let number = alive[choice];
        self.outcome.killed += 1;
        if let Some((ticket, _)) = self.clients[number].parked {
            self.clients[number].alive = false;
            self.tell(Event::Cancel(ticket));
        }
        self.clients[number].alive = false;
        self.close(number);
    }

    fn close(&mut self, number: usize) {
        let (owner, connection) = (self.clients[number].owner, self.clients[number].connection);
        self.held.values_mut().for_each(|holders| {
            holders.remove(&number);
        });
        for (file, handle) in [(INDEX, Handle(connection * 2 + 1)), (MAIN, Handle(connection * 2))] {
            self.tell(Event::Flush { file, owner, handle });
        }
    }

    fn range(bytes: Bytes) -> (FileId, u64, u64) {
        match bytes {
            Bytes::Pending => (MAIN, PENDING, 1),
            Bytes::Reserved => (MAIN, PENDING + 1, 1),
            Bytes::PendingAndReserved => (MAIN, PENDING, 2),
            Bytes::Shared => (MAIN, PENDING + 2, 510),
            Bytes::AllOfMain => (MAIN, PENDING, 512),
            Bytes::Dms => (INDEX, 128, 1),
            Bytes::Mark => (INDEX, 124, 1),
            Bytes::WalWrite => (INDEX, 120, 1),
        }
    }

    fn lock_call(&self, number: usize, bytes: Bytes, kind: Option<LockKind>) -> LockCall {
        let (file, start, length) = Self::range(bytes);
        let client = &self.clients[number];
        LockCall {
            file,
            owner: client.owner,
            handle: Handle(client.connection * 2 + u64::from(file == INDEX)),
            pid: Pid(number as u32 + 1),
            tid: Tid(number as u32 + 1),
            range: ByteRange::new(start, start + length).expect("lock bytes are not empty"),
            kind,
            wait: false,
        }
    }

    fn call(&mut self, number: usize, bytes: Bytes, kind: Option<LockKind>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, number);
        self.clients[number].parked = Some((ticket, self.now));
        let call = self.lock_call(number, bytes, kind);
        if kind.is_none() {
            self.forget_held(number, call);
        }
        self.tell(Event::Set(ticket, call, Group::default()));
    }

    /// An unlock whose answer moves nothing on.
    fn call_quietly(&mut self, number: usize, bytes: Bytes) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let call = self.lock_call(number, bytes, None);
        self.forget_held(number, call);
        self.tell(Event::Set(ticket, call, Group::default()));
        assert!(self.answered.contains(&ticket), "an unlock is never delayed");
    }

    fn forget_held(&mut self, number: usize, call: LockCall) {
        for ((file, byte), holders) in &mut self.held {
            if *file == call.file && (call.range.start()..call.range.end()).contains(byte) {
                holders.remove(&number);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.managers.handle(Timestamp(self.now), event, &mut out);
        for decision in out {
            match decision {
                Decision::Answer(ticket, result) => self.answer(ticket, result.is_ok()),
                Decision::Probe { database, turn, tid } => {
                    let client = &self.clients[tid.0 as usize - 1];
                    let activity = if client.alive { client.activity } else { Activity::Asleep };
                    self.tell(Event::Probed { database, turn, activity });
                }
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, granted: bool) {
        assert!(self.answered.insert(ticket), "a ticket is answered once");
        let Some(number) = self.tickets.remove(&ticket) else { return };
        let Some((_, since)) = self.clients[number].parked.take() else { return };
        let client = &self.clients[number];
        if !client.alive {
            return;
        }
        let step = client.steps[client.at - 1];
        let waited = self.now - since;
        let writes = client.steps.contains(&Step::Commit);
        let longest =
            if writes { &mut self.outcome.longest_write_wait_ns } else { &mut self.outcome.longest_read_wait_ns };
        *longest = (*longest).max(waited);
        match step {
            Step::Lock { bytes, kind, .. } if granted => {
                self.check_grant(number, bytes, kind);
                self.wake(number, CALL_NS);
            }
            Step::TryMoveMark if granted => {
                self.check_grant(number, Bytes::Mark, LockKind::Write);
                self.mark_version = self.version;
                self.call_quietly(number, Bytes::Mark);
                self.wake(number, CALL_NS);
            }
            Step::Lock { retry: true, .. } => self.read_again(number),
            Step::Lock { .. } => self.busy(number),
            _ => self.wake(number, CALL_NS),
        }
    }

    /// No two conflicting grants, by a rule book of its own.
    fn check_grant(&mut self, number: usize, bytes: Bytes, kind: LockKind) {
        let (file, start, _) = Self::range(bytes);
        let holders = self.held.entry((file, start)).or_default();
        let conflict = holders
            .iter()
            .any(|(other, held)| *other != number && (kind == LockKind::Write || *held == LockKind::Write));
        assert!(!conflict, "{bytes:?} was granted to {number} over {holders:?}");
        holders.insert(number, kind);
    }
}
