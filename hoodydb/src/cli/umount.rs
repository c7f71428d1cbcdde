//! `hoodydb umount`.
//!
//! Called by [`super::Cli`]; asks the daemon and waits until the mount is gone. A dead daemon's mount it clears away itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::exit::{self, Failure};
use super::target::plain_path;
use crate::control::client::Daemon;
use crate::control::{Answer, Command, ControlError, socket};
use crate::model::{UnmountAnswer, printable};
use crate::process::mounts::{self, FS_TYPE};
use crate::render;

/// How often the daemon is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// How often the same is told again.
const REPEAT: Duration = Duration::from_secs(10);

/// Unmounts, and waits until it is done
///
/// With files open it names their users, lets no new transaction begin, waits for the running ones and ends. No running
/// transaction is ever aborted: the mount stays until the last one is over, and those that take longer than the daemon's
/// --drain are named. Ctrl-C ends the waiting, not the unmount.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb umount
  hoodydb umount /hoody/databases --lazy

Exit codes:
  0  the mount is gone (with --lazy: it goes as soon as no transaction runs)
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there
  4  another file system is mounted there")]
pub(super) struct Args {
    /// The mount point
    #[arg(value_name = "MOUNTPOINT", default_value = "/hoody/databases")]
    mountpoint: PathBuf,
    /// Do not wait: the mount point goes as soon as no transaction runs, and the daemon ends when the last file is closed
    ///
    /// Until then, connections in WAL mode that are open are served as before. Those in rollback mode are told "database is
    /// locked": SQLite could not find its journal by name any more.
    #[arg(long)]
    lazy: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mountpoint = plain_path(&args.mountpoint)?;
    let Some(daemon) = Daemon::at(&socket::run_dir(), &mountpoint) else {
        return clear_dead(&mountpoint);
    };
    let mut shown = Progress::default();
    let mut question = Command::Unmount { lazy: args.lazy };
    loop {
        match ask(&daemon, question) {
            Ok(answer) if args.lazy && answer.phase == "detached" => return Ok(()),
            Ok(answer) if args.lazy && answer.phase == "draining" && !answer.running.is_empty() => {
                shown.show(&answer);
                return Ok(());
            }
            // The daemon is about to detach.
            Ok(_) if args.lazy => (),
            Ok(answer) if answer.overdue => shown.show(&answer),
            // For a while it is not worth a word that transactions run.
            Ok(answer) => shown.show(&UnmountAnswer { running: Vec::new(), ..answer }),
            // The daemon ended between two questions, or in the middle of one: even of the first, where nothing is open.
            Err(ControlError::Socket { .. } | ControlError::Silent { .. })
                if Daemon::at(&socket::run_dir(), &mountpoint).is_none() =>
            {
                break;
            }
            Err(error) => return Err(error.into()),
        }
        question = Command::UnmountProgress;
        std::thread::sleep(LOOK);
    }
    match mounts::mounted_at(&mountpoint)? {
        // The daemon ended without a word: its mount is dead now.
        Some(mount) if mount.fs_type == FS_TYPE => clear_dead(&mountpoint),
        _ => Ok(()),
    }
}

fn ask(daemon: &Daemon, command: Command) -> Result<UnmountAnswer, ControlError> {
    match daemon.ask(command)? {
        Answer::Unmount(answer) => Ok(answer),
        _ => Err(daemon.unexpected()),
    }
}

/// Clears away what a dead daemon left.
fn clear_dead(mountpoint: &Path) -> Result<()> {
    let shown = printable(mountpoint);
    let mount = mounts::mounted_at(mountpoint)?.ok_or_else(|| Failure::not_mounted(mountpoint))?;
    if mount.fs_type != FS_TYPE {
        let what = format!("{shown} is a mount of {} and not of hoodydb: use umount", printable(&mount.fs_type));
        return Err(Failure::new(exit::BUSY, what).into());
    }
    if !mounts::is_dead(mountpoint) {
        let what = format!(
            "{shown} is served by a daemon whose socket is not in {}: set HOODYDB_RUN_DIR as it was when it was mounted",
            printable(socket::run_dir())
        );
        return Err(Failure::new(exit::FAILURE, what).into());
    }
    // A connection that is gone cannot be aborted; there is nothing to do then.
    let _ = mounts::abort_connection(mount.device);
    mounts::detach(mountpoint).with_context(|| format!("cannot clear away the dead mount at {shown}"))?;
    eprintln!("hoodydb: the daemon of {shown} is dead; its mount was cleared away");
    Ok(())
}

/// What was told already: only news is printed.
#[derive(Default)]
struct Progress {
    lines: BTreeMap<String, Instant>,
}

impl Progress {
    fn show(&mut self, answer: &UnmountAnswer) {
        for line in render::unmount_users(answer).lines() {
            let is_news = self.lines.get(line).is_none_or(|told| told.elapsed() > REPEAT);
            if is_news {
                // Nobody reads standard error any more: the unmount goes on all the same.
                let _ = writeln!(std::io::stderr(), "{line}");
                self.lines.insert(line.to_owned(), Instant::now());
            }
        }
    }
}
