//! The lock manager: events in, decisions out; a state machine without clock, thread or I/O.
//!
//! Called by [`crate::coordinator`] under its mutex, and by simulations in virtual time.
//! Laws: every ticket gets exactly one answer; no two conflicting locks are ever held; an unlock is never delayed.
//!
//! ```text
//!   Event -> LockManager -> file kind?  plain      posix::PosixFile       exact POSIX
//!                                       database   database::Database     turns, claims, bounded holds
//!                                       -shm       the Database it belongs to
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lock::{ByteRange, Conflict, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use crate::sqlite::{LockBytes, lock_bytes::wal_index};

mod budget;
mod database;
mod deadlock;
mod history;
mod posix;
mod queue;
mod turn;
pub mod view;
mod writer_watch;

use database::{Database, Side};
use deadlock::WaitGraph;
use posix::PosixFile;
use view::{Counters, View};

/// How the requests for one database are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Writers take turns; readers pass (the default).
    #[default]
    Turn,
    /// One transaction at a time, readers included.
    Serial,
    /// No queue: every conflict is answered at once, as on any POSIX file system.
    Posix,
}

/// Nanoseconds on a monotonic clock of the caller's choice; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time `ns` later.
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to here, 0 if it is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One request that waits for its answer: the `unique` of the FUSE request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The container (control group) of a process, for limits; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u64);

/// What one lock call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockCall {
    /// The file.
    pub file: FileId,
    /// The kernel's lock owner.
    pub owner: LockOwner,
    /// The open file description it came through.
    pub handle: Handle,
    /// The process (0 in unlocks).
    pub pid: Pid,
    /// The calling thread.
    pub tid: Tid,
    /// The bytes.
    pub range: ByteRange,
    /// Read or write; `None` unlocks.
    pub kind: Option<LockKind>,
    /// `F_SETLKW`: the caller is ready to wait without limit.
    pub wait: bool,
}

/// What happens to the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lock or unlock call of a process in a container.
    Set(Ticket, LockCall, Group),
    /// A handle was opened.
    Opened {
        /// The file.
        file: FileId,
        /// Its handle.
        handle: Handle,
        /// Opened without write access: its read starts take no turn.
        read_only: bool,
    },
    /// A file is the WAL index of a database.
    WalIndex {
        /// The `-shm` file.
        index: FileId,
        /// The database beside it.
        database: FileId,
    },
    /// `close(2)` of a descriptor by one owner.
    Flush {
        /// The file.
        file: FileId,
        /// Who closes.
        owner: LockOwner,
        /// The descriptor's open file description.
        handle: Handle,
    },
    /// The last descriptor of a handle is gone.
    Release {
        /// The file.
        file: FileId,
        /// The handle.
        handle: Handle,
    },
    /// The waiter has a signal to take.
    Cancel(Ticket),
    /// What the thread that [`Decision::Probe`] asked about does.
    Probed {
        /// The database of the probe.
        database: FileId,
        /// The turn of the probe.
        turn: u64,
        /// What it does.
        activity: Activity,
    },
    /// Sets the policy of a database, open or not.
    SetPolicy(FileId, Policy),
    /// Whether read starts are admitted (false while the mount is being left).
    Admit(bool),
    /// Refuses everything that waits.
    RefuseAll,
    /// Time has passed: [`LockManager::next_deadline`] is due.
    Tick,
}

/// What a thread does that has read and not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It sleeps, is stopped, or is gone: it does not mean to write soon.
    Asleep,
    /// It computes: a long query, perhaps.
    Working,
    /// It wants to go on and cannot: it waits for a processor, the disk, or an answer of the mount.
    Starved,
}

/// What the manager wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The one answer to a ticket.
    Answer(Ticket, Result<(), Denial>),
    /// Look whether a thread is active and report it with [`Event::Probed`]; a few ms late is early enough.
    Probe {
        /// The database.
        database: FileId,
        /// The turn whose intent ran out.
        turn: u64,
        /// The thread that has it.
        tid: Tid,
    },
}

