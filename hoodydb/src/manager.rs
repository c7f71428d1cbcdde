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

use crate::lock::small_map::SmallMap;
use crate::lock::{Conflict, FileId, Handle, LockOwner, Pid, Tid};
use crate::sqlite::lock_bytes::wal_index;

mod budget;
mod closed;
mod config;
mod database;
mod deadlock;
mod event;
mod history;
mod line;
mod posix;
mod queue;
pub mod saved;
mod turn;
pub mod view;
mod writer_watch;

pub use config::Config;
pub use event::{Activity, Admission, Decision, Denial, Event, Group, LockCall, Policy, Ticket, Timestamp};

use closed::Closed;
use database::{Database, Side};
use deadlock::WaitGraph;
use posix::PosixFile;
use view::{Counters, View};

#[derive(Serialize, Deserialize)]
enum Slot {
    Plain(Box<PosixFile>),
    Database(Box<Database>),
    IndexOf(FileId),
}

/// What every room of the manager gets handed for one event.
struct Context<'a> {
    now: Timestamp,
    config: &'a Config,
    admission: Admission,
    /// While nobody may begin: the threads with a transaction on another database, which may be the same transaction.
    running: &'a [(LockOwner, Tid)],
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
    /// By name rather than by number: a handle that is told of twice counts once.
    open_handles: BTreeMap<FileId, SmallMap<Handle, ()>>,
    read_only: BTreeSet<Handle>,
    timers: BTreeSet<(Timestamp, FileId)>,
    graph: WaitGraph,
    records: usize,
    admission: Admission,
    totals: Counters,
    closed: Closed,
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
            admission: Admission::default(),
            totals: Counters::default(),
            closed: Closed::default(),
        }
    }

    /// Takes one event and appends what it decides to `out`. `now` never goes back.
    pub fn handle(&mut self, now: Timestamp, event: Event, out: &mut Vec<Decision>) {
        match event {
            Event::Set(ticket, call, group) => self.set(now, ticket, call, group, out),
            Event::Opened { file, handle, read_only } => {
                self.open_handles.entry(file).or_default().insert(handle, ());
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
            Event::Configure { max_wait_ns, policy } => self.configure(now, max_wait_ns, policy, out),
            Event::Admit(admission) => {
                self.admission = admission;
                self.settle_all(now, out);
            }
            Event::RefuseAll => {
                let tickets: Vec<Ticket> = self.graph.tickets().collect();
                for ticket in tickets {
                    self.handle(now, Event::Cancel(ticket), out);
                }
            }
            Event::Tick => self.tick(now, out),
            Event::Resumed => self.resumed(now, out),
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
        self.forget_lost_index(call.file);
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
            self.files.entry(call.file).or_insert_with(|| Slot::Plain(Box::new(PosixFile::new(call.file))));
        }
    }

    fn database(&mut self, file: FileId) -> &mut Database {
        let policy = self.policies.get(&file).copied().unwrap_or(self.config.policy);
        if !matches!(self.files.get(&file), Some(Slot::Database(_) | Slot::IndexOf(_))) {
            let mut database = Database::new(file, policy);
            database.counters = self.closed.take(file);
            self.files.insert(file, Slot::Database(Box::new(database)));
        }
        match self.files.get_mut(&file) {
            Some(Slot::Database(database)) => database,
            _ => unreachable!("the slot was just made a database"),
        }
    }

    fn release(&mut self, now: Timestamp, file: FileId, handle: Handle, out: &mut Vec<Decision>) {
        self.read_only.remove(&handle);
        self.on_file(now, file, out, |slot, side, context| match slot {
            Slot::Plain(plain) => plain.release(context, handle),
            Slot::Database(database) => database.release(context, side, handle),
            Slot::IndexOf(_) => {}
        });
        let Some(handles) = self.open_handles.get_mut(&file) else { return };
        handles.remove(&handle);
        if handles.is_empty() {
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
            Some(Slot::Plain(plain)) if plain.is_idle() => {
                // Its number may be another file's soon.
                self.index_links.remove(&file);
                None
            }
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
        if let Some(Slot::Database(database)) = self.files.remove(&file) {
            self.closed.put(file, database.counters);
        }
        self.timers.retain(|(_, of)| *of != file);
    }

    /// A database that got a new index was forgotten with that one: its old index, still open, is a file like any other.
    fn forget_lost_index(&mut self, file: FileId) {
        if let Some(Slot::IndexOf(main)) = self.files.get(&file)
            && !self.is_database(*main)
        {
            self.files.remove(&file);
        }
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
        let running = self.running_elsewhere(home);
        let Some(slot) = self.files.get_mut(&home) else { return };
        if side == Side::Index && !matches!(slot, Slot::Database(_)) {
            return;
        }
        let mut context = Context {
            now,
            config: &self.config,
            admission: self.admission,
            running: &running,
            graph: &mut self.graph,
            totals: &mut self.totals,
            out,
        };
        let before = slot.records();
        change(slot, side, &mut context);
        self.records = self.records + slot.records() - before;
        if let Slot::Database(database) = slot {
            let next = database.next_deadline(&self.config, self.admission);
            if let Some(armed) = database.armed.filter(|armed| Some(*armed) != next) {
                self.timers.remove(&(armed, home));
            }
            if let Some(next) = next {
                self.timers.insert((next, home));
            }
            database.armed = next;
        }
    }

    fn running_elsewhere(&self, home: FileId) -> Vec<(LockOwner, Tid)> {
        if self.admission != Admission::Nobody {
            return Vec::new();
        }
        let others = self.files.iter().filter(|(file, _)| **file != home);
        let databases = others.filter_map(|(_, slot)| match slot {
            Slot::Database(database) => Some(database),
            Slot::Plain(_) | Slot::IndexOf(_) => None,
        });
        databases.flat_map(|database| database.running_threads()).collect()
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

    fn configure(&mut self, now: Timestamp, max_wait_ns: u64, policy: Policy, out: &mut Vec<Decision>) {
        self.config.max_wait_ns = max_wait_ns;
        self.config.policy = policy;
        let follows = |(file, slot): (&FileId, &Slot)| match slot {
            Slot::Database(database) if database.policy != policy && !self.policies.contains_key(file) => Some(*file),
            _ => None,
        };
        let files: Vec<FileId> = self.files.iter().filter_map(follows).collect();
        for file in files {
            self.on_file(now, file, out, |slot, _, context| {
                if let Slot::Database(database) = slot {
                    database.set_policy(context, policy);
                }
            });
        }
    }

    fn settle_all(&mut self, now: Timestamp, out: &mut Vec<Decision>) {
        let files: Vec<FileId> = self.files.keys().copied().collect();
        for file in files {
            self.settle(now, file, out);
        }
    }

    fn resumed(&mut self, now: Timestamp, out: &mut Vec<Decision>) {
        for slot in self.files.values_mut() {
            if let Slot::Database(database) = slot {
                database.resumed(now, &self.config);
            }
        }
        self.settle_all(now, out);
    }

    fn settle(&mut self, now: Timestamp, file: FileId, out: &mut Vec<Decision>) {
        self.on_file(now, file, out, |slot, _, context| {
            if let Slot::Database(database) = slot {
                database.settle(context);
            }
        });
    }

    /// Whether a ticket waits for its answer.
    pub fn waits(&self, ticket: Ticket) -> bool {
        self.graph.file_of(ticket).is_some()
    }

    /// A consistent picture of all databases and counters.
    pub fn view(&self, now: Timestamp) -> View {
        self.view_some(now, usize::MAX)
    }

    /// [`Self::view`] with `waiters_max` waiters of each database at most: with thousands it takes long.
    pub fn view_some(&self, now: Timestamp, waiters_max: usize) -> View {
        let databases = self.files.values().filter_map(|slot| match slot {
            Slot::Database(database) => Some(database.view(now, &self.config, waiters_max)),
            Slot::Plain(_) | Slot::IndexOf(_) => None,
        });
        View {
            databases: databases.collect(),
            totals: self.totals.clone(),
            records: self.records as u64,
            waiters: self.graph.len() as u64,
        }
    }

    /// The counts of every database, of those too that nobody has open, and its oldest transaction: far less than
    /// [`Self::view`] copies.
    pub fn tallies(&self, now: Timestamp) -> Vec<view::Tally> {
        let open = self.files.values().filter_map(|slot| match slot {
            Slot::Database(database) => Some(database.tally(now)),
            Slot::Plain(_) | Slot::IndexOf(_) => None,
        });
        let tally = |(file, counters): (_, &Counters)| view::Tally {
            file,
            wal_index: None,
            counters: counters.clone(),
            holders: 0,
            waiters: 0,
            oldest: None,
        };
        open.chain(self.closed.iter().map(tally)).collect()
    }

    /// Every call that has no answer yet, and when it came: what a successor must answer.
    pub fn waiting(&self) -> impl Iterator<Item = (Ticket, LockCall, Timestamp)> + '_ {
        self.files.values().flat_map(Slot::waiting)
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

    /// The processes that hold or want a lock of a database, as far as the kernel names them.
    pub fn processes(&self) -> BTreeSet<Pid> {
        let mut pids = BTreeSet::new();
        for slot in self.files.values() {
            if let Slot::Database(database) = slot {
                pids.extend(database.processes());
            }
        }
        pids.remove(&Pid(0));
        pids
    }

    /// Whether a transaction runs on a database.
    pub fn is_running(&self, file: FileId) -> bool {
        matches!(self.files.get(&file), Some(Slot::Database(database)) if database.running().next().is_some())
    }

    /// Bytes of one record, one waiter and one idle database, for `docs/`.
    pub const fn sizes() -> (usize, usize, usize) {
        (size_of::<crate::lock::Record>(), size_of::<line::Waiter>(), size_of::<Database>())
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

    fn is_of(&self, file: FileId) -> bool {
        match self {
            Slot::Plain(plain) => plain.file == file,
            Slot::Database(database) => database.file == file && database.lock_bytes.are_valid(),
            Slot::IndexOf(main) => *main != file,
        }
    }

    fn waiting(&self) -> Vec<(Ticket, LockCall, Timestamp)> {
        match self {
            Slot::Plain(plain) => plain.waiting.clone(),
            Slot::Database(database) => {
                database.waiting.iter().map(|waiter| (waiter.ticket, waiter.call, waiter.arrived)).collect()
            }
            Slot::IndexOf(_) => Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{ByteRange, LockKind, LockOwner, Tid};

    const INDEX: FileId = FileId { dev: 1, ino: 2 };

    fn set(owner: u64, handle: u64, byte: u64, kind: Option<LockKind>) -> LockCall {
        LockCall {
            file: INDEX,
            owner: LockOwner(owner),
            handle: Handle(handle),
            pid: Pid(1),
            tid: Tid(1),
            range: ByteRange::new(byte, byte + 1).unwrap(),
            kind,
            wait: false,
        }
    }

    /// A file named as a WAL index that was locked elsewhere than SQLite locks, closed and removed; the next file has its number.
    #[test]
    fn a_file_is_not_taken_for_the_index_that_had_its_number() {
        let mut manager = LockManager::new(Config::default());
        let mut out = Vec::new();
        let database = FileId { dev: 1, ino: 1 };
        let opened = |handle| Event::Opened { file: INDEX, handle: Handle(handle), read_only: false };
        manager.handle(Timestamp(0), Event::WalIndex { index: INDEX, database }, &mut out);
        manager.handle(Timestamp(0), opened(1), &mut out);
        manager.handle(Timestamp(1), Event::Set(Ticket(1), set(7, 1, 0, Some(LockKind::Write)), Group(0)), &mut out);
        manager.handle(Timestamp(2), Event::Release { file: INDEX, handle: Handle(1) }, &mut out);
        out.clear();
        manager.handle(Timestamp(3), opened(2), &mut out);
        manager.handle(Timestamp(3), Event::Set(Ticket(2), set(8, 2, 120, Some(LockKind::Write)), Group(0)), &mut out);
        assert_eq!(out, [Decision::Answer(Ticket(2), Ok(()))]);
        assert!(!manager.is_database(database));
    }
}
