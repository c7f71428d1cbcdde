//! `cargo xtask package`: the Debian package, with the pages and completions that the program makes of itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{packages, shell, tools};

/// Arguments of `package`.
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    /// Builds the package and says where it is.
    ///
    /// # Errors
    /// If something cannot be built.
    pub fn run(self) -> Result<()> {
        packages::install(packages::PACKAGE, &[])?;
        println!("{}", build()?.display());
        Ok(())
    }
}

/// Builds the package, and gives its path.
///
/// # Errors
/// If something cannot be built.
pub fn build() -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "hoodydb"]))?;
    // Where the manifest's list of files looks, wherever cargo builds.
    let directory = shell::root().join("target/package");
    for name in ["man", "completions"] {
        let path = directory.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    shell::run(Command::new(shell::hoodydb()).arg("man").arg(directory.join("man")))?;
    for (shell_name, file) in [("bash", "hoodydb"), ("zsh", "_hoodydb"), ("fish", "hoodydb.fish")] {
        let script = shell::read(Command::new(shell::hoodydb()).args(["completions", shell_name]))?;
        let path = directory.join("completions").join(file);
        std::fs::write(&path, script).with_context(|| path.display().to_string())?;
    }
    let package = shell::target().join("debian/hoodydb.deb");
    let mut deb = tools::cargo("cargo-deb", CARGO_DEB)?;
    deb.args(["deb", "--quiet", "--package", "hoodydb", "--no-build", "--strip", "--output"]).arg(&package);
    shell::run(&mut deb)?;
    Ok(package)
}

/// The version that is compiled where none is installed.
const CARGO_DEB: &str = "3.8.0";
