//! `hoodydb locks`.
//!
//! Called by [`super::Cli`]; a snapshot, each mount's taken at one moment.

use std::path::PathBuf;

use anyhow::Result;

use super::{print, style, target};
use crate::control::client::Daemon;
use crate::control::{Answer, Command};
use crate::model::{Locks, MountLocks};
use crate::render;

/// Shows every holder of a lock and everyone who waits for one, now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb locks
  hoodydb locks --db app/users.db
  hoodydb locks --json --db /hoody/databases/app/users.db

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs")]
pub(super) struct Args {
    /// The mount point; all live mounts without it
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Only this database: its absolute path, or relative to the mount point
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// Print JSON: {"mounts": [{"mountpoint": .., "databases": [{"holders": [..], "waiters": [..]}]}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mount = args.mount.as_deref();
    let (mut mounts, silent) = match &args.db {
        Some(db) => {
            let target::Database { daemon, path } = target::database(mount, db)?;
            (vec![ask(&daemon, Some(path))?], None)
        }
        None => target::ask_all(mount, |daemon| ask(daemon, None))?,
    };
    mounts.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
    let locks = Locks { mounts };
    print(&if args.json { render::json(&locks)? } else { render::locks(&locks, style()) })?;
    silent.map_or(Ok(()), Err)
}

fn ask(daemon: &Daemon, db: Option<PathBuf>) -> Result<MountLocks> {
    match daemon.ask(Command::Locks { db })? {
        Answer::Locks(locks) => Ok(locks),
        _ => Err(daemon.unexpected().into()),
    }
}
