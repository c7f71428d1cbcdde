//! `cargo xtask gate`: everything that is checked without running the program. Called by hand and by `test`.

use anyhow::{Result, bail};

use crate::{build_ebpf, imports, shell};

/// Arguments of `gate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Runs all checks, the cheap ones first.
    ///
    /// # Errors
    /// At the first check that fails.
    pub fn run(self) -> Result<()> {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
        check_rooms()?;
        let programs = ["--features", "hoodydb-ebpf/programs"];
        let clippy = ["clippy", "--workspace", "--all-targets"];
        shell::run(shell::cargo().args(clippy).args(programs).args(["--", "-D", "warnings"]))?;
        build_ebpf::check()?;
        check_dependencies()
    }
}

fn check_rooms() -> Result<()> {
    println!("$ check who imports whom (docs/ARCHITECTURE.md)");
    let source = shell::root().join("hoodydb/src");
    let forbidden = imports::check(&source)?;
    for arrow in &forbidden {
        eprintln!("{arrow}");
    }
    if !forbidden.is_empty() {
        bail!("{} forbidden imports", forbidden.len());
    }
    Ok(())
}

/// Uses the cargo-deny that is installed, or compiles one below `target/` (about three minutes, once).
fn check_dependencies() -> Result<()> {
    let mut deny = shell::cargo();
    if !shell::has("cargo-deny") {
        let tools = shell::target().join("tools");
        if !tools.join("bin/cargo-deny").exists() {
            println!("cargo-deny is not installed: compiling one for this repository (about three minutes, once)");
            let mut install = shell::cargo();
            install
                .args(["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
                .arg(&tools);
            shell::run(&mut install)?;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [tools.join("bin")].into_iter().chain(std::env::split_paths(&path));
        deny.env("PATH", std::env::join_paths(paths)?);
    }
    // cargo-deny reads the manifests of all dependencies, those of other platforms too, which a build here never fetches.
    shell::run(shell::cargo().args(["fetch", "--locked", "--quiet"]))?;
    // Advisories need a database from the network, which a build machine need not reach.
    shell::run(deny.args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
}

/// The version that is compiled where none is installed.
const CARGO_DENY: &str = "0.20.2";
