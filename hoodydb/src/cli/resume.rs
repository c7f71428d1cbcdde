//! `hoodydb resume`: goes on with a mount that this process already has. Never typed: a keeper or a worker becomes it.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::exit::{self, Failure};
use super::print;
use crate::{daemon, telemetry};

/// Go on with a mount whose descriptors this process has
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Example:
  (started by hoodydb itself)

Exit codes:
  0  the mount was unmounted; with --check: this program can go on with it
  1  it failed; the line on standard error says why"
)]
pub(super) struct Args {
    /// The descriptor of the shared memory
    #[arg(long, value_name = "FD", required_unless_present = "check")]
    memory: Option<RawFd>,
    /// The descriptor of the program to go back to
    #[arg(long, value_name = "FD")]
    previous: Option<RawFd>,
    /// Only say whether this program could go on with the shared memory at this path
    #[arg(long, value_name = "PATH")]
    check: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let failure = |error: daemon::DaemonError| Failure::new(exit::FAILURE, error.to_string());
    if let Some(path) = &args.check {
        return print(&format!("{}\n", daemon::can_resume(path).map_err(failure)?));
    }
    // The kernel took the name from the path that was executed.
    let _ = rustix::thread::set_name(c"hoodydb");
    let start_log = |file: Option<&Path>| match file {
        Some(file) => {
            // Without a log the mount is served all the same.
            let _ = telemetry::to_file(file);
        }
        None => telemetry::to_stderr(),
    };
    daemon::resume(args.memory.unwrap_or(-1), args.previous, start_log).map_err(failure)?;
    Ok(())
}
