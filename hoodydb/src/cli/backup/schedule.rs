//! `hoodydb backup schedule`: backups that the daemon has made again and again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::how::How;
use crate::cli::care::{Database, Which};
use crate::cli::{duration, print, style, target};
use crate::control::client::Daemon;
use crate::control::{Answer, Command};
use crate::model::{MountStatus, NewSchedule, ScheduleStatus, Status};
use crate::render;

/// Has backups made again and again
///
/// The daemon starts each run as a process of its own, `hoodydb backup`. `hoodydb status` shows how the last run ended, and warns
/// of one that failed. Without the daemon's help: `hoodydb backup schedule timer` prints units for systemd.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  hoodydb backup schedule add --all --every 1h --keep 24
  hoodydb backup schedule list
  hoodydb backup schedule remove 1

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs"
)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Adds a schedule; its first run begins at once
    #[command(after_help = "\
Examples:
  hoodydb backup schedule add --all --every 1h --keep 24
  hoodydb backup schedule add app/users.db --every 15m --to /srv/backups --keep-hourly 24 --keep-daily 7

Exit codes:
  as of hoodydb backup schedule")]
    Add {
        #[command(flatten)]
        what: What,
        /// Print JSON: {"id": .., "every_s": .., "last": ..}
        #[arg(long)]
        json: bool,
    },
    /// Lists the schedules, and how their last runs ended
    #[command(after_help = "\
Example:
  hoodydb backup schedule list --json

Exit codes:
  as of hoodydb backup schedule")]
    List {
        /// The mount point; all live mounts without it
        #[arg(long, value_name = "PATH")]
        mount: Option<PathBuf>,
        /// Print JSON: {"mounts": [{"mountpoint": .., "schedules": [..]}]}
        #[arg(long)]
        json: bool,
    },
    /// Removes a schedule; a run that is at work goes on, and no backup is removed
    #[command(after_help = "\
Example:
  hoodydb backup schedule remove 1

Exit codes:
  as of hoodydb backup schedule")]
    Remove {
        /// Its number, as list shows it
        #[arg(value_name = "ID")]
        id: u64,
        /// The mount point; needed where several are mounted
        #[arg(long, value_name = "PATH")]
        mount: Option<PathBuf>,
    },
    /// Prints a service and a timer for systemd that do the same without the daemon's schedules
    #[command(after_help = "\
Example:
  hoodydb backup schedule timer --all --every 1h --keep 24

Exit codes:
  as of hoodydb backup schedule")]
    Timer {
        #[command(flatten)]
        what: What,
    },
}

#[derive(Debug, clap::Args)]
struct What {
    #[command(flatten)]
    which: Which,
    /// From the start of one run to the start of the next: 15m, 1h, 24h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    every: Duration,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Add { what, json } => {
            let (daemon, schedule) = what.resolve()?;
            let added = ask(&daemon, Command::ScheduleAdd { schedule })?;
            print(&if *json { render::json(&added)? } else { render::schedule(&added, style()) })
        }
        Action::List { mount, json } => {
            let (mut mounts, silent) = target::ask_all(mount.as_deref(), target::status)?;
            mounts.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
            let status = Status { mounts };
            print(&if *json { render::json(&listed(&status.mounts))? } else { render::schedules(&status, style()) })?;
            silent.map_or(Ok(()), Err)
        }
        Action::Remove { id, mount } => {
            let daemon = target::only(target::daemons(mount.as_deref())?)?;
            ask(&daemon, Command::ScheduleRemove { id: *id }).map(|_| ())
        }
        Action::Timer { what } => what.timer(),
    }
}

fn ask(daemon: &Daemon, command: Command) -> Result<ScheduleStatus> {
    match daemon.ask(command)? {
        Answer::Schedule(schedule) => Ok(*schedule),
        _ => Err(daemon.unexpected().into()),
    }
}

fn listed(mounts: &[MountStatus]) -> serde_json::Value {
    let one = |mount: &MountStatus| {
        serde_json::json!({
            "mountpoint": mount.mountpoint,
            "schedules": mount.schedules,
            "schedules_error": mount.schedules_error,
        })
    };
    serde_json::json!({ "mounts": mounts.iter().map(one).collect::<Vec<_>>() })
}

impl What {
    /// The one daemon that is meant, and what it is to do.
    fn resolve(&self) -> Result<(Daemon, NewSchedule)> {
        if self.every < Duration::from_secs(1) {
            bail!("a schedule runs once a second at most");
        }
        let (daemon, databases) = if self.which.is_all() {
            (target::only(target::daemons(self.which.mount())?)?, Vec::new())
        } else {
            let found = self.which.find()?;
            let Some(Database { daemon, .. }) = found.first().cloned() else { bail!("name a database, or say --all") };
            if found.iter().any(|database| database.daemon != daemon) {
                bail!("the databases are on several mounts: add a schedule for each mount");
            }
            (daemon, found.into_iter().map(|database| database.path).collect())
        };
        let schedule = NewSchedule {
            databases,
            to: std::path::absolute(&self.how.to)?,
            every_s: self.every.as_secs(),
            options: self.how.words(),
        };
        // As one for several databases: each has a directory of its own.
        if schedule.to.is_file() {
            bail!("{} is a file: name a directory", crate::model::printable(&schedule.to));
        }
        Ok((daemon, schedule))
    }

    fn timer(&self) -> Result<()> {
        let (daemon, schedule) = self.resolve()?;
        let mountpoint = target::status(&daemon)?.mountpoint;
        let program = std::env::current_exe()?;
        let mut words = vec![program.to_string_lossy().into_owned(), "backup".to_owned()];
        words.extend(["--mount".to_owned(), mountpoint]);
        words.extend(["--to".to_owned(), schedule.to.join("").to_string_lossy().into_owned()]);
        words.extend(schedule.options);
        if schedule.databases.is_empty() {
            words.push("--all".to_owned());
        }
        words.push("--".to_owned());
        words.extend(schedule.databases.iter().map(|path| path.to_string_lossy().into_owned()));
        if schedule.databases.is_empty() {
            words.pop();
        }
        let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        print(&format!(
            "# /etc/systemd/system/hoodydb-backup.service\n[Unit]\nDescription=Backup of databases of hoodydb\n\n\
             [Service]\nType=oneshot\nExecStart={}\n\n\
             # /etc/systemd/system/hoodydb-backup.timer\n[Unit]\nDescription=Backups of databases of hoodydb\n\n\
             [Timer]\nOnActiveSec=0\nOnUnitActiveSec={}s\n\n[Install]\nWantedBy=timers.target\n",
            line.join(" "),
            schedule.every_s
        ))
    }
}

/// A word of ExecStart.
///
/// # Source
/// systemd.service(5), "Command lines": double quotes, C escapes, `$$` and `%%`.
fn quoted(word: &str) -> String {
    let mut text = String::new();
    for character in word.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '$' | '%' => text.extend([character, character]),
            control if control.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => text.push(other),
        }
    }
    if text.chars().all(|character| character.is_ascii_alphanumeric() || "/-_.=:".contains(character)) {
        text
    } else {
        format!("\"{text}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_are_quoted() {
        assert_eq!(quoted("--keep=24"), "--keep=24");
        assert_eq!(quoted("a \"b\"$%\\\n.db"), "\"a \\\"b\\\"$$%%\\\\\\x0a.db\"");
    }
}
