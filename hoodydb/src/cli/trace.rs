//! `hoodydb trace`: lock calls as they end, like strace for locks.
//!
//! Called by [`super::Cli`]. It asks the daemon for what lies behind a cursor, again and again: a daemon whose worker is replaced
//! meanwhile is asked by the same cursor.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

use super::{print, target};
use crate::control::client::Daemon;
use crate::control::{Answer, Command};
use crate::model::{LockEvents, Traced};
use crate::render;

/// So many events at once, and more are waiting perhaps.
const MANY: usize = 2_048;

/// How often the daemon is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// Shows every lock call on a mount as it ends: when, who, on what, the answer, and how long it waited or was held
///
/// The calls are seen in the kernel, so nothing slows down but by a microsecond per call. A line of `close` is a lock that ended
/// because its file was closed or its process ended. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb trace
  hoodydb trace --db app/users.db
  hoodydb trace --json | jq 'select(.result != 0)'

Exit codes:
  0  done (the output was closed, or --count was reached)
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs")]
pub(super) struct Args {
    /// The mount point; needed where several are live
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Only this database and its WAL index: its absolute path, or relative to the mount point
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// End after so many lines
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print JSON, one object per line; {"lost": N} where events are missing
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mount = args.mount.as_deref();
    let (daemon, db) = match &args.db {
        Some(db) => {
            let target::Database { daemon, path } = target::database(mount, db)?;
            (daemon, Some(path))
        }
        None => (target::only(target::daemons(mount)?)?, None),
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut cursor = ask(&daemon, None, &db)?.cursor;
    if !args.json {
        print(&render::trace::head())?;
    }
    while left > 0 {
        let answer = ask(&daemon, Some(cursor), &db)?;
        let is_all = answer.events.len() < MANY;
        cursor = answer.cursor;
        let clock = Clock::now();
        let mut text = String::new();
        if answer.lost > 0 {
            text.push_str(&lost(answer.lost, args.json)?);
        }
        for event in answer.events {
            if left == 0 {
                break;
            }
            left -= 1;
            let event = Traced { time_us: clock.time_us(event.ended_ns), event };
            text.push_str(&line(&event, args.json)?);
        }
        if !write(&text)? {
            return Ok(());
        }
        if is_all {
            std::thread::sleep(INTERVAL);
        }
    }
    Ok(())
}

fn ask(daemon: &Daemon, cursor: Option<u64>, db: &Option<PathBuf>) -> Result<LockEvents> {
    match daemon.ask(Command::Events { cursor, db: db.clone() })? {
        Answer::Events(events) => Ok(events),
        _ => bail!(daemon.unexpected()),
    }
}

fn line(event: &Traced, json: bool) -> Result<String> {
    Ok(if json { render::json_line(event)? } else { render::trace::line(event) })
}

fn lost(count: u64, json: bool) -> Result<String> {
    Ok(if json { render::json_line(&serde_json::json!({ "lost": count }))? } else { render::trace::lost(count) })
}

/// False when nobody reads any more.
fn write(text: &str) -> Result<bool> {
    use std::io::Write;
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// From the kernel's clock to the wall's.
struct Clock {
    wall_us: u64,
    monotonic_ns: u64,
}

impl Clock {
    fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let of = |nanos: u128| u64::try_from(nanos).unwrap_or(u64::MAX);
        Self { wall_us: of(wall.as_micros()), monotonic_ns: of(monotonic.as_nanos()) }
    }

    fn time_us(&self, ended_ns: u64) -> u64 {
        self.wall_us.saturating_sub(self.monotonic_ns.saturating_sub(ended_ns) / 1000)
    }
}
