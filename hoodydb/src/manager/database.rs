//! One SQLite database: the records of its file and of its WAL index, its turn, its queue, and what is known of the
//! processes that use it.

use serde::{Deserialize, Serialize};

use crate::lock::small_map::SmallMap;
use crate::lock::{Conflict, FileId, Handle, Holder, LockKind, LockOwner, LockTable, Origin};
use crate::sqlite::lock_bytes::wal_index;
use crate::sqlite::{Domains, LockBytes};

use super::budget::Budgets;
use super::history::{Intent, Process};
use super::line::{Line, Waiter, Want};
use super::queue::Verdict;
use super::turn::Turn;
use super::view::Counters;
use super::writer_watch::WriterWatch;
use super::{Activity, Admission, Config, Context, Decision, Denial, LockCall, Policy, Ticket, Timestamp};

mod shown;

/// Which of a database's two lock files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Side {
    /// The database file: transactions in rollback mode, connections in WAL mode.
    Main,
    /// The WAL index: transactions in WAL mode.
    Index,
}

/// One copy of SQLite in one process, on one of the two lock files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Domain {
    pub(super) side: Side,
    pub(super) holder: Holder,
}

/// A transaction that was let in at its read start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Active {
    /// It got a read lock that lasts; a mark that was only moved is no transaction.
    read: bool,
    wrote: bool,
}

/// Processes remembered per database; beyond, those without a transaction are forgotten.
const MAX_PROCESSES: usize = 4_096;

#[derive(Serialize, Deserialize)]
pub(super) struct Database {
    pub(super) file: FileId,
    index_file: Option<FileId>,
    pub(super) main: LockTable,
    pub(super) index: LockTable,
    domains: Domains,
    pub(super) policy: Policy,
    pub(super) lock_bytes: LockBytes,
    pub(super) turn: Option<Turn>,
    turns: u64,
    pub(super) watch: Option<WriterWatch>,
    pub(super) waiting: Line,
    active: SmallMap<Domain, Active>,
    processes: SmallMap<LockOwner, Process>,
    pub(super) budgets: Budgets,
    pub(super) counters: Counters,
    /// The timer that the manager has set.
    pub(super) armed: Option<Timestamp>,
}

impl Database {
    pub(super) fn new(file: FileId, policy: Policy) -> Self {
        Self {
            file,
            index_file: None,
            main: LockTable::default(),
            index: LockTable::default(),
            domains: Domains::default(),
            policy,
            lock_bytes: LockBytes::default(),
            turn: None,
            turns: 0,
            watch: None,
            waiting: Line::default(),
            active: SmallMap::default(),
            processes: SmallMap::default(),
            budgets: Budgets::default(),
            counters: Counters::default(),
            armed: None,
        }
    }

    pub(super) fn attach_index(&mut self, index: FileId) {
        self.index_file = Some(index);
    }

    pub(super) fn detach_index(&mut self, index: FileId) {
        if self.index_file == Some(index) {
            self.index_file = None;
        }
    }

    pub(super) fn index(&self) -> Option<FileId> {
        self.index_file
    }

