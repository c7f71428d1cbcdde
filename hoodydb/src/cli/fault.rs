//! `hoodydb fault`: arms a fault point of a daemon that was built for tests.

use std::path::PathBuf;

use anyhow::Result;

use super::{print, target};
use crate::control::{Answer, Command};

/// Has the worker killed at a fault point
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Example:
  hoodydb fault arm 3

Exit codes:
  0  done
  1  it failed; the line on standard error says why"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    /// The mount point; needed where several are mounted
    #[arg(long, value_name = "PATH", global = true)]
    mount: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Kill the worker at the N-th point from now; 0: do not
    #[command(after_help = "Example:\n  hoodydb fault arm 3\n\nExit codes:\n  0  done")]
    Arm {
        /// The point
        n: u64,
    },
    /// Print how many points are left
    #[command(after_help = "Example:\n  hoodydb fault left\n\nExit codes:\n  0  done")]
    Left,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let daemon = target::only(target::daemons(args.mount.as_deref())?)?;
    let arm = match args.action {
        Action::Arm { n } => Some(n),
        Action::Left => None,
    };
    match daemon.ask(Command::Fault { arm })? {
        Answer::Fault(left) => print(&format!("{left}\n")),
        _ => Err(daemon.unexpected().into()),
    }
}