/// Why a ticket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A conflict that is never waited for.
    Conflict,
    /// A write wanted under an older snapshot or SHARED while another domain writes.
    Upgrade,
    /// The deadline or the wait budget ran out.
    Deadline,
    /// Waiting would close a cycle; `posix` on files that are no databases (EDEADLK there).
    Deadlock {
        /// The file is no database.
        posix: bool,
    },
    /// The waiter has a signal to take; `wait` says the call was `F_SETLKW`.
    Cancelled {
        /// `F_SETLKW`.
        wait: bool,
    },
    /// A limit on records or waiters.
    Limit,
}

/// Times and limits; each has its reason beside its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where SQLite's lock bytes lie.
    pub lock_bytes: LockBytes,
    /// Policy of databases that have none of their own.
    pub policy: Policy,
    /// Longest wait of a call that did not ask to wait: a stuck holder must show up.
    pub max_wait_ns: u64,
    /// T: how long after its read start a transaction may show that it writes. 2 ms gave errors on a loaded machine.
    pub intent_ns: u64,
    /// Longest intent of a thread that computes: what a writer may be delayed by an unknown reader.
    pub intent_max_ns: u64,
    /// Longest intent of a thread that cannot go on: on a loaded machine its write comes late through no fault of its own.
    pub starved_max_ns: u64,
    /// How long the answer to a probe is waited for.
    pub probe_ns: u64,
    /// How long a writer that comes straight back keeps its turn: buys throughput back from strict FIFO.
    pub quantum_ns: u64,
    /// What "straight back" means.
    pub gap_ns: u64,
    /// The same for a domain that has not written: SQLite loads the schema, or retries a read, in between.
    pub retry_gap_ns: u64,
    /// WAL: longest hold of a domain that may be a reader, per blocking transaction.
    pub reader_hold_ns: u64,
    /// How long a refused writer keeps its place: SQLite's busy handler sleeps 100 ms at most.
    pub claim_ns: u64,
    /// How long a cycle through different threads of a process is only a suspicion.
    pub suspicion_ns: u64,
    /// Records per holder and file; SQLite needs four.
    pub max_records_per_holder: usize,
    /// Records of all files: bounds the memory to about 128 MB.
    pub max_records: usize,
    /// Records of one process on all files, once three quarters of all are taken.
    pub max_records_per_process: usize,
    /// Parked calls per process, i.e. threads of it that stand still.
    pub max_waiters_per_process: usize,
    /// Parked calls per container: one container cannot take all places.
    pub max_waiters_per_group: usize,
    /// Parked calls of all processes.
    pub max_waiters: usize,
}

const MS: u64 = 1_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            lock_bytes: LockBytes::default(),
            policy: Policy::Turn,
            max_wait_ns: 30_000 * MS,
            intent_ns: 25 * MS,
            intent_max_ns: 100 * MS,
            starved_max_ns: 1_000 * MS,
            probe_ns: 5 * MS,
            quantum_ns: 8 * MS,
            gap_ns: MS,
            retry_gap_ns: 2 * MS,
            reader_hold_ns: 100 * MS,
            claim_ns: 250 * MS,
            suspicion_ns: 100 * MS,
            max_records_per_holder: 8_192,
            max_records: 1_000_000,
            max_records_per_process: 65_536,
            max_waiters_per_process: 1_024,
            max_waiters_per_group: 16_384,
            max_waiters: 65_536,
        }
    }
}

enum Slot {
    Plain(PosixFile),
    Database(Box<Database>),
    IndexOf(FileId),
}

/// What every room of the manager gets handed for one event.
struct Context<'a> {
    now: Timestamp,
    config: &'a Config,
    admitting: bool,
    graph: &'a mut WaitGraph,
    totals: &'a mut Counters,
    out: &'a mut Vec<Decision>,
}

