//! What a database shows of itself; nothing here decides.

use crate::lock::{Holder, LockKind, LockOwner, Origin, Pid, Record, Tid};
use crate::sqlite::lock_bytes::wal_index;

use super::super::line::{Waiter, Want};
use super::super::view::{DatabaseView, HolderView, Tally, WaiterView};
use super::super::{Config, Timestamp};
use super::{Database, Domain, Side};

impl Database {
    /// Processes in a transaction.
    pub(in crate::manager) fn running(&self) -> impl Iterator<Item = Pid> + '_ {
        self.running_records().filter_map(|(_, _, records)| records.first().map(|record| record.origin.pid))
    }

    /// Threads in a transaction.
    pub(in crate::manager) fn running_threads(&self) -> impl Iterator<Item = (LockOwner, Tid)> + '_ {
        self.running_records()
            .flat_map(|(_, holder, records)| records.iter().map(move |record| (holder.owner, record.origin.tid)))
    }

    fn running_records(&self) -> impl Iterator<Item = (Side, Holder, &[Record])> + '_ {
        let wal = self.wal_active();
        let main = self
            .main
            .iter()
            .filter(move |(_, records)| !wal || records.iter().any(|record| record.kind == LockKind::Write));
        let index = self
            .index
            .iter()
            .filter(|(_, records)| records.iter().any(|record| record.range.overlaps(wal_index::TRANSACTION)));
        let on = |side| move |(holder, records): (Holder, _)| (side, holder, records);
        main.map(on(Side::Main)).chain(index.map(on(Side::Index)))
    }

    /// The processes that hold or want a lock of it.
    pub(in crate::manager) fn processes(&self) -> impl Iterator<Item = Pid> + '_ {
        let held = self.main.iter().chain(self.index.iter());
        let holders = held.flat_map(|(_, records)| records.iter().map(|record| record.origin.pid));
        holders.chain(self.waiting.iter().map(|waiter| waiter.call.pid))
    }

    pub(in crate::manager) fn view(&self, now: Timestamp, config: &Config, waiters_max: usize) -> DatabaseView {
        let holder_view = |side, holder, role, origin: &Origin| self.holder_view(side, holder, role, origin, now);
        let main = self.main.iter().filter_map(|(holder, records)| {
            let first = records.iter().min_by_key(|record| record.origin.at_ns)?;
            Some(holder_view(Side::Main, holder, self.lock_bytes.role(records), &first.origin))
        });
        let index = self.index.iter().flat_map(|(holder, records)| {
            records
                .iter()
                .map(move |record| holder_view(Side::Index, holder, wal_index::record_role(record), &record.origin))
        });
        DatabaseView {
            file: self.file,
            wal_index: self.index_file,
            wal: self.wal_active(),
            policy: self.policy,
            holders: main.chain(index).collect(),
            // Whom each waits for takes a walk through the holders.
            waiters: self.waiting.iter().take(waiters_max).map(|one| self.waiter_view(one, now, config)).collect(),
            waiters_total: self.waiting.len() as u64,
            oldest_wait_ns: self.waiting.iter().map(|waiter| now.since(waiter.arrived)).max().unwrap_or(0),
            counters: self.counters.clone(),
        }
    }

    fn holder_view(
        &self,
        side: Side,
        holder: Holder,
        role: &'static str,
        origin: &Origin,
        now: Timestamp,
    ) -> HolderView {
        HolderView {
            role,
            owner: holder.owner,
            pid: origin.pid,
            tid: origin.tid,
            age_ns: now.since(Timestamp(origin.at_ns)),
            turn: self.turn.is_some_and(|turn| turn.domain == Domain { side, holder }),
        }
    }

    /// The counts, and who has been in a transaction for longest.
    pub(in crate::manager) fn tally(&self, now: Timestamp) -> Tally {
        // DMS lasts as long as its connection.
        let counts = |side, record: &Record| side == Side::Main || record.range.overlaps(wal_index::TRANSACTION);
        let oldest = self
            .running_records()
            .flat_map(|(side, holder, records)| records.iter().map(move |record| (side, holder, records, record)))
            .filter(|(side, _, _, record)| counts(*side, record))
            .min_by_key(|(_, _, _, record)| record.origin.at_ns)
            .map(|(side, holder, records, record)| {
                let role = match side {
                    Side::Main => self.lock_bytes.role(records),
                    Side::Index => wal_index::record_role(record),
                };
                self.holder_view(side, holder, role, &record.origin, now)
            });
        Tally {
            file: self.file,
            wal_index: self.index_file,
            counters: self.counters.clone(),
            holders: (self.main.iter().count() + self.index.len()) as u64,
            waiters: self.waiting.len() as u64,
            oldest,
        }
    }

    fn waiter_view(&self, waiter: &Waiter, now: Timestamp, config: &Config) -> WaiterView {
        let role = match waiter.want {
            Want::ReadStart(_) => "TURN",
            _ => match waiter.domain.side {
                Side::Main => self.lock_bytes.call_role(waiter.call.range, waiter.kind),
                Side::Index => wal_index::role(waiter.call.range),
            },
        };
        let pid_of = |owner: LockOwner| {
            let turn = self.turn.filter(|turn| turn.domain.holder.owner == owner).map(|turn| turn.pid);
            let held = [&self.main, &self.index].into_iter().find_map(|table| {
                let holder = table.holders_of(owner).next()?;
                table.of(holder).first().map(|record| record.origin.pid)
            });
            turn.or(held).unwrap_or(Pid(0))
        };
        let blocked_by = self.blocking_owners(waiter, config).into_iter().map(pid_of).collect();
        WaiterView {
            role,
            owner: waiter.call.owner,
            pid: waiter.call.pid,
            tid: waiter.call.tid,
            age_ns: now.since(waiter.arrived),
            left_ns: waiter.deadline.map_or(u64::MAX, |deadline| deadline.since(now)),
            blocked_by,
        }
    }
}
