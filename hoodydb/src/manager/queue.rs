//! The queue of one database: who waits, for what, and who may go.
//!
//! The rules of which call may wait and which is answered at once are those of SQLite's lock protocol (docs/SEMANTICS.md):
//! a call may only wait where its process holds nothing that the queue waits for.

use crate::lock::{Conflict, LockKind, LockOwner, Tid};
use crate::sqlite::lock_bytes::wal_index;
use crate::sqlite::{DatabaseCall, WalIndexCall};

use super::budget::Hold;
use super::database::{Database, Domain, Side};
use super::deadlock::Blocker;
use super::history::Intent;
use super::line::{Place, Waiter, Want};
use super::turn::Turn;
use super::writer_watch::WriterWatch;
use super::{Admission, Config, Context, Decision, Denial, LockCall, Policy, Ticket, Timestamp};

/// What is to be done with a call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Grant; with the turn, if true.
    Grant { turn: bool },
    /// The turn is its own, but a record is in the way: refuse, and keep the turn for SQLite's retry.
    Retry,
    /// Refuse.
    Deny(Denial),
    /// Park.
    Wait,
}

impl Database {
    pub(super) fn want(
        &self,
        domain: Domain,
        call: &LockCall,
        kind: LockKind,
        read_only: bool,
        now: Timestamp,
    ) -> Want {
        if self.policy == Policy::Posix {
            return if call.wait { Want::Record } else { Want::Immediate };
        }
        let held = |range| self.table(domain.side).kind_held(domain.holder, range);
        let plain = if call.wait { Want::Record } else { Want::Immediate };
        match domain.side {
            Side::Main => match self.lock_bytes.classify(call.range, Some(kind)) {
                DatabaseCall::ReadStart if held(self.lock_bytes.all()).is_none() => {
                    Want::ReadStart(self.intent(call, read_only, now))
                }
                DatabaseCall::Reserve if held(self.lock_bytes.shared()).is_none() => Want::Orphan,
                DatabaseCall::Reserve => Want::Upgrade,
                DatabaseCall::Exclude if held(self.lock_bytes.reserved()) == Some(LockKind::Write) => Want::Drain,
                DatabaseCall::Exclude if held(self.lock_bytes.all()).is_none() => {
                    // unix-excl takes SHARED for writing first; PENDING first means that SHARED is believed to be held.
                    if call.range == self.lock_bytes.shared() { Want::Record } else { Want::Orphan }
                }
                _ => plain,
            },
            Side::Index => match wal_index::classify(call.range, Some(kind)) {
                WalIndexCall::DeadManSwitch => plain,
                _ if held(wal_index::DMS_BYTE).is_none() => Want::Orphan,
                WalIndexCall::ReadMark if held(wal_index::TRANSACTION).is_none() => {
                    Want::ReadStart(self.intent(call, read_only, now))
                }
                WalIndexCall::Write if held(wal_index::MARKS).is_some() => Want::Upgrade,
                WalIndexCall::Write => Want::FirstWrite,
                _ => plain,
            },
        }
    }

    /// What is to be done with a call now; `line` tells that someone before it in the queue waits for the turn.
    pub(super) fn judge(&self, waiter: &Waiter, line: bool, context: &Context<'_>) -> Verdict {
        let conflict = self.table(waiter.domain.side).conflict(waiter.domain.holder, waiter.call.range, waiter.kind);
        match waiter.want {
            Want::Orphan => Verdict::Deny(Denial::Conflict),
            _ if !self.is_admitted(waiter, context) => match (context.admission, waiter.want) {
                (Admission::Nobody, want) if want != Want::Immediate => Verdict::Wait,
                _ => Verdict::Deny(Denial::Conflict),
            },
            Want::Immediate if conflict.is_some() => Verdict::Deny(Denial::Conflict),
            Want::Record | Want::Drain if conflict.is_some() => Verdict::Wait,
            Want::Immediate | Want::Record | Want::Drain => Verdict::Grant { turn: false },
            Want::Upgrade if conflict.is_some() => Verdict::Deny(Denial::Upgrade),
            Want::Upgrade => match self.others_turn(waiter.domain, context.now, context.config) {
                Some(turn) if turn.intends() && !self.held_long(waiter.arrived, context) => Verdict::Wait,
                _ => Verdict::Grant { turn: false },
            },
            Want::ReadStart(_) if waiter.domain.side == Side::Main && self.must_drain(waiter, conflict) => {
                Verdict::Wait
            }
            Want::ReadStart(_) if waiter.domain.side == Side::Main && self.wal_active() => {
                Verdict::Grant { turn: false }
            }
            Want::ReadStart(Intent::Reader) if self.policy != Policy::Serial => match conflict {
                Some(_) => Verdict::Deny(Denial::Conflict),
                None => Verdict::Grant { turn: false },
            },
            Want::FirstWrite | Want::ReadStart(_) => self.judge_turn(waiter, line, conflict, context),
        }
    }

