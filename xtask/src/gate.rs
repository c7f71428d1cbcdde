//! `cargo xtask gate`: everything that is checked without running the program. Called by hand and by `test`.

use anyhow::{Result, bail};

use crate::{imports, shell};

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
        shell::run(shell::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
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

/// cargo-deny is a large program to compile: it is used where it is installed, and its absence is said.
fn check_dependencies() -> Result<()> {
    if !shell::has("cargo-deny") {
        eprintln!(
            "NOT CHECKED: licences and sources of the dependencies; cargo-deny is not installed: \
             cargo install --locked cargo-deny"
        );
        return Ok(());
    }
    shell::run(shell::cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
}
