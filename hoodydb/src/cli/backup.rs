//! `hoodydb backup`.
//!
//! Called by [`super::Cli`], and by schedules as a process of its own. Each database is copied by [`crate::database`] into a
//! file that [`crate::archive`] gives its name when it is checked and on the disk.

mod how;
mod schedule;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::care::{Care, Database, Which, check_room};
use super::exit::{self, Failure};
use super::{print, style};
use crate::archive::{self, COMPRESSED, ENDING, Keep, Partial};
use crate::database::copy::{CopyOptions, copy};
use crate::database::{self, DatabaseError, Depth};
use crate::model::{Backup, BackupAnswer, FailedDatabase, Manifest, printable, text_of};
use crate::render;
use how::{Compression, How, Verify};

/// Copies databases while they are in use
///
/// Each copy is one state that the database had. In WAL mode nobody waits for it. With a rollback journal it is copied in steps
/// between the writers, and begins anew when somebody wrote; after a few times it copies without a lock, and keeps writers out
/// while it compares the two. It gives way before anybody is refused because of it.
///
/// A backup is checked, and has its name only when it is whole and on the disk. Beside it is a manifest, BACKUP.json.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  hoodydb backup app/users.db
  hoodydb backup app/users.db --to /mnt/usb/users.db
  hoodydb backup --all --to /srv/backups --compress zstd --keep-daily 7 --keep-weekly 4
  hoodydb backup schedule add --all --every 1h --keep 24

Exit codes:
  0  every backup is there
  1  one is not; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs"
)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
    /// Print JSON: {"backups": [{"file": .., "database": .., "sha256": ..}], "failed": [..]}
    #[arg(long)]
    json: bool,
    /// Run as the process that a schedule starts
    #[arg(long, hide = true)]
    scheduled: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Schedule(schedule::Args),
}

pub(super) fn run(args: &Args) -> Result<()> {
    if let Some(Action::Schedule(args)) = &args.action {
        return schedule::run(args);
    }
    if args.scheduled {
        // The daemon asks to be spared when memory runs out; what it starts is as everybody else.
        let _ = std::fs::write("/proc/self/oom_score_adj", "0");
        // The kernel took the name from /proc/self/exe.
        let _ = rustix::thread::set_name(c"hoodydb");
    }
    let databases = args.which.find()?;
    let place = Place::of(&args.how.to, args.which.is_one())?;
    if matches!(place, Place::File(_)) && args.how.keep.rule() != Keep::default() {
        bail!("--keep is for a directory of backups; {} is one file", printable(&args.how.to));
    }
    let mut answer = BackupAnswer::default();
    for database in &databases {
        let care = Care::new(database, true);
        let made = back_up(database, &place, &args.how, &care).map_err(|error| database.explain(error));
        care.end();
        match made {
            Ok(backup) => answer.backups.push(backup),
            Err(error) => {
                answer.failed.push(FailedDatabase { database: text_of(&database.path), error: exit::line_of(&error) })
            }
        }
    }
    print(&if args.json { render::json(&answer)? } else { render::backup(&answer, style()) })?;
    failure(&answer.failed)
}

/// The error of a command that did not work with every database: the first one's words.
pub(super) fn failure(failed: &[FailedDatabase]) -> Result<()> {
    let Some(first) = failed.first() else { return Ok(()) };
    let others = if failed.len() > 1 { format!(" (and {} more)", failed.len() - 1) } else { String::new() };
    let line = format!("{}: {}{others}", printable(&first.database), first.error);
    Err(Failure::new(exit::FAILURE, line).into())
}

/// Where a backup is put.
enum Place {
    /// One directory below this for each database.
    Directory(PathBuf),
    File(PathBuf),
}

impl Place {
    fn of(to: &Path, is_one: bool) -> Result<Self> {
        let is_directory = !is_one || to.is_dir() || to.as_os_str().as_encoded_bytes().ends_with(b"/");
        let to = std::path::absolute(to)?;
        Ok(if is_directory { Self::Directory(to) } else { Self::File(to) })
    }

    /// The directory that the backup of a database lies in, and its name there.
    fn name_of(&self, database: &Database, stamp: archive::Stamp, is_compressed: bool) -> Result<(PathBuf, PathBuf)> {
        match self {
            Self::Directory(top) => {
                let directory = top.join(&database.path);
                make_private(&directory)?;
                let ending = if is_compressed { format!("{ENDING}.{COMPRESSED}") } else { ENDING.to_owned() };
                let name = directory.join(format!("{}.{ending}", stamp.name()));
                Ok((directory, name))
            }
            Self::File(name) => {
                let directory = name.parent().context("name a file for the backup")?;
                if !directory.is_dir() {
                    bail!("{} does not exist: make the directory first", printable(directory));
                }
                Ok((directory.to_owned(), name.clone()))
            }
        }
    }
}