    pub(super) fn is_idle(&self) -> bool {
        self.main.is_empty() && self.index.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn records(&self) -> usize {
        self.main.len() + self.index.len()
    }

    pub(super) fn records_of(&self, owner: LockOwner) -> usize {
        let of = |table: &LockTable| table.holders_of(owner).map(|holder| table.of(holder).len()).sum::<usize>();
        of(&self.main) + of(&self.index)
    }

    pub(super) fn table(&self, side: Side) -> &LockTable {
        match side {
            Side::Main => &self.main,
            Side::Index => &self.index,
        }
    }

    fn table_mut(&mut self, side: Side) -> &mut LockTable {
        match side {
            Side::Main => &mut self.main,
            Side::Index => &mut self.index,
        }
    }

    /// Whether a connection is attached to the WAL index: transactions then lock there, and SHARED only says "connected".
    pub(super) fn wal_active(&self) -> bool {
        let nobody = Holder::posix(LockOwner(0));
        self.index.conflict(nobody, wal_index::DMS_BYTE, LockKind::Write).is_some()
    }

    pub(super) fn test(&self, side: Side, call: &LockCall, kind: LockKind) -> Option<Conflict> {
        let holder = match side {
            Side::Main => self.domains.peek(call.owner, call.handle),
            Side::Index => Holder { owner: call.owner, part: call.handle.0 },
        };
        self.table(side).conflict(holder, call.range, kind)
    }

    fn domain(&mut self, side: Side, call: &LockCall) -> Domain {
        let holder = match side {
            // "-shm: the file handle is the exact owner": SQLite uses one descriptor per copy for all its locks there.
            Side::Index => Holder { owner: call.owner, part: call.handle.0 },
            Side::Main => {
                let read_start = call.kind == Some(LockKind::Read) && call.range == self.lock_bytes.pending();
                self.domains.resolve(call.owner, call.handle, read_start, &self.main)
            }
        };
        Domain { side, holder }
    }

    pub(super) fn intent(&self, call: &LockCall, read_only: bool, now: Timestamp) -> Intent {
        if self.policy == Policy::Serial {
            return Intent::Unknown;
        }
        if read_only {
            return Intent::Reader;
        }
        // A lock owner is a hash that the kernel reuses; the pid tells the old process from the new.
        match self.processes.get(&call.owner) {
            Some(process) if process.pid == call.pid => process.intent(now),
            _ => Intent::Unknown,
        }
    }

    /// Takes one lock or unlock call.
    pub(super) fn set(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        ticket: Ticket,
        call: &LockCall,
        read_only: bool,
        full: bool,
    ) {
        self.lock_bytes = context.config.lock_bytes;
        self.end_turn_if_over(context);
        let domain = self.domain(side, call);
        let Some(kind) = call.kind else {
            self.table_mut(side).unlock(domain.holder, call.range);
            context.out.push(Decision::Answer(ticket, Ok(())));
            self.after_unlock(context, domain);
            return self.settle(context);
        };
        let want = self.want(domain, call, kind, read_only, context.now);
        if matches!(want, Want::ReadStart(_) | Want::FirstWrite)
            && let Some(process) = self.processes.get_mut(&call.owner)
        {
            process.begins(context.now, context.config.gap_ns);
        }
        let claimed = self.has_claim(call.owner, context.now) && want.takes_turn();
        let waiter = Waiter {
            ticket,
            call: *call,
            kind,
            domain,
            want,
            arrived: context.now,
            deadline: None,
            behind: None,
            claimed,
        };
        let crowded = full || self.table(side).of(domain.holder).len() >= context.config.max_records_per_holder;
        let verdict = match self.judge(&waiter, self.waiting.takers_before(claimed), context) {
            _ if crowded => Verdict::Deny(Denial::Limit),
            Verdict::Wait if !context.graph.has_room(call.owner, context.config) => Verdict::Deny(Denial::Limit),
            verdict => verdict,
        };
        if verdict == Verdict::Wait {
            self.park(waiter, context);
        } else {
            self.answer(&waiter, verdict, context);
        }
        self.settle(context);
    }

    fn park(&mut self, mut waiter: Waiter, context: &mut Context<'_>) {
        if !waiter.call.wait {
            waiter.behind = self.hold_before(&waiter, context);
            let spent = waiter.behind.map_or(0, |hold| self.budgets.spent_ns(hold, waiter.call.owner));
            let left = context.config.max_wait_ns.saturating_sub(spent);
            if left == 0 {
                return self.answer(&waiter, Verdict::Deny(Denial::Deadline), context);
            }
            waiter.deadline = Some(context.now.plus(left));
        }
        context.totals.waited += 1;
        self.counters.waited += 1;
        context.graph.park(waiter.ticket, self.file, waiter.call.owner, waiter.call.tid);
        self.waiting.join(waiter);
    }

    /// Carries out a verdict other than [`Verdict::Wait`].
    pub(super) fn answer(&mut self, waiter: &Waiter, verdict: Verdict, context: &mut Context<'_>) {
        let result = match verdict {
            Verdict::Grant { turn } => {
                self.grant(waiter, turn, context);
                Ok(())
            }
            Verdict::Retry => {
                self.take_turn(waiter, context);
                self.turn_holds_nothing(waiter.domain, context.now);
                Err(Denial::Conflict)
            }
            Verdict::Deny(why) if self.admits_instead(waiter, why, context.admission) => {
                context.totals.count_denial(why);
                self.counters.count_denial(why);
                self.spend_budget(waiter, why, context);
                self.grant(waiter, false, context);
                context.out.push(Decision::Answer(waiter.ticket, Ok(())));
                return;
            }
            Verdict::Deny(why) => Err(why),
            Verdict::Wait => unreachable!("a waiting call has no answer yet"),
        };
        if let Err(why) = result {
            self.denied(waiter, why, context);
        }
        context.out.push(Decision::Answer(waiter.ticket, result));
    }

    /// A read start of WAL mode whose wait ends without the turn is let in as a reader all the same: SQLite answers a refused
    /// mark by trying again, a hundred times and for ten seconds, and then reports SQLITE_PROTOCOL. Under its mark it reads
    /// what it wants, and a write gets SQLITE_BUSY at once. Not while the mount is being left.
    ///
    /// # Source
    /// wal.c (`walTryBeginRead`, WAL_RETRY).
    fn admits_instead(&self, waiter: &Waiter, why: Denial, admission: Admission) -> bool {
        admission != Admission::Nobody
            && matches!(why, Denial::Deadline | Denial::Deadlock { .. } | Denial::Cancelled { .. })
            && matches!(waiter.want, Want::ReadStart(_))
            && waiter.domain.side == Side::Index
            && self.index.conflict(waiter.domain.holder, waiter.call.range, waiter.kind).is_none()
    }

    fn grant(&mut self, waiter: &Waiter, turn: bool, context: &mut Context<'_>) {
        let (domain, call) = (waiter.domain, &waiter.call);
        if turn {
            self.take_turn(waiter, context);
        }
        let origin = Origin { handle: call.handle, pid: call.pid, tid: call.tid, at_ns: context.now.0 };
        self.table_mut(domain.side).set(domain.holder, call.range, waiter.kind, origin);
        context.totals.granted += 1;
        self.counters.granted += 1;
        self.know(call);
        match waiter.want {
            Want::ReadStart(_) | Want::FirstWrite => {
                self.active.get_or_insert_with(domain, Active::default);
            }
            _ => {}
        }
        match domain.side {
            Side::Index if call.range.overlaps(wal_index::DMS_BYTE) => self.connected_to_wal(call.owner),
            Side::Index if call.range == wal_index::WRITE_BYTE => self.write_began(domain),
            Side::Main if waiter.kind == LockKind::Write => self.write_began(domain),
            Side::Main if call.range.overlaps(self.lock_bytes.shared()) => self.write_may_have_ended(domain, context),
            Side::Main | Side::Index => {}
        }
        if waiter.kind == LockKind::Read
            && let Some(active) = self.active.get_mut(&domain)
        {
            active.read = true;
        }
        // Whoever waits for this process elsewhere now waits for one that may itself be waiting.
        context.graph.became_holder(call.owner);
    }

    fn know(&mut self, call: &LockCall) {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&call.owner) {
            let (active, waiting) = (&self.active, &self.waiting);
            self.processes.retain(|owner, _| {
                active.iter().any(|(domain, _)| domain.holder.owner == *owner)
                    || waiting.iter().any(|waiter| waiter.call.owner == *owner)
            });
        }
        let process = self.processes.get_or_insert_with(call.owner, || Process::new(call.pid));
        if process.pid != call.pid {
            *process = Process::new(call.pid);
        }
    }

