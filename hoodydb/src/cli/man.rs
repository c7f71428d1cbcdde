//! `hoodydb man`.
//!
//! Called by [`super::Cli`]; for packagers.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::model::printable;

/// Writes the man pages into a directory
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Example:
  hoodydb man /usr/local/share/man/man1

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong"
)]
pub(super) struct Args {
    /// The directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<()> {
    for (name, page) in super::install::documents()?.man_pages {
        let path = args.dir.join(name);
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", printable(&path)))?;
    }
    Ok(())
}
