//! The writing lane: short tasks share a commit, each within a savepoint; others have a transaction of their own.

use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use super::super::connection::{Handle, PAUSES, Purpose, patiently};
use super::super::gate::{Kind, Pass};
use super::super::work::{Create, Mode, Outcome};
use super::super::{Failure, Threads, sql};
use super::{Database, Queued, SHARED_MAX, expire, fail_all};

/// How long a writer of a WAL database keeps readers from joining, to be queued by the mount.
const DRAIN: Duration = Duration::from_millis(20);

impl Database {
    /// Works on the writing lane until it is empty.
    pub(super) fn write(&self, threads: &dyn Threads) {
        loop {
            let tasks = self.take(false);
            let Some(first) = tasks.first() else { return };
            if first.mode == Mode::Exclusive {
                tasks.into_iter().for_each(|task| self.alone_with_the_file(task, threads));
                continue;
            }
            self.write_some(tasks, threads);
        }
    }

    /// Connects for tasks of which some may make the file.
    fn connect_for(&self, tasks: &mut Vec<Queued>) -> Result<Handle, Failure> {
        match self.connect(Purpose::Write, Create::No) {
            Err(failure) if failure.code == "DATABASE_NOT_FOUND" => {
                let Some(create) = tasks.iter().map(|task| task.create).find(|create| *create != Create::No) else {
                    return Err(failure);
                };
                let (makers, others) = std::mem::take(tasks).into_iter().partition(|task| task.create != Create::No);
                *tasks = makers;
                fail_all(others, &failure);
                self.connect(Purpose::Write, create)
            }
            connected => connected,
        }
    }

    fn write_some(&self, mut tasks: Vec<Queued>, threads: &dyn Threads) {
        let mut handle = match self.connect_for(&mut tasks) {
            Ok(handle) => handle,
            Err(failure) => return fail_all(tasks, &failure),
        };
        while !tasks.is_empty() {
            let _pass = match self.acquire(&mut handle, &mut tasks, threads) {
                Ok(pass) => pass,
                Err(failure) => {
                    fail_all(tasks, &failure);
                    break;
                }
            };
            self.join(&mut tasks);
            tasks = self.transact(&handle, tasks);
        }
        self.keep(Purpose::Write, handle);
    }

