//! `hoodydb db delete`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::care::{Care, Database, SIDE_FILES, named};
use crate::cli::duration;
use crate::cli::exit::{self, Failure};
use crate::database::{DatabaseError, check::beside, facts};
use crate::model::printable;

/// Removes a database and its journals, for good
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb db delete app/old.db

Exit codes:
  as of hoodydb db")]
pub(super) struct Args {
    /// The database: its absolute path, or relative to the mount point
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// Also while processes have it open (they go on with a file that has no name), and also what is no database
    #[arg(long)]
    force: bool,
    /// How long to wait for the turn: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let database = Database::named(args.mount.as_deref(), &args.db)?;
    let path = database.file();
    let care = Care::new(&database, true);
    let users = database.users()?;
    if !users.is_empty() && !args.force {
        let line = format!("{} is in use by {}: end that, or add --force", printable(&path), named(&users));
        return Err(Failure::new(exit::BUSY, line).into());
    }
    if args.force {
        path.metadata().map_err(|_| DatabaseError::Missing(path.clone()))?;
        return remove(&path);
    }
    // Whoever opens it now waits, and then finds no file of that name.
    facts::while_locked(&path, args.timeout, &care, || remove(&path))
}

/// The database first: without it nobody looks for the others.
fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", printable(path)))?;
    for side in SIDE_FILES.map(|side| beside(path, side)) {
        match std::fs::remove_file(&side) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", printable(side)));
            }
            _ => (),
        }
    }
    Ok(())
}
