//! `hoodydb-bench`: what SQLite on the mount costs, against the same SQLite on the disk below it and against PostgreSQL.
//!
//! Called by `cargo xtask bench`, which builds and installs what it needs. It measures in one process tree: this program is
//! the driver, and by hidden subcommands every client.

mod cases;
mod client;
mod cluster;
mod crew;
mod daemon;
mod machine;
mod peers;
mod postgres_client;
mod results;
mod run;
mod sqlite_client;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::machine::Machine;
use crate::peers::Peers;
use crate::results::Results;

/// Measures hoodydb against the plain disk and PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "hoodydb-bench")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    drive: Drive,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A client process
    #[command(hide = true)]
    Client { spec: String },
}

#[derive(Debug, Args)]
struct Drive {
    /// Fewer rounds, operations and sizes: minutes instead of half an hour
    #[arg(long)]
    quick: bool,
    /// Write everything that was measured
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases whose name contains one of these
    #[arg(long, value_name = "CASE", num_args = 1..)]
    only: Vec<String>,
    /// Leave PostgreSQL out
    #[arg(long)]
    without_postgres: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.role {
        Some(Role::Client { spec }) => client::run(&spec),
        None => arguments.drive.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoodydb-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Drive {
    fn run(self) -> Result<()> {
        let results = self.measure()?;
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(&results)?;
            std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn measure(&self) -> Result<Results> {
        ensure!(rustix::process::geteuid().is_root(), "this mounts file systems and needs root");
        let cases = cases::all(self.quick);
        let chosen: Vec<_> = cases.iter().filter(|case| run::is_chosen(&self.only, case.name)).collect();
        if chosen.is_empty() {
            bail!(
                "no case is named so; there are: {}",
                cases.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
            );
        }
        raise_file_limit()?;
        crew::notice_interrupts()?;
        let hoodydb = hoodydb()?;
        machine::version_of(&hoodydb)?;
        let begun = Instant::now();
        let peers = Peers::start(hoodydb.clone(), !self.without_postgres)?;
        let mut results =
            Results { machine: Machine::look(&peers, &hoodydb)?, quick: self.quick, ..Results::default() };
        for case in chosen {
            results.cases.extend(run::case(&peers, case)?);
        }
        results.took_s = begun.elapsed().as_secs_f64();
        Ok(results)
    }
}

/// The program under test: `HOODYDB_BIN`, or the one beside this program.
fn hoodydb() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOODYDB_BIN") {
        return Ok(path.into());
    }
    let beside = std::env::current_exe()?.with_file_name("hoodydb");
    ensure!(beside.is_file(), "{} is not there; run `cargo xtask bench`, which builds it", beside.display());
    Ok(beside)
}

/// Thousands of databases and clients need thousands of descriptors, which children inherit as a limit.
fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