/// Makes a directory for its owner only, with those above it.
fn make_private(directory: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(directory).with_context(|| format!("cannot make {}", printable(directory)))
}

fn back_up(database: &Database, place: &Place, how: &How, care: &Care<'_>) -> Result<Backup> {
    let begun = Instant::now();
    let stamp = archive::now();
    let source = database.file();
    let size = source.metadata().map_err(|error| missing(&source, error))?.len();
    let (directory, name) = place.name_of(database, stamp, how.compress.is_some())?;
    archive::clean(&directory)?;
    check_room(&directory, size, "the backup")?;
    let partial = Partial::new(&directory)?;
    care.begin("copying", size);
    let options = CopyOptions {
        pages_per_step: how.pages_per_step,
        restarts_max: how.restarts,
        rests: !how.full_speed,
        patience: how.timeout,
    };
    let copied = copy(&source, partial.path(), options, care)?;
    let copy_ms = millis(begun.elapsed());
    check(&partial, how.verify, care)?;
    let size_bytes = copied.pages * u64::from(copied.page_size);
    let partial = match how.compress {
        Some(Compression::Zstd) => compressed(partial, &directory, size_bytes, care)?,
        None => partial,
    };
    care.begin("summing up", partial.path().metadata()?.len());
    let (sha256, file_bytes) = archive::sha256_of(partial.path(), &|bytes| care.count(bytes))?;
    let manifest = Manifest {
        mountpoint: text_of(&database.mountpoint),
        database: text_of(&database.path),
        created: stamp.text(),
        created_ms: stamp.0,
        size_bytes,
        page_size: copied.page_size,
        pages: copied.pages,
        journal_mode: copied.journal_mode,
        compression: how.compress.map_or("none", |Compression::Zstd| "zstd").to_owned(),
        file_bytes,
        sha256,
        verified: how.verify.depth().map_or("none", Depth::name).to_owned(),
        sqlite_version: database::sqlite_version().to_owned(),
        hoodydb_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Manifest::default()
    };
    care.begin("syncing", 0);
    archive::publish(partial, &name, &manifest)?;
    let removed = match place {
        Place::Directory(_) => prune(&directory, &manifest, how.keep.rule())?,
        Place::File(_) => Vec::new(),
    };
    Ok(Backup {
        file: text_of(&name),
        manifest,
        duration_ms: millis(begun.elapsed()),
        copy_ms,
        restarts: copied.restarts,
        held_ms: millis(copied.held),
        rested_ms: millis(copied.rested),
        removed,
    })
}

fn missing(path: &Path, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => DatabaseError::Missing(path.to_owned()).into(),
        _ => anyhow::Error::from(error).context(format!("cannot look at {}", printable(path))),
    }
}

fn check(partial: &Partial, verify: Verify, care: &Care<'_>) -> Result<()> {
    let Some(depth) = verify.depth() else { return Ok(()) };
    care.begin("checking", 0);
    match database::verify(partial.path(), depth, care) {
        Err(DatabaseError::Damaged { what, .. }) => bail!(
            "the database is damaged ({what}): its copy was not kept; hoodydb check tells more, --verify=none keeps it all the same"
        ),
        checked => Ok(checked?),
    }
}

fn compressed(plain: Partial, directory: &Path, size: u64, care: &Care<'_>) -> Result<Partial> {
    let packed = Partial::new(directory)?;
    care.begin("compressing", size);
    archive::compress(plain.path(), packed.path(), &|bytes| care.count(bytes))?;
    Ok(packed)
}

/// Removes the backups that no rule keeps.
fn prune(directory: &Path, manifest: &Manifest, keep: Keep) -> Result<Vec<String>> {
    let backups = archive::backups_in(directory, &manifest.mountpoint, &manifest.database)?;
    let stamps: Vec<archive::Stamp> = backups.iter().map(|(stamp, _)| *stamp).collect();
    let gone = archive::to_remove(keep, &stamps);
    let mut removed = Vec::new();
    for (_, path) in backups.iter().filter(|(stamp, _)| gone.contains(stamp)) {
        archive::remove(path)?;
        removed.push(text_of(path));
    }
    Ok(removed)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
