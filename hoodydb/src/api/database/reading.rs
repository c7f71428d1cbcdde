//! The reading lane: short tasks share a snapshot, others have one of their own.

use std::sync::Arc;

use super::super::connection::{Handle, Purpose, patiently};
use super::super::gate::Kind;
use super::super::work::{Create, Mode};
use super::super::{Failure, Threads};
use super::{Database, Queued, expire, fail_all};

impl Database {
    /// Works on the reading lane until it is empty.
    pub(super) fn read(self: &Arc<Self>, threads: &Arc<dyn Threads>) {
        loop {
            let tasks = self.take(true);
            if tasks.is_empty() {
                return;
            }
            // The connection is opened and given back behind the gate: one that waits there would keep a file that is to go in use.
            let last = tasks.iter().map(|task| task.deadline).max();
            let Some(pass) = last.and_then(|deadline| self.gate.enter(Kind::Read, deadline, &**threads)) else {
                fail_all(tasks, &Failure::busy());
                continue;
            };
            let again = match self.connect(Purpose::Read, Create::No) {
                Err(failure) => self.unconnected(tasks, &failure),
                Ok(handle) => self.read_some(handle, tasks),
            };
            drop(pass);
            for task in again {
                self.submit(Queued { mode: Mode::WriteAlone, ..task }, threads);
            }
        }
    }

    /// Fails tasks that have no file; gives back those that may make it.
    fn unconnected(&self, tasks: Vec<Queued>, failure: &Failure) -> Vec<Queued> {
        let makes = |task: &Queued| failure.code == "DATABASE_NOT_FOUND" && task.create != Create::No;
        let (makers, others) = tasks.into_iter().partition(makes);
        fail_all(others, failure);
        makers
    }

    /// Answers tasks from one snapshot; gives back those that have to write.
    fn read_some(&self, handle: Handle, mut tasks: Vec<Queued>) -> Vec<Queued> {
        if let Err(failure) = patiently(|| handle.begin_read(), || expire(&mut tasks)) {
            fail_all(tasks, &failure);
            return Vec::new();
        }
        let mut again = Vec::new();
        for mut task in tasks {
            if !task.slot.begin() {
                continue;
            }
            let session = handle.session(self, task.now, task.deadline);
            match (task.job)(&session) {
                Err(failure) if failure.code == "DATABASE_READONLY" && task.mode == Mode::ReadAlone => {
                    again.push(task.anew());
                }
                outcome => self.answer(&task, outcome),
            }
        }
        handle.roll_back();
        self.keep(Purpose::Read, handle);
        again
    }
}
