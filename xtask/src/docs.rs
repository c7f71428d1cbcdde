//! `cargo xtask docs`: docs/CLI.md from the program's own help, so that it never says anything else.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Arguments of `docs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Fail if the file is not up to date, and write nothing
    #[arg(long)]
    pub check: bool,
}

impl Args {
    /// Writes or compares the file.
    ///
    /// # Errors
    /// If the program cannot be built, or `--check` finds a difference.
    pub fn run(self) -> Result<()> {
        shell::run(shell::cargo().args(["build", "--release", "--package", "hoodydb"]))?;
        let text = shell::read(std::process::Command::new(shell::hoodydb()).arg("markdown"))?;
        let path = shell::root().join("docs/CLI.md");
        if self.check {
            let written = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            if written != text {
                bail!("docs/CLI.md is not what the program says of itself; write it anew with: cargo xtask docs");
            }
            return Ok(());
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }
}
