//! `hoodydb completions`.
//!
//! Called by [`super::Cli`]; writes a script that the shell reads.

use anyhow::Result;
use clap::CommandFactory;

/// Prints a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hoodydb completions bash > /etc/bash_completion.d/hoodydb

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong")]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "hoodydb", &mut script);
    super::print(&String::from_utf8(script)?)
}
