//! `hoodydb upgrade`.
//!
//! Called by [`super::Cli`]; asks the worker, which checks the program and hands over to it. The worker is gone before it could
//! answer that it did, so the outcome is read from the status of its successor.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::exit::{self, Failure};
use super::{print, target};
use crate::control::client::Daemon;
use crate::control::{Command, ControlError};
use crate::model::{MountStatus, printable};

/// How often the successor is asked for.
const LOOK: Duration = Duration::from_millis(20);

/// So long a new program, and after it the old one, has to come up.
const LIMIT: Duration = Duration::from_secs(120);

/// Goes over to another version of hoodydb while the mount is in use
///
/// Programs that use the mount notice nothing: open files, locks and waits go on. The new program is tried before anything
/// stops, and if it does not come up the mount goes back to the program before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb upgrade                             the mount goes over to this hoodydb
  hoodydb upgrade --binary /opt/hoodydb-0.2/hoodydb --mount /hoody/databases

Exit codes:
  0  the mount is served by the new program
  1  it was refused, or did not come up: the program is the one before
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs")]
pub(super) struct Args {
    /// The program to go over to [default: the one that runs this command]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The mount point; needed where several are mounted
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe().context("cannot tell the path of this program: name one with --binary")?,
    };
    let daemon = target::only(target::daemons(args.mount.as_deref())?)?;
    let before = target::status(&daemon)?;
    match daemon.ask(Command::Upgrade { binary: binary.clone() }) {
        // It handed over before it could answer.
        Err(ControlError::Silent { .. }) => (),
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(daemon.unexpected().into()),
    }
    let after = successor(&daemon, &before)?;
    let reason = after.last_restart.as_ref().map_or("", |restart| restart.reason.as_str());
    if reason != "upgraded" {
        return Err(Failure::new(exit::FAILURE, format!("{}: {reason}", printable(&binary))).into());
    }
    let stall_us = after.last_restart.as_ref().map_or(0, |restart| restart.stall_us);
    print(&format!(
        "{} is served by {} (version {}, before {}); requests stood still for {}.{} ms\n",
        printable(&after.mountpoint),
        printable(&binary),
        after.version,
        before.version,
        stall_us / 1000,
        stall_us % 1000 / 100
    ))
}

/// The status once another worker answers.
fn successor(daemon: &Daemon, before: &MountStatus) -> Result<MountStatus> {
    let begun = Instant::now();
    loop {
        match target::status(daemon) {
            Ok(status) if status.restarts > before.restarts && status.worker_pid != before.worker_pid => {
                return Ok(status);
            }
            Ok(_) => (),
            Err(error) if begun.elapsed() > LIMIT => return Err(error),
            Err(_) => (),
        }
        if begun.elapsed() > LIMIT {
            let why = "the worker did not hand over in time: see its log";
            return Err(Failure::new(exit::FAILURE, why).into());
        }
        std::thread::sleep(LOOK);
    }
}
