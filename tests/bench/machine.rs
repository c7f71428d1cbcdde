//! The machine and the versions of a run, so that figures are never read without them. Called once per run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::peers::Peers;

/// Where a run was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that this program may use.
    pub processors: usize,
    /// Memory of the machine.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system of all peers.
    pub file_system: String,
    /// The SQLite of the clients.
    pub sqlite: String,
    /// The SQLite of the command-line shell.
    pub sqlite_shell: String,
    /// PostgreSQL; none if it took no part.
    pub postgres: Option<String>,
    /// The program under test.
    pub hoodydb: String,
    /// Whether its reads and writes pass the daemon by.
    pub has_passthrough: bool,
}

impl Machine {
    /// Looks at this one.
    ///
    /// # Errors
    /// If a version cannot be told.
    pub fn look(peers: &Peers, hoodydb: &Path) -> Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor =
            cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib = meminfo.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        Ok(Self {
            processor: processor.unwrap_or("unknown").to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            memory_mib: memory_kib.unwrap_or_default() / 1024,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            file_system: file_system_of(peers.directory())?,
            sqlite: rusqlite::version().to_owned(),
            sqlite_shell: first_word(Command::new("sqlite3").arg("--version"))?,
            postgres: peers.postgres_version()?,
            hoodydb: version_of(hoodydb)?,
            has_passthrough: peers.has_passthrough(),
        })
    }
}

/// What `hoodydb --version` says.
///
/// # Errors
/// If it cannot be run.
pub fn version_of(hoodydb: &Path) -> Result<String> {
    let output = Command::new(hoodydb).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", hoodydb.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("hoodydb ").to_owned())
}

fn first_word(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run sqlite3; install it (apt-get install sqlite3)")?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap_or("unknown").to_owned())
}

/// The type of the innermost mount that has a directory.
fn file_system_of(directory: &Path) -> Result<String> {
    let directory = directory.canonicalize()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = table.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        Some((place.split(' ').nth(4)?, kind.split(' ').next()?))
    });
    let above = mounts.filter(|(point, _)| directory.starts_with(point));
    Ok(above.max_by_key(|(point, _)| point.len()).map_or("unknown", |(_, kind)| kind).to_owned())
}
