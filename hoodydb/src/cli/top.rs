//! `hoodydb top`: who waits for whom, live or once.
//!
//! Called by [`super::Cli`]. It asks the daemons for looks, has [`crate::model`] make rates of two, and [`crate::render`] draw
//! them.

mod live;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{duration, print, style, target};
use crate::control::client::Daemon;
use crate::control::{Answer, Command};
use crate::model::{Observation, Watch, text_of};
use crate::render;

/// Shows who holds, who waits and how long, database by database, live
///
/// On a terminal it is a live screen: ? shows its keys, q ends it. Elsewhere, and with --once, it prints one frame, whose rates
/// are those of one --interval. Rates, waits and refusals are the lock manager's own counts; how long locks are held is known
/// from the kernel's tracer, and the screen says so where that is missing. A read-to-write upgrade is inferred: SQLite does not
/// say that it wants one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb top
  hoodydb top --db app/users.db --interval 250ms
  hoodydb top --once
  hoodydb top --once --json | jq '.mounts[].databases[0]'

Environment:
  NO_COLOR  no colours, if it is set to anything

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
    /// Between two looks: 250ms, 1s, 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one frame and end
    #[arg(long)]
    once: bool,
    /// Print JSON, one frame: {"mounts": [{"mountpoint": .., "databases": [{"path": .., "waits_per_s": .., ..}]}]}
    #[arg(long)]
    json: bool,
}

/// A tenth of a second is as much as anybody can read, and a look costs the daemon something.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    match interval.as_millis() {
        100..=3_600_000 => Ok(interval),
        _ => Err("an interval is 100ms at least and 1h at most".to_owned()),
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let source = Source::of(args)?;
    if args.once || args.json || !has_screen() {
        return once(&source, args);
    }
    // What is wrong from the start is told as any command tells it.
    let (first, _) = source.looks()?;
    live::run(source, args.interval, style().colour, first)
}

/// Whether there is a terminal that can move its cursor, with somebody at its keys.
fn has_screen() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !is_dumb
}

/// Two looks, one frame.
fn once(source: &Source, args: &Args) -> Result<()> {
    let mut watch = Watch::default();
    watch.take(source.looks()?.0);
    std::thread::sleep(args.interval);
    let (looks, silent) = source.looks()?;
    watch.take(looks);
    let top = watch.top();
    print(&if args.json { render::json(top)? } else { render::top(top, style()) })?;
    silent.map_or(Ok(()), Err)
}

/// Where looks come from.
struct Source {
    mount: Option<PathBuf>,
    database: Option<(Daemon, String)>,
}

impl Source {
    fn of(args: &Args) -> Result<Self> {
        let mount = args.mount.clone();
        let database = args.db.as_ref().map(|db| target::database(mount.as_deref(), db)).transpose()?;
        let database = database.map(|target::Database { daemon, path }| (daemon, text_of(path)));
        Ok(Self { mount, database })
    }

    /// One look at each mount; an error beside them is that of a daemon that did not answer.
    fn looks(&self) -> Result<(Vec<Observation>, Option<anyhow::Error>)> {
        match &self.database {
            Some((daemon, path)) => {
                let mut look = look(daemon)?;
                look.databases.retain(|database| is_named(&database.path, path));
                Ok((vec![look], None))
            }
            None => {
                let (mut looks, silent) = target::ask_all(self.mount.as_deref(), look)?;
                looks.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
                Ok((looks, silent))
            }
        }
    }
}

/// Whether a database has a name now, or had it last.
fn is_named(database: &str, path: &str) -> bool {
    database.strip_suffix(" (deleted)").unwrap_or(database) == path
}

fn look(daemon: &Daemon) -> Result<Observation> {
    match daemon.ask(Command::Observe)? {
        Answer::Observation(look) => Ok(*look),
        _ => Err(daemon.unexpected().into()),
    }
}
