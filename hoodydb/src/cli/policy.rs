//! `hoodydb policy get` and `hoodydb policy set`.
//!
//! Called by [`super::Cli`]; the daemon stores what is set.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{print, target};
use crate::control::{Answer, Command};
use crate::manager::Policy;
use crate::render;

/// The names of the policies, in the order of the help.
pub(super) const NAMES: [&str; 3] = ["turn", "serial", "posix"];

/// Shows or sets how the requests for one database are put in order
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Policies:
  turn    writers take turns, readers pass (the default)
  serial  one transaction at a time, readers included
  posix   no queue: a conflict is answered at once, as on any file system

Examples:
  hoodydb policy get app/users.db
  hoodydb policy set app/users.db mode=serial

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows the policy of a database
    #[command(after_help = "\
Example:
  hoodydb policy get /hoody/databases/app/users.db

Exit codes:
  as of hoodydb policy")]
    Get {
        /// The database: its absolute path, or relative to the mount point
        #[arg(value_name = "DB")]
        db: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Sets the policy of a database, for good: it is kept over restarts, and when the database is made anew
    #[command(after_help = "\
Example:
  hoodydb policy set app/users.db mode=serial

Exit codes:
  as of hoodydb policy")]
    Set {
        /// The database: its absolute path, or relative to the mount point
        #[arg(value_name = "DB")]
        db: PathBuf,
        /// What to set: mode=turn, mode=serial or mode=posix
        #[arg(value_name = "KEY=VALUE", value_parser = parse_setting)]
        mode: Policy,
        /// Also for a file without SQLite's header: an encrypted database
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Print JSON: {"mountpoint": .., "path": .., "mode": .., "own": ..}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let (db, common, ask): (_, _, Box<dyn FnOnce(PathBuf) -> Command>) = match args.action {
        Action::Get { db, common } => (db, common, Box::new(|db| Command::PolicyGet { db })),
        Action::Set { db, mode, force, common } => {
            (db, common, Box::new(move |db| Command::PolicySet { db, mode, force }))
        }
    };
    let target::Database { daemon, path } = target::database(common.mount.as_deref(), &db)?;
    match daemon.ask(ask(path))? {
        Answer::Policy(answer) => print(&if common.json { render::json(&answer)? } else { render::policy(&answer) }),
        _ => Err(daemon.unexpected().into()),
    }
}

/// The parser of a policy's name.
pub(super) fn name_parser() -> impl TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(NAMES).map(|name| parse_name(&name).unwrap_or_default())
}

/// The name of a policy, as [`name_parser`] takes it.
pub(super) const fn name_of(policy: Policy) -> &'static str {
    match policy {
        Policy::Turn => "turn",
        Policy::Serial => "serial",
        Policy::Posix => "posix",
    }
}

fn parse_name(name: &str) -> Option<Policy> {
    match name {
        "turn" => Some(Policy::Turn),
        "serial" => Some(Policy::Serial),
        "posix" => Some(Policy::Posix),
        _ => None,
    }
}

fn parse_setting(text: &str) -> Result<Policy, String> {
    let known = || format!("'{text}' cannot be set: write mode=turn, mode=serial or mode=posix");
    text.strip_prefix("mode=").and_then(parse_name).ok_or_else(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_key_and_value() {
        assert_eq!(parse_setting("mode=serial"), Ok(Policy::Serial));
        for text in ["", "mode", "mode=", "mode=fast", "serial", "Mode=turn"] {
            assert!(parse_setting(text).unwrap_err().contains("mode=turn"), "{text}");
        }
        assert!(NAMES.iter().all(|name| parse_name(name).is_some()));
    }
}
