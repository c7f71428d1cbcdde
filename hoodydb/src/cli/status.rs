//! `hoodydb status`.
//!
//! Called by [`super::Cli`]; shows every live mount, or the one that is named.

use std::path::PathBuf;

use anyhow::Result;

use super::{print, style, target};
use crate::model::Status;
use crate::render;

/// Shows what is mounted, and how it goes: requests, databases, locks, waits, refusals
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb status
  hoodydb status --json --mount /hoody/databases

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs")]
pub(super) struct Args {
    /// The mount point; all live mounts without it
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Print JSON: {"mounts": [{"mountpoint": .., "databases": [..], ..}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let (mut mounts, silent) = target::ask_all(args.mount.as_deref(), target::status)?;
    mounts.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
    let status = Status { mounts };
    print(&if args.json { render::json(&status)? } else { render::status(&status, style()) })?;
    silent.map_or(Ok(()), Err)
}
