//! What the commands that care for databases share: which databases are meant, how the work is watched, what is left room for.
//!
//! Called by backup, restore, vacuum, check and db.

mod alarm;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::target;
use crate::archive::Partial;
use crate::control::client::Daemon;
use crate::control::{Answer, Command};
use crate::database::{self, DatabaseError, Hold, Stop, Watch};
use crate::model::{ProcessName, printable};
use crate::process::open_files;
use alarm::Alarm;

/// What SQLite keeps beside a database.
pub(super) const SIDE_FILES: [&str; 3] = ["-journal", "-wal", "-shm"];

/// How often it is looked at who waits behind the work.
const LOOK: Duration = Duration::from_millis(500);

/// Which databases a command is about.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Databases: absolute paths, or relative to the mount point
    #[arg(value_name = "DB")]
    databases: Vec<PathBuf>,
    /// All databases of the mount (of all live mounts without --mount)
    #[arg(long, conflicts_with = "databases")]
    all: bool,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
}

/// A database on a live mount.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) daemon: Daemon,
    pub(super) mountpoint: PathBuf,
    /// Below the mount point.
    pub(super) path: PathBuf,
    /// The longest wait of a client of the mount.
    pub(super) max_wait: Duration,
}

impl Which {
    /// The databases that are meant.
    pub(super) fn find(&self) -> Result<Vec<Database>> {
        if !self.all {
            if self.databases.is_empty() {
                bail!("name a database, or say --all");
            }
            return self.databases.iter().map(|db| Database::named(self.mount.as_deref(), db)).collect();
        }
        let mut found = Vec::new();
        for daemon in target::daemons(self.mount.as_deref())? {
            let on_mount = Database::of(&daemon, PathBuf::new())?;
            for path in database::databases_below(&on_mount.mountpoint)? {
                found.push(Database { path, ..on_mount.clone() });
            }
        }
        Ok(found)
    }

    /// Whether all databases are meant, those of later too.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// The mount that was named.
    pub(super) fn mount(&self) -> Option<&Path> {
        self.mount.as_deref()
    }

    /// Whether one database is named.
    pub(super) fn is_one(&self) -> bool {
        !self.all && self.databases.len() == 1
    }
}

impl Database {
    /// The database of that name, which need not exist.
    pub(super) fn named(mount: Option<&Path>, db: &Path) -> Result<Self> {
        let target::Database { daemon, path } = target::database(mount, db)?;
        Self::of(&daemon, path)
    }

    pub(super) fn of(daemon: &Daemon, path: PathBuf) -> Result<Self> {
        let status = target::status(daemon)?;
        Ok(Self {
            daemon: daemon.clone(),
            mountpoint: status.mountpoint.into(),
            path,
            max_wait: Duration::from_millis(status.max_wait_ms),
        })
    }

    /// The file, on the mount.
    pub(super) fn file(&self) -> PathBuf {
        self.mountpoint.join(&self.path)
    }

    /// Who has the file open, besides this process.
    pub(super) fn users(&self) -> Result<Vec<ProcessName>> {
        let meta = match self.file().metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            meta => meta.with_context(|| format!("cannot look at {}", printable(self.file())))?,
        };
        let open = open_files::open_on(meta.dev(), std::process::id())
            .context("cannot read /proc to find who has the database open")?;
        let users = open.into_iter().filter(|file| file.ino == meta.ino());
        Ok(users.map(|file| ProcessName { pid: file.pid, command: file.command }).collect())
    }

    /// The error with who is in the way, where somebody is.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(DatabaseError::Busy { .. }) = error.downcast_ref() else { return error };
        let Ok(Answer::Locks(locks)) = self.daemon.ask(Command::Locks { db: Some(self.path.clone()) }) else {
            return error;
        };
        let mut holders: Vec<ProcessName> =
            locks.databases.into_iter().flat_map(|database| database.holders).map(|holder| holder.process).collect();
        holders.retain(|holder| holder.pid != std::process::id());
        holders.sort();
        holders.dedup();
        if holders.is_empty() {
            return error;
        }
        anyhow::anyhow!("{error}; it is held by {}", named(&holders))
    }

    /// Whoever waits behind this process for longer than half of what the mount grants.
    fn starving(&self) -> Option<String> {
        let Ok(Answer::Locks(locks)) = self.daemon.ask(Command::Locks { db: Some(self.path.clone()) }) else {
            return None;
        };
        let waiters = locks.databases.iter().flat_map(|database| &database.waiters);
        let ours = waiters.filter(|waiter| waiter.blocked_by.contains(&std::process::id()));
        let longest = ours.max_by_key(|waiter| waiter.age_ms)?;
        let is_starving = u128::from(longest.age_ms) * 2 > self.max_wait.as_millis();
        is_starving.then(|| {
            format!(
                "pid {} ({}) has waited {} s behind this for {}, and would be refused after {} s",
                longest.process.pid,
                printable(&longest.process.command),
                longest.age_ms / 1000,
                printable(&self.path),
                self.max_wait.as_secs()
            )
        })
    }
}

