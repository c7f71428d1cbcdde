//! A real mount of a real daemon, for one test. Called by every test that mounts.
//!
//! The daemon has a run directory, a backing directory and a mount point of its own, and is gone with the value; if the
//! test failed, its log is shown.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Place;

/// A live mount.
pub struct Mount {
    place: Place,
    options: Vec<String>,
    /// Words before `hoodydb mount`.
    prefix: Vec<String>,
}

impl Mount {
    /// Mounts with the defaults.
    ///
    /// # Panics
    /// If the mount does not come up.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// Mounts with options of `hoodydb mount`.
    ///
    /// # Panics
    /// If the mount does not come up.
    pub fn with(options: &[&str]) -> Self {
        Self::behind(&[], options)
    }

    /// Mounts with options, behind a prefix such as `prlimit --nofile=600`.
    ///
    /// # Panics
    /// If the mount does not come up.
    pub fn behind(prefix: &[&str], options: &[&str]) -> Self {
        let place = Place::new();
        for name in ["run", "data", "mnt"] {
            place.directory(name);
        }
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mount = Self { place, options: owned(options), prefix: owned(prefix) };
        let output = mount.start();
        assert!(output.status.success(), "the mount does not come up: {}", text(&output.stderr));
        mount
    }

    /// Starts the daemon, as at first or after its death; it is live when this returns with success.
    ///
    /// # Panics
    /// If the command cannot be run.
    pub fn start(&self) -> Output {
        let mut words = self.prefix.iter().map(std::ffi::OsString::from).chain([binary().into()]);
        let mut command = Command::new(words.next().expect("the program"));
        command.args(words).env("HOODYDB_RUN_DIR", self.run_directory());
        command.arg("mount").arg(self.point()).arg("--data").arg(self.backing()).args(&self.options);
        command.output().expect("hoodydb can be run")
    }

    /// The `hoodydb` command, with this mount's run directory.
    pub fn hoodydb(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("HOODYDB_RUN_DIR", self.run_directory());
        command
    }

    /// Runs a `hoodydb` command to its end.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.hoodydb().args(arguments).output().expect("hoodydb can be run")
    }

    /// The mount point.
    pub fn point(&self) -> PathBuf {
        self.place.path().join("mnt")
    }

    /// The backing directory.
    pub fn backing(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// Where the daemon's socket and log are.
    pub fn run_directory(&self) -> PathBuf {
        self.place.path().join("run")
    }

    /// The temporary directory around it all, on the plain disk.
    pub fn outside(&self) -> &Path {
        self.place.path()
    }

    /// A path on the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.point().join(name)
    }

    /// This mount in `hoodydb status --json`.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn status(&self) -> Value {
        self.json("status")
    }

    /// This mount in `hoodydb locks --json`.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn locks(&self) -> Value {
        self.json("locks")
    }

    fn json(&self, what: &str) -> Value {
        let output = self.command(&[what, "--json"]);
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        all["mounts"][0].clone()
    }

    /// One database in `hoodydb locks --json`, null while nobody holds or wants anything of it.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn locks_of(&self, database: &str) -> Value {
        let locks = self.locks();
        let databases = locks["databases"].as_array().cloned().unwrap_or_default();
        databases.into_iter().find(|one| one["path"] == database).unwrap_or_default()
    }

    /// The processes that wait for a lock of a database.
    pub fn waiters_of(&self, database: &str) -> Vec<u32> {
        pids(&self.locks_of(database)["waiters"])
    }

    /// The processes that hold a lock of a database.
    pub fn holders_of(&self, database: &str) -> Vec<u32> {
        pids(&self.locks_of(database)["holders"])
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn daemon(&self) -> Pid {
        let pid = self.status()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).expect("status tells the daemon's pid")
    }

    /// kill -9 of the daemon, and waits until it is gone.
    ///
    /// # Panics
    /// If it stays.
    pub fn kill_daemon(&self) {
        let pid = self.daemon();
        kill_process(pid, Signal::KILL).expect("the daemon can be killed");
        eventually("the daemon is dead", || is_gone(pid));
    }

    /// What the daemon wrote to its logs so far.
    pub fn log(&self) -> String {
        let entries = std::fs::read_dir(self.run_directory()).into_iter().flatten().flatten();
        let logs = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|name| name == "log"));
        logs.filter_map(|path| std::fs::read_to_string(path).ok()).collect()
    }
}

impl Default for Mount {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let locks = self.command(&["locks"]);
            eprintln!("--- locks at the failure\n{}{}", text(&locks.stdout), text(&locks.stderr));
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        let status = self.command(&["status", "--json"]);
        let daemon = serde_json::from_slice::<Value>(&status.stdout).ok().and_then(|all| {
            all["mounts"][0]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
        });
        // An unmount that is not lazy waits for transactions, and those of a failed test may never end.
        let _ = self.hoodydb().args(["umount", "--lazy"]).arg(self.point()).output();
        let begun = Instant::now();
        while daemon.is_some_and(|daemon| !is_gone(daemon)) && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(daemon) = daemon.filter(|daemon| !is_gone(*daemon)) {
            let _ = kill_process(daemon, Signal::KILL);
        }
    }
}

/// The program under test: `HOODYDB_BIN`, or what cargo built beside the test.
///
/// # Panics
/// If there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HOODYDB_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test has a path");
    let profiles = test.ancestors().nth(3).expect("the test lies in target/PROFILE/deps");
    let built = ["release", "debug"].map(|profile| profiles.join(profile).join("hoodydb"));
    built.into_iter().find(|path| path.exists()).expect("build first: cargo build --release -p hoodydb")
}

fn pids(list: &Value) -> Vec<u32> {
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|one| one["pid"].as_u64()).filter_map(|pid| u32::try_from(pid).ok()).collect()
}

/// Whether a process is dead (a zombie is).
pub fn is_gone(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}

/// Polls until `condition` holds.
///
/// # Panics
/// After 30 s.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "after 30 s still not true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes as text for a message.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
