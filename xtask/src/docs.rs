//! `cargo xtask docs`: docs/CLI.md and docs/openapi.yaml from the program itself, so that they never say anything else.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Arguments of `docs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Fail if a file is not up to date, and write nothing
    #[arg(long)]
    pub check: bool,
}

impl Args {
    /// Writes or compares the files.
    ///
    /// # Errors
    /// If the program cannot be built, or `--check` finds a difference.
    pub fn run(self) -> Result<()> {
        shell::run(shell::cargo().args(["build", "--release", "--package", "hoodydb"]))?;
        for (name, arguments) in [("docs/CLI.md", &["markdown"][..]), ("docs/openapi.yaml", &["markdown", "--openapi"])]
        {
            let text = shell::read(std::process::Command::new(shell::hoodydb()).args(arguments))?;
            let path = shell::root().join(name);
            if !self.check {
                std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            } else if std::fs::read_to_string(&path).with_context(|| path.display().to_string())? != text {
                bail!("{name} is not what the program says of itself; write it anew with: cargo xtask docs");
            }
        }
        Ok(())
    }
}
