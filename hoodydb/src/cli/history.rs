//! `hoodydb history`: contention minute by minute, of the last day.
//!
//! Called by [`super::Cli`]; the daemon keeps the minutes and answers from its own file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::{duration, print, style, target};
use crate::control::client::Daemon;
use crate::control::{Answer, Command};
use crate::model::history::{History, MountHistory};
use crate::render;

/// Shows how contended each database was, minute by minute, in the last 24 hours
///
/// Per minute and database: lock calls granted and waited, how long the waits took, refusals by cause, and the transaction that
/// was seen to hold a lock for longest. Minutes in which a database was not used are left out. Times are UTC.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb history
  hoodydb history --since 8h --db app/users.db
  hoodydb history --since 24h --json | jq '.mounts[].minutes[] | select(.refusals.deadline > 0)'

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs")]
pub(super) struct Args {
    /// The mount point; all live mounts without it
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Only this database, which may be gone by now: its absolute path, or relative to the mount point
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// How far back: 10m, 1h, 24h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    since: Duration,
    /// Print JSON: {"mounts": [{"mountpoint": .., "minutes": [{"minute_unix_s": .., "path": .., "waits": .., ..}]}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mount = args.mount.as_deref();
    let (mut mounts, silent) = match &args.db {
        Some(db) => {
            let target::Database { daemon, path } = target::database(mount, db)?;
            (vec![ask(&daemon, args.since, Some(&path))?], None)
        }
        None => target::ask_all(mount, |daemon| ask(daemon, args.since, None))?,
    };
    mounts.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
    let history = History { mounts };
    print(&if args.json { render::json(&history)? } else { render::history(&history, style()) })?;
    silent.map_or(Ok(()), Err)
}

fn ask(daemon: &Daemon, since: Duration, db: Option<&Path>) -> Result<MountHistory> {
    match daemon.ask(Command::History { since_s: since.as_secs(), db: db.map(Path::to_owned) })? {
        Answer::History(history) => Ok(*history),
        _ => Err(daemon.unexpected().into()),
    }
}
