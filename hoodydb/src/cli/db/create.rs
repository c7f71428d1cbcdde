//! `hoodydb db create`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::archive::{self, Partial};
use crate::cli::ask::{Ask, Place, usage};
use crate::cli::care::{Database, SIDE_FILES, share};
use crate::database::{check::beside, facts};
use crate::model::printable;

/// Makes an empty database
///
/// With --path it is made by the HTTP interface, with its tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb db create app/users.db
  hoodydb db create app/users.db --journal delete --page-size 8192
  hoodydb db create --path shop --init-kv --url http://127.0.0.1:8090

Exit codes:
  as of hoodydb db")]
pub(super) struct Args {
    /// The database: its absolute path, or relative to the mount point
    #[arg(value_name = "DB", required_unless_present = "path")]
    db: Option<PathBuf>,
    /// The database as the HTTP interface names it: a name in the root, or an absolute path
    #[arg(long, value_name = "PATH", conflicts_with_all = ["db", "journal", "page_size", "mount"])]
    path: Option<String>,
    /// With the tables of keys and values
    #[arg(long)]
    init_kv: bool,
    /// Their name
    #[arg(long, value_name = "NAME", default_value = "kv_store")]
    kv_table: String,
    /// How it keeps its transactions
    #[arg(long, value_name = "MODE", default_value = "wal")]
    journal: Journal,
    /// Bytes of a page: a power of two from 512 to 65536
    #[arg(long, value_name = "BYTES", value_parser = parse_page_size)]
    page_size: Option<u32>,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Journal {
    /// A write-ahead log: readers and writers do not wait for each other
    Wal,
    /// A rollback journal
    Delete,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let of_interface = args.db.as_ref().map(|db| db.to_string_lossy().into_owned()).filter(|_| args.place.is_named());
    if let Some(path) = args.path.clone().or(of_interface) {
        let ask = Ask::post("/db/create").with("path", path).with_flag("init_kv", args.init_kv);
        return args.place.run(ask.with("kv_table", &args.kv_table));
    }
    if args.init_kv {
        return Err(usage("--init-kv is of the HTTP interface: name the database by --path"));
    }
    let db = args.db.as_deref().context("name a database")?;
    let database = Database::named(args.mount.as_deref(), db)?;
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