    /// Takes the write lock, and gives the pass for it.
    ///
    /// Without readers of this process the mount queues the request. Beside them, which only a WAL database allows, it can but try: the
    /// process holds a read lock already, so there is no call that could wait.
    fn acquire(
        &self,
        handle: &mut Handle,
        tasks: &mut Vec<Queued>,
        threads: &dyn Threads,
    ) -> Result<Pass<'_>, Failure> {
        let mut pauses = PAUSES.iter().copied();
        let mut refusals = 0;
        loop {
            let last = tasks.iter().map(|task| task.deadline).max().unwrap_or_else(Instant::now);
            let pass = if !handle.is_wal {
                self.gate.enter(Kind::Alone, last, threads)
            } else if refusals == 0 && self.gate.has_readers() {
                self.gate.enter(Kind::Beside, last, threads)
            } else {
                let drained = self.gate.enter(Kind::Alone, last.min(Instant::now() + DRAIN), threads);
                drained.or_else(|| self.gate.enter(Kind::Beside, last, threads))
            };
            let Some(mut pass) = pass else { return Err(Failure::busy()) };
            match pass.acquire(threads, || handle.begin_write()) {
                Ok(()) if handle.is_wal => {
                    pass.admit_readers();
                    return Ok(pass);
                }
                Ok(()) if pass.is_alone() => return Ok(pass),
                // It is no WAL database any more: readers of this process would be in the way of the COMMIT.
                Ok(()) => handle.roll_back(),
                Err(failure) if failure.code != "DATABASE_BUSY" => return Err(failure),
                Err(failure) => {
                    drop(pass);
                    refusals += 1;
                    if expire(tasks) {
                        return Err(failure);
                    }
                    std::thread::sleep(pauses.next().unwrap_or(PAUSES[PAUSES.len() - 1]));
                }
            }
        }
    }

    /// Lets short tasks that came while the lock was waited for share the commit.
    fn join(&self, tasks: &mut Vec<Queued>) {
        if !tasks.iter().all(Queued::is_shared) {
            return;
        }
        let mut lanes = self.lanes();
        while tasks.len() < SHARED_MAX && lanes.writes.front().is_some_and(Queued::is_shared) {
            tasks.extend(lanes.writes.pop_front());
        }
    }

    /// Runs tasks in the transaction that is open and commits; gives back those that another's failure has undone.
    fn transact(&self, handle: &Handle, tasks: Vec<Queued>) -> Vec<Queued> {
        let mut done: Vec<(Queued, Outcome)> = Vec::with_capacity(tasks.len());
        let mut tasks = tasks.into_iter();
        while let Some(mut task) = tasks.next() {
            if !task.slot.begin() {
                continue;
            }
            let outcome = self.attempt(handle, &mut task);
            if handle.sqlite().is_autocommit() {
                // SQLite has rolled the whole transaction back: this one's failure is its own, the others run again.
                self.answer(&task, outcome);
                return done.into_iter().map(|(task, _)| task.anew()).chain(tasks).collect();
            }
            done.push((task, outcome));
        }
        let last = done.iter().map(|(task, _)| task.deadline).max();
        let committed = self.commit(handle, last);
        if committed.is_err() {
            handle.roll_back();
            if done.len() > 1 {
                // Whose fault it was shows when each commits alone.
                let alone = done.into_iter().map(|(task, _)| Queued { mode: Mode::WriteAlone, ..task.anew() });
                self.lanes().writes.extend(alone);
                return Vec::new();
            }
        }
        for (task, outcome) in done {
            self.answer(&task, settled(&committed, outcome));
        }
        self.commits.wake();
        Vec::new()
    }

    /// Runs one task; what it changed stays only if it is done well.
    fn attempt(&self, handle: &Handle, task: &mut Queued) -> Outcome {
        let session = handle.session(self, task.now, task.deadline);
        if !task.is_shared() {
            let outcome = (task.job)(&session);
            if outcome.is_err() {
                handle.roll_back();
            }
            return outcome;
        }
        let savepoint = |statement: &str| handle.sqlite().prepare_cached(statement)?.execute([]).map(|_| ());
        savepoint("SAVEPOINT task")?;
        let outcome = (task.job)(&session);
        handle.set_deadline(None);
        if !handle.sqlite().is_autocommit() {
            if outcome.is_err() {
                savepoint("ROLLBACK TO task")?;
            }
            savepoint("RELEASE task")?;
        }
        outcome
    }

    fn commit(&self, handle: &Handle, deadline: Option<Instant>) -> Result<(), Failure> {
        handle.set_deadline(None);
        let is_over = || deadline.is_none_or(|deadline| Instant::now() >= deadline);
        patiently(
            || {
                handle.commit().map_err(|error| match error.sqlite_error_code() {
                    Some(ErrorCode::ConstraintViolation) => Failure::from(error).at(-1),
                    _ => Failure::from(error),
                })
            },
            is_over,
        )
    }

    /// Runs a task that no other of this server runs beside, without a transaction.
    fn alone_with_the_file(&self, mut task: Queued, threads: &dyn Threads) {
        let Some(_pass) = self.gate.enter(Kind::Alone, task.deadline, threads) else {
            return task.slot.fail(Failure::busy());
        };
        self.forget();
        let handle = match self.connect(Purpose::Write, task.create) {
            Ok(handle) => handle,
            Err(failure) => return task.slot.fail(failure),
        };
        if let Err(failure) = patiently(|| handle.touch(), || task.is_over()) {
            return task.slot.fail(failure);
        }
        if !task.slot.begin() {
            return;
        }
        let outcome = (task.job)(&handle.session(self, task.now, task.deadline));
        handle.roll_back();
        self.answer(&task, outcome);
        self.commits.wake();
    }

    /// Answers a task, and tells the query history.
    pub(super) fn answer(&self, task: &Queued, outcome: Outcome) {
        let wrote = !matches!(task.mode, Mode::Read | Mode::ReadAlone);
        match outcome {
            Ok(answer) => {
                self.history.forget(answer.flushed);
                self.history.add(answer.records, &task.client, wrote);
                task.slot.fill(answer.response);
            }
            Err(mut failure) => {
                self.history.add(std::mem::take(&mut failure.records), &task.client, wrote);
                task.slot.fail(failure);
            }
        }
    }
}

/// What came of work whose transaction has ended: the query history is told that what was done is undone.
fn settled(committed: &Result<(), Failure>, outcome: Outcome) -> Outcome {
    let Err(failure) = committed else { return outcome };
    let mut records = outcome.map_or_else(|failure| failure.records, |answer| answer.records);
    sql::undo(&mut records);
    Err(failure.clone().recorded(records))
}