/// Users in words, for an error.
pub(super) fn named(users: &[ProcessName]) -> String {
    let mut words: Vec<String> =
        users.iter().take(5).map(|user| format!("pid {} ({})", user.pid, printable(&user.command))).collect();
    if users.len() > words.len() {
        words.push(format!("{} more", users.len() - words.len()));
    }
    words.join(", ")
}

/// Set by SIGINT and SIGTERM: the work ends, and removes what is not whole.
fn interrupted() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Where it cannot be caught it kills, and the next run cleans up.
            let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
        }
        flag
    })
}

/// Watches the work on one database: shows how far it is, and ends it for the user, or for those who wait behind it.
pub(super) struct Care<'a> {
    database: &'a Database,
    bar: ProgressBar,
    /// Whether it ends when others would be refused because of it.
    gives_way: bool,
    looked: Mutex<Instant>,
    alarm: Alarm,
}

impl<'a> Care<'a> {
    /// Watches; the bar shows on a terminal only.
    pub(super) fn new(database: &'a Database, gives_way: bool) -> Self {
        interrupted();
        let bar = ProgressBar::new(0);
        let form = "{msg} {bar:30} {percent}% {decimal_total_bytes} {decimal_bytes_per_sec} ETA {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self { database, bar, gives_way, looked: Mutex::new(Instant::now()), alarm: Alarm::new() }
    }

    /// Begins the next part of the work, of so many bytes (0: nobody knows).
    pub(super) fn begin(&self, what: &str, bytes: u64) {
        self.bar.reset();
        self.bar.set_length(bytes);
        self.bar.set_message(format!("{what} {}", printable(&self.database.path)));
    }

    /// Counts bytes; false if the work has to end.
    pub(super) fn count(&self, bytes: u64) -> bool {
        self.bar.inc(bytes);
        !interrupted().load(Relaxed)
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Care<'_> {
    fn progress(&self, done: u64, total: u64) {
        // In pages: the bar's length is in bytes.
        if let Some(bytes) = self.bar.length().filter(|_| total > 0) {
            self.bar.set_position(bytes / total * done);
        }
    }

    fn wake_at(&self, moment: Option<Instant>) {
        self.alarm.set(moment);
    }

    fn stop(&self, hold: Hold) -> Option<Stop> {
        if interrupted().load(Relaxed) {
            return Some(Stop::Interrupted);
        }
        if hold == Hold::Nobody || !self.gives_way {
            return None;
        }
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.elapsed() < LOOK {
                return None;
            }
            *looked = Instant::now();
        }
        self.database.starving().map(Stop::Starving)
    }
}

/// Refuses work for which a disk has too little room.
pub(super) fn check_room(directory: &Path, needed: u64, what: &str) -> Result<()> {
    let free = free_bytes(directory)?;
    if free < needed {
        bail!(
            "{what} needs {} on the disk of {}, and {} are free",
            crate::render::bytes(needed),
            printable(directory),
            crate::render::bytes(free)
        );
    }
    Ok(())
}

/// Gives a file that is to become a database on the mount the mode that SQLite would give it.
pub(super) fn share(partial: &Partial) -> Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let set = std::fs::set_permissions(partial.path(), mode);
    set.with_context(|| format!("cannot set the mode of {}", printable(partial.path())))
}

/// What is free on a disk for this process.
pub(super) fn free_bytes(directory: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(directory).with_context(|| format!("cannot look at {}", printable(directory)))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
