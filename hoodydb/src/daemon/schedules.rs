//! Backups that are made again and again, each run by a process of its own: the daemon opens no file on its mount.
//!
//! Called by the daemon's sweep, once a second, and by the control socket.
//!
//! # Layout
//! ```text
//! DATA/.hoodydb/schedules.json     what is to be done, when it was last begun, how it ended
//! DATA/.hoodydb/schedules/ID.out   standard output of the run: one object of JSON at its end
//!                         ID.err   its standard error
//! ```
//! `ID.out` is locked by flock(2) while the run lives: the run has the lock with its standard output, and loses it however it
//! dies. So a worker that takes over knows which runs are at work, and nothing is begun twice.

mod run;
mod store;

use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::backing::Backing;
use super::{DaemonError, Options};
use crate::model::{NewSchedule, ScheduleRun, ScheduleStatus, text_of};
use store::{Ended, Entry, Store, Stored};

/// Most schedules of a mount.
const SCHEDULES_MAX: usize = 100;

/// The schedules of a mount.
#[derive(Debug)]
pub(super) struct Schedules {
    store: Store,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Or why it cannot be read: databases are served all the same.
    stored: Result<Stored, String>,
    children: Vec<Child>,
}

impl Schedules {
    /// Reads what was stored. What cannot be read is shown by `status`, and left as it is.
    pub(super) fn load(backing: &Backing) -> Result<Self, DaemonError> {
        let store = Store::open(backing)?;
        let stored = store.read();
        if let Err(error) = &stored {
            tracing::error!(error, "no backup is made by a schedule");
        }
        Ok(Self { store, state: Mutex::new(State { stored, children: Vec::new() }) })
    }

    /// Sees which runs have ended, and begins those that are due.
    pub(super) fn tick(&self, options: &Options) {
        let mut state = self.lock();
        let State { stored, children } = &mut *state;
        // Whoever has ended is no zombie any more; how it ended is told by its files.
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let Ok(stored) = stored else { return };
        let now = now_ms();
        let mut changed = false;
        for entry in &mut stored.schedules {
            if entry.running_since_ms.is_some() && !run::is_alive(&self.store, entry.id) {
                end(entry, run::outcome(&self.store, entry.id), now);
                changed = true;
            }
        }
        for id in stored.schedules.iter().filter(|entry| entry.is_due(now)).map(|entry| entry.id).collect::<Vec<_>>() {
            // On the disk before it begins: a worker that dies in between leaves a run that failed, not one that nobody knows.
            let Some(entry) = stored.schedules.iter_mut().find(|entry| entry.id == id) else { continue };
            entry.begin(now);
            match run::begin(&self.store, entry, options) {
                Ok(child) => children.push(child),
                Err(error) => end(entry, Ended::failed(format!("the run cannot begin: {error}")), now),
            }
            changed = true;
        }
        if changed && let Err(error) = self.store.write(stored) {
            tracing::error!(%error, "cannot store how the schedules of backups went");
        }
    }

    /// A new schedule, on the disk when this returns. Its first run is due at once.
    pub(super) fn add(&self, new: NewSchedule) -> Result<ScheduleStatus, String> {
        if new.every_s == 0 || !new.to.is_absolute() {
            return Err("a schedule needs a length of time and an absolute directory".to_owned());
        }
        self.change(|stored| {
            if stored.schedules.len() >= SCHEDULES_MAX {
                return Err(format!("there are {SCHEDULES_MAX} schedules already: remove one first"));
            }
            stored.last_id += 1;
            let entry = Entry::new(stored.last_id, new.clone());
            stored.schedules.push(entry.clone());
            Ok(entry)
        })
    }

    /// No more runs of a schedule.
    pub(super) fn remove(&self, id: u64) -> Result<ScheduleStatus, String> {
        let removed = self.change(|stored| {
            let at = stored.schedules.iter().position(|entry| entry.id == id);
            Ok(stored.schedules.remove(at.ok_or_else(|| format!("there is no schedule {id}"))?))
        })?;
        // A run that is at work has its files open.
        run::forget(&self.store, id);
        Ok(removed)
    }

    /// What `status` shows, and why it is nothing.
    pub(super) fn status(&self) -> (Vec<ScheduleStatus>, Option<String>) {
        let now = now_ms();
        match &self.lock().stored {
            Ok(stored) => (stored.schedules.iter().map(|entry| status_of(entry, now)).collect(), None),
            Err(error) => (Vec::new(), Some(error.clone())),
        }
    }

    /// The mount goes away: runs that are at work are asked to end.
    pub(super) fn stop(&self) {
        let state = self.lock();
        let Ok(stored) = &state.stored else { return };
        for entry in &stored.schedules {
            if let Some(pid) = entry.pid.filter(|_| entry.running_since_ms.is_some())
                && run::is_alive(&self.store, entry.id)
            {
                run::ask_to_end(pid);
            }
        }
    }

    /// Begins nothing any more, for good: this process is about to become another program, with every descriptor open to what it
    /// starts.
    pub(super) fn freeze(&self) {
        std::mem::forget(self.lock());
    }

    fn change(&self, change: impl FnOnce(&mut Stored) -> Result<Entry, String>) -> Result<ScheduleStatus, String> {
        let mut state = self.lock();
        let mut stored = state.stored.clone()?;
        let entry = change(&mut stored)?;
        self.store.write(&stored).map_err(|error| format!("cannot store the schedules: {error}"))?;
        state.stored = Ok(stored);
        Ok(status_of(&entry, now_ms()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is stored is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end of a run, loudly if it failed.
fn end(entry: &mut Entry, ended: Ended, now_ms: u64) {
    match &ended.error {
        None => tracing::info!(schedule = entry.id, backups = ended.backups, "a backup by schedule"),
        Some(error) => tracing::error!(schedule = entry.id, error, "a backup by schedule failed"),
    }
    entry.end(ended, now_ms);
}

fn status_of(entry: &Entry, now_ms: u64) -> ScheduleStatus {
    let last = entry.last.as_ref().map(|last| ScheduleRun {
        ok: last.error.is_none(),
        error: last.error.clone(),
        started_s: last.started_ms / 1000,
        age_s: now_ms.saturating_sub(last.started_ms) / 1000,
        duration_ms: last.duration_ms,
        backups: last.backups,
        file_bytes: last.file_bytes,
    });
    ScheduleStatus {
        id: entry.id,
        databases: entry.what.databases.iter().map(text_of).collect(),
        to: text_of(&entry.what.to),
        every_s: entry.what.every_s,
        options: entry.what.options.clone(),
        running: entry.running_since_ms.is_some(),
        next_in_s: if entry.running_since_ms.is_some() { 0 } else { entry.due_ms().saturating_sub(now_ms) / 1000 },
        last,
        runs_total: entry.runs,
        failures_total: entry.failures,
        failures_in_a_row: entry.failures_in_a_row,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