    fn denied(&mut self, waiter: &Waiter, why: Denial, context: &mut Context<'_>) {
        context.totals.count_denial(why);
        self.counters.count_denial(why);
        self.spend_budget(waiter, why, context);
        // A refused writer keeps its place in line, and so does a wait that a signal interrupts and SA_RESTART repeats.
        if matches!(why, Denial::Upgrade | Denial::Cancelled { wait: true }) {
            self.know(&waiter.call);
            if let Some(process) = self.processes.get_mut(&waiter.call.owner) {
                process.claim(context.now.plus(context.config.claim_ns));
            }
        }
    }

    /// A wait that ran out counts against the hold that it waited for. One that a signal ended has used it up: the busy
    /// handler's next tries must not park again, or Ctrl-C would take until the deadline.
    fn spend_budget(&mut self, waiter: &Waiter, why: Denial, context: &Context<'_>) {
        let spent = |since_ns: u64| match why {
            Denial::Deadline => Some(context.now.0.saturating_sub(waiter.arrived.0.max(since_ns))),
            Denial::Cancelled { wait: false } => Some(context.config.max_wait_ns),
            _ => None,
        };
        if let Some(hold) = self.hold_before(waiter, context)
            && let Some(ns) = spent(hold.since_ns)
        {
            self.budgets.spend(hold, waiter.call.owner, ns);
        }
    }

    fn has_claim(&self, owner: LockOwner, now: Timestamp) -> bool {
        self.processes.get(&owner).is_some_and(|process| process.has_claim(now))
    }

    fn take_turn(&mut self, waiter: &Waiter, context: &mut Context<'_>) {
        match &mut self.turn {
            Some(turn) if turn.domain == waiter.domain => turn.read_again(waiter.call.tid, context.now, context.config),
            _ => {
                self.turns += 1;
                let (call, domain) = (&waiter.call, waiter.domain);
                self.turn = Some(Turn::new(self.turns, domain, call.pid, call.tid, context.now, context.config));
            }
        }
    }

    fn write_began(&mut self, domain: Domain) {
        let active = self.active.get_or_insert_with(domain, Active::default);
        active.wrote = true;
        if let Some(process) = self.processes.get_mut(&domain.holder.owner) {
            process.end_claim();
        }
        match &mut self.turn {
            Some(turn) if turn.domain == domain => turn.write_began(),
            // A reader that upgraded overtook a turn whose domain holds nothing: the write lock keeps others out now.
            Some(turn) if turn.domain.side == domain.side && !turn.intends() => self.turn = None,
            _ => {}
        }
    }

