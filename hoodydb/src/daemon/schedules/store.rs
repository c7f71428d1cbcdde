//! What is known of the schedules, on the disk.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::daemon::DaemonError;
use crate::daemon::backing::{Backing, OWN_DIR};
use crate::model::NewSchedule;

const FILE: &str = "schedules.json";
const NEW_FILE: &str = "schedules.json.new";
const RUNS: &str = "schedules";

/// The version of the format.
const VERSION: u32 = 1;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    version: u32,
    /// The number that was given last.
    pub(super) last_id: u64,
    pub(super) schedules: Vec<Entry>,
}

/// One schedule. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) what: NewSchedule,
    /// When the last run was begun; none was if none.
    begun_ms: Option<u64>,
    /// The same while its end was not seen.
    pub(super) running_since_ms: Option<u64>,
    /// Its process.
    pub(super) pid: Option<u32>,
    pub(super) last: Option<Ended>,
    pub(super) runs: u64,
    pub(super) failures: u64,
    pub(super) failures_in_a_row: u64,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) error: Option<String>,
    pub(super) started_ms: u64,
    /// None where nobody knows.
    #[serde(skip)]
    pub(super) ended_ms: Option<u64>,
    pub(super) duration_ms: u64,
    pub(super) backups: u64,
    pub(super) file_bytes: u64,
}

impl Ended {
    pub(super) fn failed(why: String) -> Self {
        Self { error: Some(why), ..Self::default() }
    }
}

impl Entry {
    pub(super) fn new(id: u64, what: NewSchedule) -> Self {
        Self {
            id,
            what,
            begun_ms: None,
            running_since_ms: None,
            pid: None,
            last: None,
            runs: 0,
            failures: 0,
            failures_in_a_row: 0,
        }
    }

    /// When the next run is to begin.
    pub(super) fn due_ms(&self) -> u64 {
        self.begun_ms.map_or(0, |begun| begun.saturating_add(self.what.every_s.saturating_mul(1000)))
    }

    /// Whether it is to begin now. A clock that was put back by more than a period does not put the next run off.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let is_from_the_future = self.begun_ms.is_some_and(|begun| begun > now_ms);
        self.running_since_ms.is_none() && (now_ms >= self.due_ms() || is_from_the_future)
    }

    pub(super) fn begin(&mut self, now_ms: u64) {
        self.begun_ms = Some(now_ms);
        self.running_since_ms = Some(now_ms);
        self.pid = None;
    }

    pub(super) fn end(&mut self, ended: Ended, now_ms: u64) {
        let started_ms = self.running_since_ms.take().unwrap_or(now_ms);
        self.pid = None;
        self.runs += 1;
        if ended.error.is_some() {
            self.failures += 1;
            self.failures_in_a_row += 1;
        } else {
            self.failures_in_a_row = 0;
        }
        let ended_ms = ended.ended_ms.filter(|ended| *ended >= started_ms).unwrap_or(now_ms);
        self.last = Some(Ended { started_ms, duration_ms: ended_ms.saturating_sub(started_ms), ..ended });
    }
}

/// The files.
#[derive(Debug)]
pub(super) struct Store {
    own_dir: OwnedFd,
    runs: OwnedFd,
    /// For messages.
    name: String,
}

impl Store {
    pub(super) fn open(backing: &Backing) -> Result<Self, DaemonError> {
        let path = backing.path().join(OWN_DIR);
        let fault = |source| DaemonError::Path { action: "cannot open", path: path.join(RUNS), source };
        let own_dir = backing.own_dir().try_clone().map_err(fault)?;
        match rustix::fs::mkdirat(&own_dir, RUNS, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => (),
            Err(error) => return Err(fault(error.into())),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let runs = rustix::fs::openat(&own_dir, RUNS, flags, Mode::empty()).map_err(|error| fault(error.into()))?;
        Ok(Self { own_dir, runs, name: crate::model::printable(path.join(FILE)) })
    }

    /// What is stored; nothing is no error.
    pub(super) fn read(&self) -> Result<Stored, String> {
        let wrong = |reason: String| format!("{} cannot be read ({reason}): put it aside or mend it", self.name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = match rustix::fs::openat(&self.own_dir, FILE, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => {
                return Ok(Stored { version: VERSION, last_id: 0, schedules: Vec::new() });
            }
            opened => opened.map_err(|error| wrong(error.to_string()))?.into(),
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if stored.version != VERSION {
            return Err(wrong(format!("it has version {}, this hoodydb knows version {VERSION}", stored.version)));
        }
        Ok(stored)
    }

    /// Whole or not at all: a new file, synced, takes the old one's name.
    pub(super) fn write(&self, stored: &Stored) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(stored)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = rustix::fs::openat(&self.own_dir, NEW_FILE, flags, Mode::RUSR | Mode::WUSR)?.into();
        file.write_all(&text)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.own_dir, NEW_FILE, &self.own_dir, FILE)?;
        rustix::fs::fsync(&self.own_dir)?;
        Ok(())
    }

    /// Opens a file of a run.
    pub(super) fn open_run(&self, id: u64, ending: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("{id}.{ending}");
        Ok(rustix::fs::openat(&self.runs, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Removes a file of a run.
    pub(super) fn remove_run(&self, id: u64, ending: &str) {
        let _ = rustix::fs::unlinkat(&self.runs, format!("{id}.{ending}"), rustix::fs::AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::new(1, NewSchedule { every_s: 60, ..NewSchedule::default() })
    }

    #[test]
    fn runs_are_a_period_apart_from_start_to_start() {
        let mut entry = entry();
        assert!(entry.is_due(1_000_000), "the first at once");
        entry.begin(1_000_000);
        assert!(!entry.is_due(2_000_000), "it runs");
        entry.end(Ended::default(), 1_050_000);
        assert_eq!(entry.due_ms(), 1_060_000);
        assert!(!entry.is_due(1_059_999) && entry.is_due(1_060_000));
        assert!(entry.is_due(900_000), "the clock was put back");
    }

    #[test]
    fn failures_are_counted_until_a_success() {
        let mut entry = entry();
        for (error, in_a_row) in [(Some("a"), 1), (Some("b"), 2), (None, 0), (Some("c"), 1)] {
            entry.begin(1_000);
            entry.end(Ended { error: error.map(str::to_owned), ..Ended::default() }, 3_500);
            assert_eq!(entry.failures_in_a_row, in_a_row);
        }
        assert_eq!((entry.runs, entry.failures), (4, 3));
        let last = entry.last.unwrap();
        assert_eq!((last.error.as_deref(), last.started_ms, last.duration_ms), (Some("c"), 1_000, 2_500));
    }

    #[test]
    fn schedules_survive_a_restart_and_a_damaged_file_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("hoodydb-schedules-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let backing = Backing::take(&dir).unwrap();
        let store = Store::open(&backing).unwrap();
        let mut stored = store.read().unwrap();
        stored.schedules.push(entry());
        store.write(&stored).unwrap();
        assert_eq!(Store::open(&backing).unwrap().read().unwrap(), stored);
        let file = dir.join(OWN_DIR).join(FILE);
        std::fs::write(&file, b"{").unwrap();
        assert!(store.read().unwrap_err().contains("schedules.json cannot be read"));
        std::fs::write(&file, br#"{"version":2,"last_id":0,"schedules":[]}"#).unwrap();
        assert!(store.read().unwrap_err().contains("version 2"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
