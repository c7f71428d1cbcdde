//! `hoodydb db create`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::archive::{self, Partial};
use crate::cli::care::{Database, SIDE_FILES, share};
use crate::database::{check::beside, facts};
use crate::model::printable;

/// Makes an empty database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb db create app/users.db
  hoodydb db create app/users.db --journal delete --page-size 8192

Exit codes:
  as of hoodydb db")]
pub(super) struct Args {
    /// The database: its absolute path, or relative to the mount point
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// How it keeps its transactions
    #[arg(long, value_name = "MODE", default_value = "wal")]
    journal: Journal,
    /// Bytes of a page: a power of two from 512 to 65536
    #[arg(long, value_name = "BYTES", value_parser = parse_page_size)]
    page_size: Option<u32>,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Journal {
    /// A write-ahead log: readers and writers do not wait for each other
    Wal,
    /// A rollback journal
    Delete,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let database = Database::named(args.mount.as_deref(), &args.db)?;
    let path = database.file();
    if path.symlink_metadata().is_ok() {
        bail!("{} exists", printable(&path));
    }
    if let Some(side) = SIDE_FILES.iter().map(|side| beside(&path, side)).find(|side| side.exists()) {
        bail!("{} is left of another database: put it aside first", printable(side));
    }
    let directory = path.parent().context("a database lies in a directory")?;
    if !directory.is_dir() {
        bail!("{} does not exist: make the directory first", printable(directory));
    }
    archive::clean(directory)?;
    let partial = Partial::new(directory)?;
    share(&partial)?;
    facts::create(partial.path(), args.journal == Journal::Wal, args.page_size)?;
    partial.sync()?;
    Ok(partial.rename(&path, false)?)
}

fn parse_page_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size: &u32| size.is_power_of_two() && (512..=65_536).contains(size));
    size.ok_or_else(|| format!("'{text}' is no size of a page: write a power of two from 512 to 65536"))
}
