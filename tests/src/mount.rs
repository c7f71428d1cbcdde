//! A real mount of a real daemon, for one test. Called by every test that mounts.
//!
//! The daemon has a run directory, a backing directory and a mount point of its own, and is gone with the value; if the
//! test failed, its log is shown. It is two processes, the keeper and the worker: see docs/ARCHITECTURE.md.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Place;

/// A live mount.
pub struct Mount {
    place: Place,
    data: PathBuf,
    binary: PathBuf,
    prefix: Vec<String>,
    options: Vec<String>,
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

    /// Mounts by a command such as `prlimit --nofile=400` that runs `hoodydb mount`.
    ///
    /// # Panics
    /// If the mount does not come up.
    pub fn behind(prefix: &[&str], options: &[&str]) -> Self {
        Self::of(binary(), prefix, options)
    }

    /// Mounts with another binary than [`binary`].
    ///
    /// # Panics
    /// If the mount does not come up.
    pub fn of(binary: PathBuf, prefix: &[&str], options: &[&str]) -> Self {
        Self::attempt(binary, prefix, options).unwrap_or_else(|why| panic!("the mount does not come up: {why}"))
    }

    /// The same for programs that tell why it does not come up.
    ///
    /// # Errors
    /// What `hoodydb mount` said.
    ///
    /// # Panics
    /// If the binary cannot be run.
    pub fn attempt(binary: PathBuf, prefix: &[&str], options: &[&str]) -> Result<Self, String> {
        let place = Place::new();
        for name in ["run", "data", "mnt"] {
            place.directory(name);
        }
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let data = place.path().join("data");
        let mount = Self { place, data, binary, prefix: owned(prefix), options: owned(options) };
        let output = mount.start();
        if output.status.success() { Ok(mount) } else { Err(text(&output.stderr)) }
    }

    /// Mounts with the defaults what lies in a directory of the caller's.
    ///
    /// # Panics
    /// If the mount does not come up.
    pub fn over(data: &Path) -> Self {
        let place = Place::new();
        for name in ["run", "mnt"] {
            place.directory(name);
        }
        let mount = Self { place, data: data.to_owned(), binary: binary(), prefix: Vec::new(), options: Vec::new() };
        let output = mount.start();
        assert!(output.status.success(), "the mount does not come up: {}", text(&output.stderr));
        mount
    }

    /// Starts the daemon, as at first or after its death; it is live when this returns with success.
    ///
    /// # Panics
    /// If the command cannot be run.
    pub fn start(&self) -> Output {
        let mut command = self.behind_prefix();
        command.arg("mount").arg(self.point()).arg("--data").arg(self.backing()).args(&self.options);
        command.output().expect("hoodydb can be run")
    }

    /// The `hoodydb` command, with this mount's run directory.
    pub fn hoodydb(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env(RUN_DIR, self.run_directory());
        command
    }

