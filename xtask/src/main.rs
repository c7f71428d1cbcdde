//! Tasks of the repository: `cargo xtask --help`.
//!
//! One file per task; each prints the commands it runs, and its exit code is theirs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build_ebpf;
mod demo;
mod docs;
mod gate;
mod imports;
mod packages;
mod shell;
mod test;

/// Tasks of the hoodydb repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build, mount in a temporary place, and let sqlite3 processes hammer one database there and on the plain disk
    Demo(demo::Args),
    /// Install what the tests need, run every check of the gate, then every test
    Test(test::Args),
    /// Check format, lints, the arrows between rooms, and the dependencies' licences
    Gate(gate::Args),
    /// Build the lock tracer's eBPF programs, or say why the committed object stays
    BuildEbpf(build_ebpf::Args),
    /// Measure the mount against the plain disk and PostgreSQL; a full run writes docs/BENCHMARKS.md
    Bench(bench::Args),
    /// Write docs/CLI.md anew from the program's own help
    Docs(docs::Args),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(args) => args.run(),
        Task::Test(args) => args.run(),
        Task::Gate(args) => args.run(),
        Task::BuildEbpf(args) => args.run(),
        Task::Bench(args) => args.run(),
        Task::Docs(args) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
