//! `hoodydb db delete`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::ask::{Ask, Place};
use crate::cli::care::{Care, Database, SIDE_FILES, named};
use crate::cli::exit::{self, Failure};
use crate::database::{DatabaseError, check::beside, facts};
use crate::model::printable;

/// Removes a database and its journals, for good
///
/// With --db it is removed by the HTTP interface.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb db delete app/old.db
  hoodydb db delete --db old -y --url http://127.0.0.1:8090

Exit codes:
  as of hoodydb db")]
pub(super) struct Args {
    /// The database: its absolute path, or relative to the mount point
    #[arg(value_name = "DB", required_unless_present = "name")]
    db: Option<PathBuf>,
    /// The database as the HTTP interface names it: a name in the root, or an absolute path
    #[arg(long = "db", id = "name", value_name = "DB", conflicts_with_all = ["db", "force", "mount"])]
    name: Option<String>,
    /// Also while processes have it open (they go on with a file that has no name), and also what is no database
    #[arg(long)]
    force: bool,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// How long to wait for the turn.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(args: &Args) -> Result<()> {
    let of_interface = args.db.as_ref().map(|db| db.to_string_lossy().into_owned()).filter(|_| args.place.is_named());
    if let Some(name) = args.name.clone().or(of_interface) {
        args.place.confirm(&format!("remove the database {name}"))?;
        return args.place.run(Ask::delete("/db").with("db", name));
    }
    let db = args.db.as_deref().context("name a database")?;
    let database = Database::named(args.mount.as_deref(), db)?;
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
    facts::while_locked(&path, args.place.timeout.unwrap_or(TIMEOUT), &care, || remove(&path))
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
