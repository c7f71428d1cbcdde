//! `hoodydb db list`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::cli::ask::{Ask, Place};
use crate::cli::care::{Care, Database};
use crate::cli::{exit, print, style, target};
use crate::control::client::Daemon;
use crate::database::{self, facts::facts};
use crate::model::{DatabaseFacts, DatabaseList, MountDatabases, text_of};
use crate::render;

/// How long one database may keep the list waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lists every database, with its size, its log, its journal mode, its tables and its users
///
/// With --dir, --url or HOODYDB_URL they are listed by the HTTP interface, one directory at a time.
/// Encrypted databases are not known for databases, and are listed while they are open only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb db list
  hoodydb db list --json --mount /hoody/databases
  hoodydb db list --dir /hoody/databases/app --url http://127.0.0.1:8090

Exit codes:
  as of hoodydb db")]
pub(super) struct Args {
    /// The mount point; all live mounts without it
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Print JSON: {"mounts": [{"mountpoint": .., "databases": [{"path": .., "size_bytes": ..}]}]}
    #[arg(long)]
    json: bool,
    /// The directory, as the HTTP interface names it; the root without it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["mount", "json"])]
    dir: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let of_the_mount = args.mount.is_some() || args.json;
    if args.dir.is_some() || args.place.is_named() || (!of_the_mount && args.place.server()?.is_some()) {
        return args.place.run(Ask::get("/db/list").with_some("dir", args.dir.as_ref()));
    }
    let (mut mounts, silent) = target::ask_all(args.mount.as_deref(), on_mount)?;
    mounts.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
    let list = DatabaseList { mounts };
    print(&if args.json { render::json(&list)? } else { render::databases(&list, style()) })?;
    silent.map_or(Ok(()), Err)
}

fn on_mount(daemon: &Daemon) -> Result<MountDatabases> {
    let top = Database::of(daemon, PathBuf::new())?;
    let mut paths = database::databases_below(&top.mountpoint)?;
    let open = target::status(daemon)?.databases;
    paths.extend(open.into_iter().map(|database| PathBuf::from(database.path)));
    paths.sort();
    paths.dedup();
    let named = paths.into_iter().map(|path| Database { path, ..top.clone() });
    let databases = named.filter(|database| database.file().is_file()).map(|database| one(&database)).collect();
    Ok(MountDatabases { mountpoint: text_of(&top.mountpoint), databases })
}

fn one(database: &Database) -> DatabaseFacts {
    let (path, wal) = (database.file(), database::check::beside(&database.file(), "-wal"));
    let size = |path: &PathBuf| path.metadata().map_or(0, |meta| meta.len());
    let written = [&path, &wal].into_iter().filter_map(|path| path.metadata().ok()?.modified().ok()).max();
    let mut answer = DatabaseFacts {
        path: text_of(&database.path),
        size_bytes: size(&path),
        wal_bytes: size(&wal),
        journal_mode: "unknown".to_owned(),
        last_write_s: seconds(written.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())),
        last_write_age_s: seconds(written.and_then(|time| time.elapsed().ok())),
        users: database.users().unwrap_or_default(),
        ..DatabaseFacts::default()
    };
    match facts(&path, PATIENCE, &Care::new(database, true)) {
        Ok(facts) => {
            answer.journal_mode = facts.journal_mode;
            answer.page_size = u32::try_from(facts.page_size).unwrap_or(0);
            (answer.pages, answer.free_pages, answer.tables) = (facts.pages, facts.free_pages, facts.tables);
        }
        Err(error) => answer.error = Some(exit::line_of(&error.into())),
    }
    answer
}

fn seconds(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| time.as_secs())
}
