//! A PostgreSQL of this run alone: temporary cluster, Unix socket only, default settings otherwise. Called by [`crate::peers`].
//!
//! The server dies with this program (`PR_SET_PDEATHSIG`) and its files with the value.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hoodydb_tests::Place;
use rustix::process::{Pid, Signal, kill_process};

use crate::postgres_client::{self, USER};

/// The longest that a start may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A running cluster.
pub struct Cluster {
    server: Child,
    programs: PathBuf,
    place: Place,
}

impl Cluster {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self> {
        let programs = find_programs()?;
        let place = Place::new();
        let data = place.directory("postgres");
        run(Command::new("chown").arg(USER).arg(&data))?;
        let mut initdb = as_user(&programs.join("initdb"));
        run(initdb
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--username", USER, "--pgdata"])
            .arg(&data))?;
        let mut server = as_user(&programs.join("postgres"));
        server.args(["-c", "listen_addresses=", "-c", "max_connections=100", "-c"]);
        server.arg(format!("unix_socket_directories={}", data.display())).arg("-D").arg(&data);
        let log = std::fs::File::create(place.path().join("log"))?;
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = server.spawn().context("cannot start PostgreSQL")?;
        let mut cluster = Self { server, programs, place };
        cluster.wait_until_it_serves()?;
        Ok(cluster)
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let begun = Instant::now();
        while postgres_client::connect(&self.socket()).is_err() {
            crate::crew::check_interrupt()?;
            let has_ended = self.server.try_wait()?.is_some();
            if has_ended || begun.elapsed() > LIMIT {
                let log = std::fs::read_to_string(self.place.path().join("log")).unwrap_or_default();
                bail!("PostgreSQL does not start: {}", log.lines().last().unwrap_or("it says nothing"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The directory of its socket.
    pub fn socket(&self) -> PathBuf {
        self.place.path().join("postgres")
    }

    /// Where its programs are.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The postmaster.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Its version.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn version(&self) -> Result<String> {
        let row = postgres_client::connect(&self.socket())?.query_one("SHOW server_version", &[])?;
        Ok(row.try_get(0)?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT is its fast shutdown; a cluster that is thrown away needs no more.
        let _ = kill_process(Pid::from_child(&self.server), Signal::INT);
        let begun = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// PostgreSQL refuses to run as root.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--pdeathsig", "INT", "--"]).arg(program);
    command
}

/// The newest of Debian's, which are not in `PATH`, or else the one there.
fn find_programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = debian.filter(|programs| programs.join("initdb").is_file()).collect();
    found.sort_by_key(|programs| version_of(programs));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let else_where = || std::env::split_paths(&in_path).find(|programs| programs.join("initdb").is_file());
    found.pop().or_else(else_where).context(
        "PostgreSQL is not installed; install it (apt-get install postgresql) or leave it out (--without-postgres)",
    )
}

fn version_of(programs: &Path) -> u32 {
    let directory = programs.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    directory.and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