    fn judge_turn(&self, waiter: &Waiter, line: bool, conflict: Option<Conflict>, context: &Context<'_>) -> Verdict {
        let own = self.turn.is_some_and(|turn| {
            turn.domain == waiter.domain && !turn.is_over(context.now, self.policy, context.config)
        });
        let others = self.others_turn(waiter.domain, context.now, context.config);
        let writer = self.other_writer(waiter.domain);
        if !own && (line || others.is_some() || writer.is_some() || self.serial_must_wait(waiter.domain)) {
            let over = |watch: WriterWatch| watch.is_over(waiter.arrived, context.now, context.config);
            let held = self.is_held_as_reader(waiter) && conflict.is_none() && writer.is_some();
            if held && self.watch.is_some_and(over) {
                return Verdict::Grant { turn: false };
            }
            return Verdict::Wait;
        }
        match (conflict, waiter.want) {
            (None, _) => Verdict::Grant { turn: true },
            (Some(_), Want::FirstWrite) => Verdict::Wait,
            // SQLite tries another mark, or the same again, at once.
            (Some(_), _) => Verdict::Retry,
        }
    }

    /// Whether a call is no beginning of a transaction, or of one that may begin.
    fn is_admitted(&self, waiter: &Waiter, context: &Context<'_>) -> bool {
        match context.admission {
            Admission::Everybody => true,
            // A transaction may take in another database that it has attached.
            Admission::Nobody => {
                !self.begins(waiter) || context.running.contains(&(waiter.call.owner, waiter.call.tid))
            }
            Admission::Connected => waiter.domain.side == Side::Index || !self.begins(waiter),
        }
    }

    /// Whether a call begins a transaction, in whatever way its policy treats it.
    fn begins(&self, waiter: &Waiter) -> bool {
        let (holder, range) = (waiter.domain.holder, waiter.call.range);
        match (waiter.want, waiter.domain.side) {
            (Want::ReadStart(_) | Want::FirstWrite, _) => true,
            (Want::Immediate | Want::Record, Side::Main) => {
                range.overlaps(self.lock_bytes.all()) && !self.main.holds(holder, self.lock_bytes.all())
            }
            (Want::Immediate | Want::Record, Side::Index) => {
                let call = wal_index::classify(range, Some(waiter.kind));
                self.policy == Policy::Posix
                    && matches!(call, WalIndexCall::ReadMark | WalIndexCall::Write)
                    && !self.index.holds(holder, wal_index::TRANSACTION)
            }
            (Want::Drain | Want::Upgrade | Want::Orphan, _) => false,
        }
    }

    /// Whether the bounded hold is for this waiter: WAL, and it may be a reader.
    fn is_held_as_reader(&self, waiter: &Waiter) -> bool {
        waiter.want == Want::ReadStart(Intent::Unknown)
            && waiter.domain.side == Side::Index
            && self.policy == Policy::Turn
    }

    /// A read start on the database file waits while PENDING is held, or wanted by the owner of RESERVED.
    fn must_drain(&self, waiter: &Waiter, conflict: Option<Conflict>) -> bool {
        conflict.is_some()
            || (self.waiting.drains())
                .any(|other| other.domain != waiter.domain && other.call.range.overlaps(waiter.call.range))
    }

    /// Policy `serial`: whether any other domain is in a transaction.
    fn serial_must_wait(&self, domain: Domain) -> bool {
        self.policy == Policy::Serial
            && match domain.side {
                Side::Main => self.main.conflict(domain.holder, self.lock_bytes.all(), LockKind::Write).is_some(),
                Side::Index => self.index.conflict(domain.holder, wal_index::TRANSACTION, LockKind::Write).is_some(),
            }
    }

    fn held_long(&self, since: Timestamp, context: &Context<'_>) -> bool {
        context.now.since(since) >= context.config.reader_hold_ns
    }

    /// The turn, if another domain has it.
    pub(super) fn others_turn(&self, domain: Domain, now: Timestamp, config: &Config) -> Option<Turn> {
        self.turn.filter(|turn| turn.domain != domain && !turn.is_over(now, self.policy, config))
    }

    /// The write lock that another domain holds on the side of `domain`.
    pub(super) fn other_writer(&self, domain: Domain) -> Option<Conflict> {
        // A read lock collides with write records only.
        match domain.side {
            Side::Main => self.main.conflict(domain.holder, self.lock_bytes.all(), LockKind::Read),
            Side::Index => self.index.conflict(domain.holder, wal_index::WRITE_BYTE, LockKind::Read),
        }
    }

