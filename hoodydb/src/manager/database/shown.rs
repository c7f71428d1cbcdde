//! What a database shows of itself; nothing here decides.

use crate::lock::{Holder, LockKind, LockOwner, Origin, Pid, Record, Tid};
use crate::sqlite::lock_bytes::wal_index;

use super::super::line::{Waiter, Want};
use super::super::view::{DatabaseView, HolderView, WaiterView};
use super::super::{Config, Timestamp};
use super::{Database, Domain, Side};

impl Database {
    /// Processes in a transaction.
    pub(in crate::manager) fn running(&self) -> impl Iterator<Item = Pid> + '_ {
        self.running_records().filter_map(|(_, records)| records.first().map(|record| record.origin.pid))
    }

    /// Threads in a transaction.
    pub(in crate::manager) fn running_threads(&self) -> impl Iterator<Item = (LockOwner, Tid)> + '_ {
        self.running_records()
            .flat_map(|(holder, records)| records.iter().map(move |record| (holder.owner, record.origin.tid)))
    }

    fn running_records(&self) -> impl Iterator<Item = (Holder, &[Record])> + '_ {
        let wal = self.wal_active();
        let main = self
            .main
            .iter()
            .filter(move |(_, records)| !wal || records.iter().any(|record| record.kind == LockKind::Write));
        let index = self
            .index
            .iter()
            .filter(|(_, records)| records.iter().any(|record| record.range.overlaps(wal_index::TRANSACTION)));
        main.chain(index)
    }

    /// The processes that hold or want a lock of it.
    pub(in crate::manager) fn processes(&self) -> impl Iterator<Item = Pid> + '_ {
        let held = self.main.iter().chain(self.index.iter());
        let holders = held.flat_map(|(_, records)| records.iter().map(|record| record.origin.pid));
        holders.chain(self.waiting.iter().map(|waiter| waiter.call.pid))
    }

    pub(in crate::manager) fn view(&self, now: Timestamp, config: &Config) -> DatabaseView {
        let has_turn = |side, holder| self.turn.is_some_and(|turn| turn.domain == Domain { side, holder });
        let holder_view = |side, holder: Holder, role, origin: &Origin| HolderView {
            role,
            owner: holder.owner,
            pid: origin.pid,
            tid: origin.tid,
            age_ns: now.since(Timestamp(origin.at_ns)),
            turn: has_turn(side, holder),
        };
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
            waiters: self.waiting.iter().map(|waiter| self.waiter_view(waiter, now, config)).collect(),
            counters: self.counters.clone(),
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
