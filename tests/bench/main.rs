//! `hoodydb-bench`: what SQLite on the mount costs, against the same SQLite on the disk below it and against PostgreSQL.
//!
//! Called by `cargo xtask bench`, which builds and installs what it needs. It measures in one process tree: this program is
//! the driver, and by hidden subcommands every client.

mod care;
mod cases;
mod client;
mod cluster;
mod crew;
mod daemon;
mod growth;
mod holder;
mod hosts;
mod http;
mod machine;
mod peers;
mod plots;
mod postgres_client;
mod report;
mod results;
mod run;
mod sparse;
mod sqlite_client;
mod statistics;
mod targets;
mod text;
mod view;
mod waiters;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cases::Case;
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
    /// Measures what a backup costs instead: those who write meanwhile, time, memory
    Care {
        /// Fewer rounds and smaller databases
        #[arg(long)]
        quick: bool,
    },
    /// Measures what containers cost instead: their start, and others' latency beside a hostile one
    Containers {
        /// Fewer and shorter rounds
        #[arg(long)]
        quick: bool,
    },
    /// A client process
    #[command(hide = true)]
    Client { spec: String },
    /// A process that holds databases or handles open
    #[command(hide = true)]
    Hold { what: String },
    /// A process that queues for write transactions
    #[command(hide = true)]
    Queue { how: String },
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
    /// Write BENCHMARKS.md and its plots into this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Measure nothing, and take the results of an earlier run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "json", "only"])]
    report_only: Option<PathBuf>,
    /// Leave PostgreSQL out
    #[arg(long)]
    without_postgres: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.role {
        Some(Role::Client { spec }) => client::run(&spec),
        Some(Role::Hold { what }) => holder::run(&what),
        Some(Role::Queue { how }) => holder::queue(&how),
        Some(Role::Care { quick }) => prepared().and_then(|hoodydb| care::run(hoodydb, quick)),
        Some(Role::Containers { quick }) => prepared().and_then(|hoodydb| hosts::run(&hoodydb, quick)),
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
        let results = match &self.report_only {
            Some(path) => read(path)?,
            None => self.measure()?,
        };
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(&results)?;
            std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
        }
        if let Some(docs) = &self.report {
            report::write(&results, docs)?;
        }
        println!("{}", report::targets_table(&results));
        Ok(())
    }

    fn measure(&self) -> Result<Results> {
        let plan = Plan::new(self.quick, &self.only)?;
        let hoodydb = prepared()?;
        if self.without_postgres {
            eprintln!("PostgreSQL IS LEFT OUT of this run (--without-postgres)");
        }
        let begun = Instant::now();
        let peers = Peers::start(hoodydb.clone(), !self.without_postgres)?;
        let mut results =
            Results { machine: Machine::look(&peers, &hoodydb)?, quick: self.quick, ..Results::default() };
        for case in &plan.cases {
            results.cases.extend(run::case(&peers, case)?);
        }
        drop(peers);
        // A daemon each: memory that was used once stays with a process.
        let fresh = || Peers::start(hoodydb.clone(), false);
        for growth in plan.growth {
            match growth {
                Growth::Databases => results.databases = growth::databases(&fresh()?, self.quick)?,
                Growth::Sizes => results.sizes = growth::sizes(&fresh()?, self.quick)?,
                Growth::Waiters => results.waiters = waiters::waiters(&fresh()?, self.quick)?,
                Growth::Handles => results.handles = growth::handles(&fresh()?, self.quick)?,
                Growth::Http => results.http = http::measure(fresh()?.mount(), self.quick)?,
            }
        }
        results.took_s = begun.elapsed().as_secs_f64();
        Ok(results)
    }
}

/// What a run measures.
struct Plan {
    cases: Vec<Case>,
    growth: Vec<Growth>,
}

#[derive(Clone, Copy)]
enum Growth {
    Databases,
    Sizes,
    Waiters,
    Handles,
    Http,
}

impl Plan {
    fn new(quick: bool, only: &[String]) -> Result<Self> {
        let growth = [
            ("growth-databases", Growth::Databases),
            ("growth-sizes", Growth::Sizes),
            ("growth-waiters", Growth::Waiters),
            ("growth-handles", Growth::Handles),
            ("http", Growth::Http),
        ];
        let cases = cases::all(quick);
        let mut names: Vec<&str> = cases.iter().map(|case| case.name).chain(growth.map(|(name, _)| name)).collect();
        names.dedup();
        let is_chosen = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word.as_str()));
        let cases: Vec<Case> = cases.iter().filter(|case| is_chosen(case.name)).cloned().collect();
        let growth: Vec<Growth> =
            growth.into_iter().filter(|(name, _)| is_chosen(name)).map(|(_, growth)| growth).collect();
        ensure!(cases.len() + growth.len() > 0, "no case is named so; there are: {}", names.join(", "));
        Ok(Self { cases, growth })
    }
}

fn read(path: &Path) -> Result<Results> {
    let json = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&json).with_context(|| format!("{} is not what this version of --json writes", path.display()))
}

/// What every measurement needs; gives the program under test.
fn prepared() -> Result<PathBuf> {
    ensure!(rustix::process::geteuid().is_root(), "this mounts file systems and needs root");
    let place = std::env::var_os("HOODYDB_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    ensure!(place.is_dir(), "{} is no directory (HOODYDB_TEST_DIR)", place.display());
    raise_file_limit()?;
    crew::notice_interrupts()?;
    let hoodydb = hoodydb()?;
    machine::version_of(&hoodydb)?;
    Ok(hoodydb)
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