    /// Lets go everyone who may go now, in the order of the queue, and refuses whose time is up.
    pub(super) fn settle(&mut self, context: &mut Context<'_>) {
        self.end_turn_if_over(context);
        self.watch_writer();
        if let Some(watch) = &mut self.watch {
            watch.tick(context.now, context.config);
        }
        let mut line = false;
        let mut next = self.waiting.behind(None);
        while let Some((place, waiter)) = next {
            match self.judge_parked(place, &waiter, line, context) {
                Verdict::Wait => {
                    line |= waiter.want.takes_turn();
                    if line && self.rest_must_wait(context) {
                        break;
                    }
                }
                verdict => {
                    self.waiting.leave(waiter.ticket);
                    self.unpark(&waiter, context);
                    self.answer(&waiter, verdict, context);
                }
            }
            next = self.waiting.behind(Some(place));
        }
        self.watch_writer();
        self.probe_if_needed(context);
    }

    /// Keeps the watch on the transaction that writes now, while somebody who may be a reader waits behind it.
    fn watch_writer(&mut self) {
        let first = self.first_held_as_reader();
        let writer = first.and_then(|first| Some((first, Timestamp(self.index_writer()?.at_ns))));
        match (writer, self.watch) {
            (None, _) => self.watch = None,
            (Some((_, writer_at)), Some(watch)) if watch.is_of(writer_at) => {}
            (Some((first, writer_at)), _) => self.watch = Some(WriterWatch::new(writer_at, first)),
        }
    }

    /// When the first came that may be a reader. In the order of the line, which is that of arrival: a claim is a writer's.
    fn first_held_as_reader(&self) -> Option<Timestamp> {
        self.waiting.may_read().find(|waiter| self.is_held_as_reader(waiter)).map(|waiter| waiter.arrived)
    }

    /// Whether nobody further back can go while the line stands: keeps a long queue from being walked at each unlock.
    fn rest_must_wait(&self, context: &Context<'_>) -> bool {
        let first = self.first_held_as_reader();
        let over = |watch: WriterWatch| first.is_some_and(|first| watch.is_over(first, context.now, context.config));
        let writer_is_young = !self.watch.is_some_and(over);
        let in_time = self.waiting.first_deadline().is_none_or(|deadline| deadline > context.now);
        writer_is_young && in_time && self.waiting.is_uniform()
    }

    pub(super) fn index_writer(&self) -> Option<Conflict> {
        let nobody = crate::lock::Holder::posix(LockOwner(0));
        self.index.conflict(nobody, wal_index::WRITE_BYTE, LockKind::Read)
    }

    fn judge_parked(&mut self, place: Place, waiter: &Waiter, line: bool, context: &Context<'_>) -> Verdict {
        let verdict = self.judge(waiter, line, context);
        let late = waiter.deadline.is_some_and(|deadline| deadline <= context.now);
        if verdict != Verdict::Wait || !late {
            return verdict;
        }
        // The budget belongs to the hold: behind another hold than the one it was counted for it starts anew, but no
        // single call waits longer than the limit.
        let behind = self.hold_before(waiter, context);
        let fresh = waiter.arrived.plus(context.config.max_wait_ns);
        if behind != waiter.behind && fresh > context.now {
            let spent = behind.map_or(0, |hold| self.budgets.spent_ns(hold, waiter.call.owner));
            if spent < context.config.max_wait_ns {
                self.waiting.postpone(place, behind, fresh);
                return Verdict::Wait;
            }
        }
        Verdict::Deny(Denial::Deadline)
    }

    /// The hold that a waiter waits for.
    pub(super) fn blocking_hold(&self, waiter: &Waiter, config: &Config) -> Option<Hold> {
        self.blockers_of(waiter, config).first().map(|(hold, _)| *hold)
    }

    /// The same, or the end of the mount where no process is in the way: a wait for it ends like any other.
    pub(super) fn hold_before(&self, waiter: &Waiter, context: &Context<'_>) -> Option<Hold> {
        let leaving = || (context.admission == Admission::Nobody).then_some(Hold::LEAVING);
        self.blocking_hold(waiter, context.config).or_else(leaving)
    }