    fn write_may_have_ended(&mut self, domain: Domain, context: &mut Context<'_>) {
        let writes = match domain.side {
            Side::Main => self.main.kind_held(domain.holder, self.lock_bytes.all()),
            Side::Index => self.index.kind_held(domain.holder, wal_index::WRITE_BYTE),
        } == Some(LockKind::Write);
        if !writes && let Some(turn) = self.turn.as_mut().filter(|turn| turn.domain == domain) {
            turn.write_ended(context.now, context.config);
        }
    }

    /// A connection found that the database is in WAL mode: its read start on the database file was no transaction.
    fn connected_to_wal(&mut self, owner: LockOwner) {
        self.active.retain(|domain, _| domain.side != Side::Main || domain.holder.owner != owner);
        if self.turn.is_some_and(|turn| turn.domain.side == Side::Main && !turn.is_writing()) {
            self.turn = None;
        }
    }

    fn after_unlock(&mut self, context: &mut Context<'_>, domain: Domain) {
        let held = match domain.side {
            Side::Main => self.lock_bytes.all(),
            Side::Index => wal_index::TRANSACTION,
        };
        if self.table(domain.side).holds(domain.holder, held) {
            return self.write_may_have_ended(domain, context);
        }
        self.turn_holds_nothing(domain, context.now);
        self.budgets.hold_ended(domain.holder.owner);
        let Some(active) = self.active.remove(&domain) else { return };
        if (active.read || active.wrote)
            && let Some(process) = self.processes.get_mut(&domain.holder.owner)
        {
            process.ended_transaction(active.wrote, context.now);
        }
    }

    fn turn_holds_nothing(&mut self, domain: Domain, now: Timestamp) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.domain == domain) {
            let process = self.processes.get(&domain.holder.owner);
            turn.holds_nothing(process.is_some_and(Process::dawdles), now);
        }
    }

    pub(super) fn end_turn_if_over(&mut self, context: &mut Context<'_>) {
        if self.turn.is_some_and(|turn| turn.is_over(context.now, self.policy, context.config)) {
            self.turn = None;
        }
    }

    /// `close()`: SQLite never closes a descriptor while its copy holds locks, so only what was taken through this one goes.
    pub(super) fn flush(&mut self, context: &mut Context<'_>, side: Side, owner: LockOwner, handle: Handle) {
        let holders: Vec<Holder> = self.table(side).holders_of(owner).collect();
        if self.table_mut(side).drop_of(owner, Some(handle)) {
            holders.into_iter().for_each(|holder| self.after_unlock(context, Domain { side, holder }));
        }
        if side == Side::Main {
            self.domains.closed(owner, handle, &self.main);
        }
        let left = |turn: &Turn| {
            turn.domain.side == side
                && turn.domain.holder.owner == owner
                && match side {
                    Side::Index => turn.domain.holder.part == handle.0,
                    Side::Main => self.main.of(turn.domain.holder).is_empty(),
                }
        };
        if self.turn.as_ref().is_some_and(left) {
            self.turn = None;
        }
        self.settle(context);
    }

    pub(super) fn release(&mut self, context: &mut Context<'_>, side: Side, handle: Handle) {
        let holders: Vec<Holder> = self.table(side).iter().map(|(holder, _)| holder).collect();
        if self.table_mut(side).drop_handle(handle) {
            holders.into_iter().for_each(|holder| self.after_unlock(context, Domain { side, holder }));
            self.settle(context);
        }
    }

    pub(super) fn cancel(&mut self, context: &mut Context<'_>, ticket: Ticket) {
        let wait = self.waiting.of_ticket(ticket).is_some_and(|waiter| waiter.call.wait);
        self.end_wait(context, ticket, Denial::Cancelled { wait });
    }

    pub(super) fn deny_deadlock(&mut self, context: &mut Context<'_>, ticket: Ticket) {
        self.end_wait(context, ticket, Denial::Deadlock { posix: false });
    }

    pub(super) fn probed(&mut self, context: &mut Context<'_>, id: u64, activity: Activity) {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id) else { return };
        turn.probed(activity, context.now, context.config);
        if turn.is_writing()
            && let Some(watch) = &mut self.watch
        {
            watch.saw(activity, context.now, context.config);
        }
        self.settle(context);
    }

    pub(super) fn resumed(&mut self, now: Timestamp, config: &Config) {
        if let Some(turn) = &mut self.turn {
            turn.resumed(now, config);
        }
    }

    pub(super) fn set_policy(&mut self, context: &mut Context<'_>, policy: Policy) {
        self.policy = policy;
        if policy == Policy::Posix {
            self.turn = None;
            self.waiting.change_wants(|waiter| if waiter.call.wait { Want::Record } else { Want::Immediate });
        }
        self.settle(context);
    }
}
