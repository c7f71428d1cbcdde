//! `cargo xtask bench`: builds what is measured and what measures, and runs it. The harness itself is `tests/bench`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{packages, shell};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Fewer rounds, operations and sizes, in about two minutes; writes no report
    #[arg(long)]
    quick: bool,
    /// Write everything that was measured
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases whose name contains one of these; writes no report
    #[arg(long, value_name = "CASE", num_args = 1..)]
    only: Vec<String>,
    /// Measure nothing, and make docs/BENCHMARKS.md and its plots again from what --json wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "json", "only", "without_postgres"])]
    report_only: Option<PathBuf>,
    /// Leave PostgreSQL out, and do not install it
    #[arg(long)]
    without_postgres: bool,
    /// Measure this instead, and print it; with --quick in fewer rounds
    #[arg(long, conflicts_with_all = ["json", "only", "report_only", "without_postgres"])]
    of: Option<Part>,
}

/// What is measured apart from the report.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// Backups: those who write meanwhile, time, memory (about 12 minutes)
    Care,
    /// Containers: their start, others' latency beside a hostile one (about 6 minutes)
    Containers,
}

impl Args {
    /// Installs, builds, measures, reports.
    ///
    /// # Errors
    /// If something cannot be installed or built, or the benchmark fails.
    pub fn run(self) -> Result<()> {
        if self.report_only.is_none() {
            packages::install(packages::BENCH, &[])?;
            if matches!(self.of, Some(Part::Containers)) {
                packages::install(packages::TESTS, &[])?;
            }
            if !self.without_postgres && self.of.is_none() {
                packages::install(packages::BENCH_PEER, &[])?;
            }
            shell::run(shell::cargo().args(["build", "--release", "--package", "hoodydb"]))?;
        }
        let build = ["build", "--release", "--package", "hoodydb-tests", "--bin", "hoodydb-bench"];
        shell::run(shell::cargo().args(build))?;
        let mut bench = Command::new(shell::target().join("release/hoodydb-bench"));
        bench.env("HOODYDB_BIN", shell::hoodydb());
        if std::env::var_os("HOODYDB_TEST_DIR").is_none() {
            // /tmp may be memory, where a commit costs nothing.
            bench.env("HOODYDB_TEST_DIR", "/var/tmp");
        }
        if let Some(part) = self.of {
            bench.arg(match part {
                Part::Care => "care",
                Part::Containers => "containers",
            });
            bench.args(self.quick.then_some("--quick"));
            return shell::run(&mut bench);
        }
        for (flag, is_given) in [("--quick", self.quick), ("--without-postgres", self.without_postgres)] {
            bench.args(is_given.then_some(flag));
        }
        for (flag, file) in [("--json", &self.json), ("--report-only", &self.report_only)] {
            if let Some(file) = file {
                bench.arg(flag).arg(file);
            }
        }
        if !self.only.is_empty() {
            bench.arg("--only").args(&self.only);
        }
        let is_whole = !self.quick && self.only.is_empty();
        if self.report_only.is_some() || is_whole {
            bench.arg("--report").arg(shell::root().join("docs"));
        }
        shell::run(&mut bench)
    }
}
