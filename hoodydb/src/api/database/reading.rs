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
            match self.connect(Purpose::Read, Create::No) {
                Err(failure) => fail_all(tasks, &failure),
                Ok(handle) => {
                    if self.read_some(&handle, tasks, threads) {
                        self.keep(Purpose::Read, handle);
                    }
                }
            }
        }
    }

    /// Answers tasks from one snapshot; whether the connection is as it was.
    fn read_some(self: &Arc<Self>, handle: &Handle, mut tasks: Vec<Queued>, threads: &Arc<dyn Threads>) -> bool {
        let last = tasks.iter().map(|task| task.deadline).max();
        let Some(pass) = last.and_then(|deadline| self.gate.enter(Kind::Read, deadline, &**threads)) else {
            fail_all(tasks, &Failure::busy());
            return true;
        };
        if let Err(failure) = patiently(|| handle.begin_read(), || expire(&mut tasks)) {
            fail_all(tasks, &failure);
            return false;
        }
        let mut again = Vec::new();
        for mut task in tasks {
            if !task.slot.begin() {
                continue;
            }
            let session = handle.session(&self.path, task.now, task.deadline, self.max_response_bytes);
            match (task.job)(&session) {
                Err(failure) if failure.code == "DATABASE_READONLY" && task.mode == Mode::ReadAlone => {
                    task.mode = Mode::WriteAlone;
                    again.push(task);
                }
                outcome => self.answer(&task, outcome),
            }
        }
        handle.roll_back();
        drop(pass);
        for task in again {
            self.submit(task, threads);
        }
        true
    }
}