    /// Everyone that a waiter waits for: the holder of the turn while it can keep others out, and conflicting records.
    fn blockers_of(&self, waiter: &Waiter, _config: &Config) -> Vec<(Hold, Tid)> {
        let mut found = Vec::new();
        let of = |conflict: Conflict| Hold { owner: conflict.holder.owner, since_ns: conflict.at_ns };
        let tid_of = |conflict: &Conflict| {
            let records = self.table(waiter.domain.side).of(conflict.holder);
            records.iter().find(|record| record.range == conflict.range).map_or(Tid(0), |record| record.origin.tid)
        };
        if waiter.want.takes_turn() || waiter.want == Want::Upgrade {
            if let Some(turn) = self.turn.filter(|turn| turn.domain != waiter.domain) {
                found.push((Hold { owner: turn.domain.holder.owner, since_ns: turn.granted_at.0 }, turn.tid));
            } else if let Some(writer) = self.other_writer(waiter.domain) {
                found.push((of(writer), tid_of(&writer)));
            }
        }
        let table = self.table(waiter.domain.side);
        let conflicts = table.conflicts(waiter.domain.holder, waiter.call.range, waiter.kind);
        found.extend(conflicts.map(|conflict| (of(conflict), tid_of(&conflict))));
        found
    }

    /// The processes that a ticket waits for, for the wait graph: a turn whose owner only reads ends by itself, and is left
    /// out.
    pub(super) fn blockers(&self, ticket: Ticket, config: &Config) -> Vec<Blocker> {
        let Some(waiter) = self.waiting.of_ticket(ticket) else { return Vec::new() };
        let passing = self.turn.filter(|turn| !turn.is_writing() && self.policy != Policy::Serial);
        self.blockers_of(waiter, config)
            .into_iter()
            .filter(|(hold, _)| {
                passing.is_none_or(|turn| hold.owner != turn.domain.holder.owner || hold.since_ns != turn.granted_at.0)
            })
            .map(|(hold, tid)| Blocker { owner: hold.owner, tid: Some(tid) })
            .collect()
    }

    /// The processes that a waiter waits for, for tables.
    pub(super) fn blocking_owners(&self, waiter: &Waiter, config: &Config) -> Vec<LockOwner> {
        let mut owners: Vec<LockOwner> =
            self.blockers_of(waiter, config).into_iter().map(|(hold, _)| hold.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// When something changes by itself; `None` while nobody waits. What time alone does not change is left out: it would
    /// be due again as soon as it was looked at.
    pub(super) fn next_deadline(&self, config: &Config, admission: Admission) -> Option<Timestamp> {
        if self.waiting.is_empty() {
            return None;
        }
        let turn = self.turn.filter(|_| self.turn_is_wanted()).and_then(|turn| turn.ends_at(self.policy, config));
        let watch = self.watch.and_then(|watch| watch.next(config));
        let is_free = |waiter: &Waiter| {
            self.table(waiter.domain.side).conflict(waiter.domain.holder, waiter.call.range, waiter.kind).is_none()
        };
        let upgrade = self.waiting.upgrades().next().map(|waiter| waiter.arrived.plus(config.reader_hold_ns));
        // While the watch has something to do, that comes first.
        let held = self.watch.filter(|_| admission != Admission::Nobody && watch.is_none()).and_then(|settled| {
            let first = self.waiting.may_read().find(|waiter| self.is_held_as_reader(waiter) && is_free(waiter))?;
            Some(settled.due(first.arrived, config))
        });
        upgrade.into_iter().chain(held).chain(turn).chain(watch).chain(self.waiting.first_deadline()).min()
    }

    fn unpark(&mut self, waiter: &Waiter, context: &mut Context<'_>) {
        context.graph.leave(waiter.ticket);
        let waited_ns = context.now.since(waiter.arrived);
        context.totals.count_wait(waited_ns);
        self.counters.count_wait(waited_ns);
    }

    /// Whether the end of the turn would let somebody go.
    fn turn_is_wanted(&self) -> bool {
        self.waiting.takers_before(false) || self.waiting.upgrades().next().is_some()
    }

    fn probe_if_needed(&mut self, context: &mut Context<'_>) {
        let waits = self.turn_is_wanted();
        let policy = self.policy;
        let Some(turn) = &mut self.turn else {
            if let Some(watch) = &mut self.watch {
                watch.settle();
            }
            return;
        };
        if waits && turn.needs_probe(context.now, policy, context.config) {
            turn.probing(context.now, context.config);
            context.out.push(Decision::Probe { database: self.file, turn: turn.id, tid: turn.tid });
        }
        if let Some(watch) = &mut self.watch
            && watch.look(context.now, context.config)
        {
            if turn.is_writing() {
                context.out.push(Decision::Probe { database: self.file, turn: turn.id, tid: turn.tid });
            } else {
                watch.settle();
            }
        }
    }

    /// Ends the wait of one ticket with a refusal.
    pub(super) fn end_wait(&mut self, context: &mut Context<'_>, ticket: Ticket, why: Denial) {
        if let Some(waiter) = self.waiting.leave(ticket) {
            self.unpark(&waiter, context);
            self.answer(&waiter, Verdict::Deny(why), context);
            self.settle(context);
        }
    }
}