    fn behind_prefix(&self) -> Command {
        let Some((program, arguments)) = self.prefix.split_first() else { return self.hoodydb() };
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.binary).env(RUN_DIR, self.run_directory());
        command
    }

    /// Runs a `hoodydb` command to its end.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.hoodydb().args(arguments).output().expect("hoodydb can be run")
    }

    /// Runs a command with `--json` that has to succeed, and gives its answer.
    ///
    /// # Panics
    /// If it fails, or answers something else.
    pub fn answer(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// Runs a command that has to fail; gives its exit code and the line that says why.
    ///
    /// # Panics
    /// If it succeeds, or says more than a line.
    pub fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments);
        let line = text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
        (output.status.code().unwrap_or(-1), line)
    }

    /// `hoodydb umount`, with nothing but the mount point.
    ///
    /// # Panics
    /// As [`Self::command`].
    pub fn unmount(&self) -> Output {
        self.hoodydb().arg("umount").arg(self.point()).output().expect("hoodydb can be run")
    }

    /// The mount point.
    pub fn point(&self) -> PathBuf {
        self.place.path().join("mnt")
    }

    /// The backing directory.
    pub fn backing(&self) -> PathBuf {
        self.data.clone()
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

    /// This mount in `hoodydb status --json`, none while nobody answers: a worker that is being replaced.
    pub fn status_now(&self) -> Option<Value> {
        let output = self.command(&["status", "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).ok()?;
        all["mounts"].get(0).filter(|mount| mount["worker_pid"].as_u64().is_some_and(|pid| pid > 0)).cloned()
    }

    /// The daemon's process that stays: the keeper.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn daemon(&self) -> Pid {
        pid_in(&self.status(), "pid")
    }

    /// The process that holds what outlives a worker.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn keeper(&self) -> Pid {
        pid_in(&self.status(), "keeper_pid")
    }

    /// The process that answers every request.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn worker(&self) -> Pid {
        pid_in(&self.status(), "worker_pid")
    }

    /// How often a worker was replaced.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn restarts(&self) -> u64 {
        self.status()["restarts"].as_u64().expect("status tells the restarts")
    }

    /// Why the last worker was replaced; empty if none ever was.
    ///
    /// # Panics
    /// If the daemon does not answer.
    pub fn last_reason(&self) -> String {
        self.status()["last_restart"]["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// kill -9 of the worker, and waits until the next one serves.
    ///
    /// # Panics
    /// If none comes.
    pub fn kill_worker(&self) {
        self.replace("worker_pid", Signal::KILL);
    }

    /// kill -9 of the keeper, and waits until the worker has taken its place and the next one serves.
    ///
    /// # Panics
    /// If that does not come about.
    pub fn kill_keeper(&self) {
        let before = self.replace("keeper_pid", Signal::KILL);
        assert_eq!(self.keeper(), pid_in(&before, "worker_pid"), "the worker takes the keeper's place");
    }

    /// `hoodydb upgrade` to the program that it is, as to a new one: another keeper and another worker serve when this returns.
    ///
    /// # Panics
    /// If it fails.
    pub fn upgrade(&self) {
        let output =
            self.hoodydb().arg("upgrade").arg("--mount").arg(self.point()).output().expect("hoodydb can be run");
        assert!(output.status.success(), "upgrade: {}", text(&output.stderr));
    }

    /// Each way in which a worker is replaced: its death, the keeper's, an upgrade.
    pub const HANDOVERS: [fn(&Self); 3] = [Self::kill_worker, Self::kill_keeper, Self::upgrade];

    /// Stops the worker for good, as a bug that hangs it would, and waits until the next one serves.
    ///
    /// # Panics
    /// If none comes.
    pub fn hang_worker(&self) {
        self.replace("worker_pid", Signal::STOP);
    }

    /// Sends a signal to one of the two, waits until another has its place, and gives the status of before.
    fn replace(&self, role: &str, signal: Signal) -> Value {
        let mut seen = None;
        eventually("the daemon answers", || {
            seen = self.status_now();
            seen.is_some()
        });
        let before = seen.unwrap_or_default();
        // Nobody else kills in a test that calls this; but a process may be gone for a reason that is under test.
        let _ = kill_process(pid_in(&before, role), signal);
        eventually("another process serves in its place", || {
            self.status_now().is_some_and(|after| {
                after[role] != before[role]
                    && after["worker_pid"] != before["worker_pid"]
                    && after["restarts"].as_u64() > before["restarts"].as_u64()
            })
        });
        before
    }

    /// kill -9 of the whole daemon, keeper and worker at once, and waits until it is gone: a dead mount.
    ///
    /// # Panics
    /// If it stays.
    pub fn kill_daemon(&self) {
        let status = self.status();
        let (keeper, worker) = (pid_in(&status, "keeper_pid"), pid_in(&status, "worker_pid"));
        // A worker that runs would take the keeper's place between the two kills.
        kill_process(worker, Signal::STOP).expect("the worker can be stopped");
        eventually("the worker stands still", || stands_still(worker));
        for pid in [keeper, worker] {
            kill_process(pid, Signal::KILL).expect("the daemon can be killed");
        }
        eventually("the daemon is dead", || is_gone(keeper) && is_gone(worker));
    }

    /// The daemon's processes, whatever they became: those that were started with this mount's run directory.
    fn processes(&self) -> Vec<Pid> {
        let mark = [RUN_DIR.as_bytes(), b"=", self.run_directory().as_os_str().as_encoded_bytes(), b"\0"].concat();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
        let ours = pids.filter(|pid: &i32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.windows(mark.len()).any(|part| part == mark))
        });
        ours.filter_map(Pid::from_raw).filter(|pid| !is_gone(*pid)).collect()
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
        // An unmount that is not lazy waits for transactions, and those of a failed test may never end.
        let _ = self.hoodydb().args(["umount", "--lazy"]).arg(self.point()).output();
        let begun = Instant::now();
        while !self.processes().is_empty() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // All of them stand still before the first is killed: one that lives on would start the other anew.
        for signal in [Signal::STOP, Signal::KILL] {
            for pid in self.processes() {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// The variable that tells a daemon its run directory.
const RUN_DIR: &str = "HOODYDB_RUN_DIR";

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

/// Whether no thread of a process runs any more after SIGSTOP.
fn stands_still(pid: Pid) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()).all(|stat| {
        // D: it sleeps on the disk and stops before it does anything else.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 'D', 'Z', 'X']))
    })
}

fn pid_in(status: &Value, role: &str) -> Pid {
    let pid = status[role].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    pid.unwrap_or_else(|| panic!("status does not tell {role}: {status:#}"))
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

/// Does something to a mount again and again, `pace` apart and `most` times at most, while `work` runs; gives what `work`
/// gave and how often it was done.
///
/// # Panics
/// If either does.
pub fn amid<T>(
    mount: &Mount,
    pace: Duration,
    most: usize,
    disturb: impl Fn(&Mount, usize) + Sync,
    work: impl FnOnce() -> T,
) -> (T, usize) {
    /// Ends the disturbance also if the work panics.
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let disturbing = scope.spawn(|| {
            let mut done = 0;
            while done < most {
                // The pace is part of the load, not a wait for something to be true.
                std::thread::sleep(pace);
                if is_over.load(Relaxed) {
                    break;
                }
                disturb(mount, done);
                done += 1;
            }
            done
        });
        let given = {
            let _ended = Ended(&is_over);
            work()
        };
        (given, disturbing.join().expect("the disturbance goes well"))
    })
}
