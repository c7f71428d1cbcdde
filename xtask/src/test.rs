//! `cargo xtask test`: the one command that passes the tests; `.ci/run` calls it.
//!
//! Tests that mount run one at a time: each loads both cores of a small machine, and starving one would test the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{docs, gate, package, packages, shell};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also what takes long: 20 runs of the everyday patterns, minutes of kills, a 12 GB database
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// What the tests run, besides what the system has.
struct Tools {
    node: PathBuf,
    schemathesis: PathBuf,
    with_faults: PathBuf,
    package: PathBuf,
}

impl Args {
    /// Installs, builds, runs the gate and the tests.
    ///
    /// # Errors
    /// If anything fails, or in CI if a test was left out.
    pub fn run(self) -> Result<()> {
        if !is_root() {
            bail!("the tests mount file systems and need root: sudo -E env PATH=\"$PATH\" cargo xtask test");
        }
        packages::install(packages::PACKAGE, &[])?;
        packages::install(packages::TESTS, &[("python3", "python3"), ("javac", "default-jdk-headless")])?;
        let node = packages::install_node_sqlite()?;
        let schemathesis = packages::install_schemathesis()?;
        gate::Args {}.run()?;
        let with_faults = build_with_faults()?;
        docs::Args { check: true }.run()?;
        let package = package::build()?;
        let skipped = shell::target().join("skipped-tests");
        let _ = std::fs::remove_file(&skipped);
        let tools = Tools { node, schemathesis, with_faults, package };
        self.run_tests(&tools, &skipped)?;
        report_skipped(&skipped)
    }

    fn run_tests(&self, tools: &Tools, skipped: &Path) -> Result<()> {
        let prepare = |command: &mut Command| {
            command.env("HOODYDB_BIN", shell::hoodydb()).env("HOODYDB_TEST_NODE", &tools.node);
            command.env("HOODYDB_FAULTS_BIN", &tools.with_faults).env("HOODYDB_TEST_SKIPPED", skipped);
            command.env("HOODYDB_DEB", &tools.package).env("HOODYDB_SCHEMATHESIS", &tools.schemathesis);
            if self.long {
                command.env("HOODYDB_TEST_LONG", "1");
            }
        };
        if shell::has("cargo-nextest") {
            // nextest knows no documentation tests; the summary of the others stands last.
            shell::run(shell::cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
            let mut nextest = shell::cargo();
            nextest
                .args(["nextest", "run", "--workspace", "--no-fail-fast"])
                .args(self.long.then_some("--profile=long"))
                .args(&self.filter);
            prepare(&mut nextest);
            return shell::run(&mut nextest);
        }
        let mut quick = shell::cargo();
        quick.args(["test", "--workspace", "--exclude", "hoodydb-tests", "--no-fail-fast"]).args(&self.filter);
        prepare(&mut quick);
        shell::run(&mut quick)?;
        let mut mounting = shell::cargo();
        mounting.args(["test", "--package", "hoodydb-tests", "--no-fail-fast"]).args(&self.filter);
        mounting.args(["--", "--test-threads=1"]);
        prepare(&mut mounting);
        shell::run(&mut mounting)
    }
}

/// Builds the daemon that can be told where to crash, and puts it apart; what is delivered is built over it. Gives its path.
fn build_with_faults() -> Result<PathBuf> {
    let build = ["build", "--release", "--package", "hoodydb", "--bin", "hoodydb", "--features", "fault-points"];
    shell::run(shell::cargo().args(build))?;
    let apart = shell::target().join("faults");
    std::fs::create_dir_all(&apart)?;
    let path = apart.join("hoodydb");
    // Not written over: a daemon of an earlier run may still be that file.
    let _ = std::fs::remove_file(&path);
    std::fs::copy(shell::hoodydb(), &path)?;
    Ok(path)
}

fn report_skipped(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let skipped = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    eprintln!("\nTESTS THAT COULD NOT RUN HERE:\n{skipped}");
    if shell::is_ci() {
        bail!("tests were left out, which CI does not accept");
    }
    Ok(())
}

fn is_root() -> bool {
    shell::read(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}
