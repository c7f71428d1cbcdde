//! `hoodydb db wal on|off`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cli::care::{Care, Database, named};
use crate::cli::duration;
use crate::cli::exit::{self, Failure};
use crate::database::{DatabaseError, facts};
use crate::model::printable;

/// Switches a database to a write-ahead log, or back to a rollback journal
///
/// Nobody else may have the database open while it is switched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb db wal on app/users.db
  hoodydb db wal off app/users.db

Exit codes:
  as of hoodydb db")]
pub(super) struct Args {
    /// on: a write-ahead log; off: a rollback journal
    #[arg(value_name = "on|off")]
    setting: Setting,
    /// The database: its absolute path, or relative to the mount point
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// How long to wait for the turn: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Setting {
    On,
    Off,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let database = Database::named(args.mount.as_deref(), &args.db)?;
    let path = database.file();
    let switched = facts::set_wal(&path, args.setting == Setting::On, args.timeout, &Care::new(&database, true));
    match switched {
        Err(DatabaseError::Busy { .. }) => {
            let users = database.users()?;
            let who = if users.is_empty() { "others".to_owned() } else { named(&users) };
            let line = format!("{} is in use by {who}: end that first", printable(&path));
            Err(Failure::new(exit::BUSY, line).into())
        }
        switched => Ok(switched?),
    }
}