/// All lock state of one mount.
pub struct LockManager {
    config: Config,
    files: BTreeMap<FileId, Slot>,
    index_links: BTreeMap<FileId, FileId>,
    policies: BTreeMap<FileId, Policy>,
    open_handles: BTreeMap<FileId, u32>,
    read_only: BTreeSet<Handle>,
    timers: BTreeSet<(Timestamp, FileId)>,
    graph: WaitGraph,
    records: usize,
    admitting: bool,
    totals: Counters,
}

impl LockManager {
    /// An empty lock state.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            files: BTreeMap::new(),
            index_links: BTreeMap::new(),
            policies: BTreeMap::new(),
            open_handles: BTreeMap::new(),
            read_only: BTreeSet::new(),
            timers: BTreeSet::new(),
            graph: WaitGraph::default(),
            records: 0,
            admitting: true,
            totals: Counters::default(),
        }
    }

    /// Takes one event and appends what it decides to `out`. `now` never goes back.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Decision>) {
        match event {
            Event::Set(ticket, call, group) => self.set(now, ticket, call, group, out),
            Event::Opened { file, handle, read_only } => {
                *self.open_handles.entry(file).or_default() += 1;
                if read_only {
                    self.read_only.insert(handle);
                }
            }
            Event::WalIndex { index, database } => {
                self.index_links.insert(index, database);
            }
            Event::Flush { file, owner, handle } => self.on_file(now, file, out, |slot, side, context| match slot {
                Slot::Plain(plain) => plain.flush(context, owner),
                Slot::Database(database) => database.flush(context, side, owner, handle),
                Slot::IndexOf(_) => {}
            }),
            Event::Release { file, handle } => self.release(now, file, handle, out),
            Event::Cancel(ticket) => {
                let Some(file) = self.graph.file_of(ticket) else { return };
                self.on_file(now, file, out, |slot, _, context| match slot {
                    Slot::Plain(plain) => plain.cancel(context, ticket),
                    Slot::Database(database) => database.cancel(context, ticket),
                    Slot::IndexOf(_) => {}
                });
            }
            Event::Probed { database, turn, activity } => self.on_file(now, database, out, |slot, _, context| {
                if let Slot::Database(database) = slot {
                    database.probed(context, turn, activity);
                }
            }),
            Event::SetPolicy(file, policy) => {
                self.policies.insert(file, policy);
                self.on_file(now, file, out, |slot, _, context| {
                    if let Slot::Database(database) = slot {
                        database.set_policy(context, policy);
                    }
                });
            }
            Event::Admit(admitting) => {
                self.admitting = admitting;
                self.settle_all(now, out);
            }
            Event::RefuseAll => {
                let tickets: Vec<Ticket> = self.graph.tickets().collect();
                for ticket in tickets {
                    self.handle(now, Event::Cancel(ticket), out);
                }
            }
            Event::Tick => self.tick(now, out),
        }
        self.deny_cycles(now, out);
    }

    /// When [`Event::Tick`] is due next; `None` while nothing can change by itself.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at).into_iter().chain(self.graph.next_suspicion()).min()
    }

    /// `F_GETLK`: the record that stands in the way of `call`, if any.
    pub fn test(&self, call: &LockCall) -> Option<Conflict> {
        let kind = call.kind?;
        match self.files.get(&call.file)? {
            Slot::Plain(plain) => plain.test(call.owner, call.range, kind),
            Slot::Database(database) => database.test(Side::Main, call, kind),
            Slot::IndexOf(main) => match self.files.get(main)? {
                Slot::Database(database) => database.test(Side::Index, call, kind),
                _ => None,
            },
        }
    }

    /// Whether a file has been recognised as a database.
    pub fn is_database(&self, file: FileId) -> bool {
        matches!(self.files.get(&file), Some(Slot::Database(_)))
    }

    fn set(&mut self, now: Timestamp, ticket: Ticket, call: LockCall, group: Group, out: &mut Vec<Decision>) {
        self.graph.arriving = group;
        if call.kind.is_some() {
            self.recognise(&call);
        } else if !self.files.contains_key(&call.file) {
            out.push(Decision::Answer(ticket, Ok(())));
            return;
        }
        let full = call.kind.is_some() && self.is_full_for(call.owner);
        let read_only = self.read_only.contains(&call.handle);
        self.on_file(now, call.file, out, |slot, side, context| match slot {
            Slot::Plain(plain) => plain.set(context, ticket, &call, full),
            Slot::Database(database) => database.set(context, side, ticket, &call, read_only, full),
            Slot::IndexOf(_) => {}
        });
    }

    /// Whether one more record of `owner` is refused: at the limit of all, and before it for whoever has most of them.
    fn is_full_for(&self, owner: LockOwner) -> bool {
        let Config { max_records, max_records_per_process, .. } = self.config;
        if self.records < max_records - max_records / 4 {
            return false;
        }
        // Only near the limit is it worth a walk through all files.
        let own: usize = self.files.values().map(|slot| slot.records_of(owner)).sum();
        own >= max_records_per_process || self.records >= max_records
    }

    /// "Databases are recognised by use": the first lock inside SQLite's lock bytes makes a file a database file, and the
    /// first lock inside the WAL index's bytes of a file named `X-shm` makes it the index of `X`.
    fn recognise(&mut self, call: &LockCall) {
        match self.files.get(&call.file) {
            Some(Slot::Plain(plain)) if plain.is_idle() => {}
            None => {}
            Some(_) => return,
        }
        let bytes = self.config.lock_bytes;
        let link = self.index_links.get(&call.file).filter(|_| wal_index::ALL.contains(call.range)).copied();
        if let Some(main) = link {
            let taken = matches!(self.files.get(&main), Some(Slot::Plain(plain)) if !plain.is_idle());
            if !taken && main != call.file && !matches!(self.files.get(&main), Some(Slot::IndexOf(_))) {
                self.database(main).attach_index(call.file);
                self.files.insert(call.file, Slot::IndexOf(main));
                return;
            }
        }
        if bytes.all().contains(call.range) {
            self.files.remove(&call.file);
            self.database(call.file);
        } else {
            self.files.entry(call.file).or_insert_with(|| Slot::Plain(PosixFile::new(call.file)));
        }
    }

    fn database(&mut self, file: FileId) -> &mut Database {
        let policy = self.policies.get(&file).copied().unwrap_or(self.config.policy);
        let slot = self.files.entry(file).or_insert_with(|| Slot::Database(Box::new(Database::new(file, policy))));
        if matches!(slot, Slot::Plain(_)) {
            *slot = Slot::Database(Box::new(Database::new(file, policy)));
        }
        match slot {
            Slot::Database(database) => database,
            Slot::Plain(_) | Slot::IndexOf(_) => unreachable!("the slot was just made a database"),
        }
    }

    fn release(&mut self, now: Timestamp, file: FileId, handle: Handle, out: &mut Vec<Decision>) {
        self.read_only.remove(&handle);
        self.on_file(now, file, out, |slot, side, context| match slot {
            Slot::Plain(plain) => plain.release(context, handle),
            Slot::Database(database) => database.release(context, side, handle),
            Slot::IndexOf(_) => {}
        });
        let Some(count) = self.open_handles.get_mut(&file) else { return };
        *count -= 1;
        if *count == 0 {
            self.open_handles.remove(&file);
            self.forget_if_unused(file);
        }
    }

    /// Drops what is kept of a file that nobody has open; a database stays while its index is open.
    fn forget_if_unused(&mut self, file: FileId) {
        let index = match self.files.get(&file) {
            Some(Slot::IndexOf(main)) => {
                let main = *main;
                self.files.remove(&file);
                self.index_links.remove(&file);
                if let Some(Slot::Database(database)) = self.files.get_mut(&main) {
                    database.detach_index(file);
                }
                if !self.open_handles.contains_key(&main) {
                    self.forget_if_unused(main);
                }
                return;
            }
            Some(Slot::Database(database)) if database.is_idle() => database.index(),
            Some(Slot::Plain(plain)) if plain.is_idle() => None,
            Some(_) => return,
            None => {
                self.index_links.remove(&file);
                return;
            }
        };
        if index.is_some_and(|index| self.open_handles.contains_key(&index)) {
            return;
        }
        if let Some(index) = index {
            self.files.remove(&index);
        }
        self.files.remove(&file);
        self.timers.retain(|(_, of)| *of != file);
    }

    /// Runs `change` on the slot that a file's locks live in, then keeps the timer and the record count right.
    fn on_file(
        &mut self,
        now: Timestamp,
        file: FileId,
        out: &mut Vec<Decision>,
        change: impl FnOnce(&mut Slot, Side, &mut Context<'_>),
    ) {
        let (home, side) = match self.files.get(&file) {
            Some(Slot::IndexOf(main)) => (*main, Side::Index),
            Some(_) => (file, Side::Main),
            None => return,
        };
        let Some(slot) = self.files.get_mut(&home) else { return };
        let mut context = Context {
            now,
            config: &self.config,
            admitting: self.admitting,
            graph: &mut self.graph,
            totals: &mut self.totals,
            out,
        };
        let before = slot.records();
        change(slot, side, &mut context);
        self.records = self.records + slot.records() - before;
        if let Slot::Database(database) = slot {
            let next = database.next_deadline(&self.config);
            if let Some(armed) = database.armed.filter(|armed| Some(*armed) != next) {
                self.timers.remove(&(armed, home));
            }
            if let Some(next) = next {
                self.timers.insert((next, home));
            }
            database.armed = next;
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Decision>) {
        let due: Vec<FileId> = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, file)| *file).collect();
        for file in due {
            self.settle(now, file, out);
        }
        while let Some(ticket) = self.graph.confirm_suspicion(now) {
            if self.find_cycle(ticket).is_some() {
                self.deny_deadlock(now, ticket, out);
            }
        }
    }

    fn settle_all(&mut self, now: Timestamp, out: &mut Vec<Decision>) {
        let files: Vec<FileId> = self.files.keys().copied().collect();
        for file in files {
            self.settle(now, file, out);
        }
    }

    fn settle(&mut self, now: Timestamp, file: FileId, out: &mut Vec<Decision>) {
        self.on_file(now, file, out, |slot, _, context| {
            if let Slot::Database(database) = slot {
                database.settle(context);
            }
        });
    }

    /// A consistent picture of all databases and counters.
    pub fn view(&self, now: Timestamp) -> View {
        let databases = self.files.values().filter_map(|slot| match slot {
            Slot::Database(database) => Some(database.view(now, &self.config)),
            Slot::Plain(_) | Slot::IndexOf(_) => None,
        });
        View {
            databases: databases.collect(),
            totals: self.totals.clone(),
            records: self.records as u64,
            waiters: self.graph.len() as u64,
        }
    }

    /// The database and process of every transaction that runs now; idle WAL connections are none.
    pub fn running_transactions(&self) -> Vec<(FileId, Pid)> {
        let mut running = Vec::new();
        for (file, slot) in &self.files {
            if let Slot::Database(database) = slot {
                running.extend(database.running().map(|pid| (*file, pid)));
            }
        }
        running
    }

    /// Bytes of one record, one waiter and one idle database, for `docs/`.
    pub const fn sizes() -> (usize, usize, usize) {
        (size_of::<crate::lock::Record>(), size_of::<queue::Waiter>(), size_of::<Database>())
    }
}

impl Slot {
    fn records(&self) -> usize {
        match self {
            Slot::Plain(plain) => plain.records(),
            Slot::Database(database) => database.records(),
            Slot::IndexOf(_) => 0,
        }
    }

    fn records_of(&self, owner: LockOwner) -> usize {
        match self {
            Slot::Plain(plain) => plain.records_of(owner),
            Slot::Database(database) => database.records_of(owner),
            Slot::IndexOf(_) => 0,
        }
    }
}
