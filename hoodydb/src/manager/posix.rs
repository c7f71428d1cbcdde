//! A file that is no database: record locks exactly as fcntl(2) describes them.
//!
//! `F_SETLK` is answered at once, `F_SETLKW` waits without limit, `close()` of any descriptor drops all of the owner's locks.

use serde::{Deserialize, Serialize};

use crate::lock::{ByteRange, Conflict, FileId, Handle, Holder, LockKind, LockOwner, LockTable, Origin};

use super::deadlock::Blocker;
use super::{Context, Decision, Denial, LockCall, Ticket, Timestamp};

#[derive(Serialize, Deserialize)]
pub(super) struct PosixFile {
    pub(super) file: FileId,
    table: LockTable,
    pub(super) waiting: Vec<(Ticket, LockCall, Timestamp)>,
}

impl PosixFile {
    pub(super) fn new(file: FileId) -> Self {
        Self { file, table: LockTable::default(), waiting: Vec::new() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.table.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn records(&self) -> usize {
        self.table.len()
    }

    pub(super) fn records_of(&self, owner: LockOwner) -> usize {
        self.table.of(Holder::posix(owner)).len()
    }

    pub(super) fn test(&self, owner: LockOwner, range: ByteRange, kind: LockKind) -> Option<Conflict> {
        self.table.conflict(Holder::posix(owner), range, kind)
    }

    pub(super) fn set(&mut self, context: &mut Context<'_>, ticket: Ticket, call: &LockCall, full: bool) {
        let Some(kind) = call.kind else {
            self.table.unlock(Holder::posix(call.owner), call.range);
            context.out.push(Decision::Answer(ticket, Ok(())));
            return self.wake(context);
        };
        let full = full || self.table.of(Holder::posix(call.owner)).len() >= context.config.max_records_per_holder;
        if full {
            return self.deny(context, ticket, Denial::Limit);
        }
        if self.test(call.owner, call.range, kind).is_none() {
            self.grant(context, ticket, call, kind);
            // Turning a write lock into a read lock may let readers in.
            return self.wake(context);
        }
        if !call.wait {
            return self.deny(context, ticket, Denial::Conflict);
        }
        if !context.graph.has_room(call.owner, context.config) {
            return self.deny(context, ticket, Denial::Limit);
        }
        context.totals.waited += 1;
        context.graph.park(ticket, self.file, call.owner, call.tid);
        self.waiting.push((ticket, *call, context.now));
    }

    pub(super) fn flush(&mut self, context: &mut Context<'_>, owner: LockOwner) {
        // fcntl(2): "If a process closes any file descriptor referring to a file, then all of the process's locks on
        // that file are released, regardless of the file descriptor(s) on which the locks were obtained."
        if self.table.drop_of(owner, None) {
            self.wake(context);
        }
    }

    pub(super) fn release(&mut self, context: &mut Context<'_>, handle: Handle) {
        // Open file description locks (F_OFD_SETLK) end here; the kernel sends no unlock for them.
        if self.table.drop_handle(handle) {
            self.wake(context);
        }
    }

    pub(super) fn cancel(&mut self, context: &mut Context<'_>, ticket: Ticket) {
        self.end_wait(context, ticket, Denial::Cancelled { wait: true });
    }

    pub(super) fn deny_deadlock(&mut self, context: &mut Context<'_>, ticket: Ticket) {
        self.end_wait(context, ticket, Denial::Deadlock { posix: true });
    }

    pub(super) fn blockers(&self, ticket: Ticket) -> Vec<Blocker> {
        let Some((_, call, _)) = self.waiting.iter().find(|(waiting, ..)| *waiting == ticket) else {
            return Vec::new();
        };
        let Some(kind) = call.kind else { return Vec::new() };
        // The kernel asks which owner is waited for, not which thread (locks.c, posix_locks_deadlock).
        let conflicts = self.table.conflicts(Holder::posix(call.owner), call.range, kind);
        conflicts.map(|conflict| Blocker { owner: conflict.holder.owner, tid: None }).collect()
    }

    fn end_wait(&mut self, context: &mut Context<'_>, ticket: Ticket, why: Denial) {
        if let Some(at) = self.waiting.iter().position(|(waiting, ..)| *waiting == ticket) {
            let (_, _, arrived) = self.waiting.remove(at);
            context.graph.leave(ticket);
            context.totals.count_wait(context.now.since(arrived));
            self.deny(context, ticket, why);
        }
    }

    fn wake(&mut self, context: &mut Context<'_>) {
        let mut at = 0;
        while let Some((ticket, call, arrived)) = self.waiting.get(at).copied() {
            match call.kind {
                Some(kind) if self.test(call.owner, call.range, kind).is_none() => {
                    self.waiting.remove(at);
                    context.graph.leave(ticket);
                    context.totals.count_wait(context.now.since(arrived));
                    self.grant(context, ticket, &call, kind);
                }
                _ => at += 1,
            }
        }
    }

    fn grant(&mut self, context: &mut Context<'_>, ticket: Ticket, call: &LockCall, kind: LockKind) {
        let origin = Origin { handle: call.handle, pid: call.pid, tid: call.tid, at_ns: context.now.0 };
        self.table.set(Holder::posix(call.owner), call.range, kind, origin);
        context.totals.granted += 1;
        context.out.push(Decision::Answer(ticket, Ok(())));
    }

    fn deny(&mut self, context: &mut Context<'_>, ticket: Ticket, why: Denial) {
        context.totals.count_denial(why);
        context.out.push(Decision::Answer(ticket, Err(why)));
    }
}
