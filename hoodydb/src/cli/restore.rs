//! `hoodydb restore`.
//!
//! Called by [`super::Cli`]. The backup is verified before the database is touched. A database that exists keeps its file, and
//! gets its content in one transaction; one that does not is made under another name first.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::care::{Care, Database, SIDE_FILES, check_room, named, share};
use super::exit::{self, Failure};
use super::{duration, print};
use crate::archive::{self, COMPRESSED, Partial};
use crate::database::restore::{fill, look_at_target, replace};
use crate::database::{self, DatabaseError, Depth};
use crate::model::{RestoreAnswer, printable, text_of};
use crate::process::mounts;
use crate::render;

/// Puts a backup in the place of a database
///
/// The backup is verified first: its manifest if it has one, its header, its length, every page. A database that exists gets
/// its content in one transaction: connections that are open see it from their next transaction on, and a kill on the way leaves
/// the old content. Others wait meanwhile, at most as long as the mount lets them.
///
/// A database whose beginning is damaged cannot take part in a transaction. It is put aside as DB.damaged-TIME, which needs that
/// nobody has it open.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb restore /var/backups/hoodydb/app/users.db/20261123T160405.123Z.db app/users.db
  hoodydb restore users.db.zst app/users.db --force

Exit codes:
  0  the database has the content of the backup
  1  it was refused, or failed; the line on standard error says why, and the database is what it was
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs
  4  the database is in use (--force)")]
pub(super) struct Args {
    /// The backup; one that ends in .zst is decompressed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The database: its absolute path, or relative to the mount point
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// Also while processes have the database open
    #[arg(long)]
    force: bool,
    /// How long to wait for the turn: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// The mount point; not needed where one is live, or DB is absolute
    #[arg(long, value_name = "PATH")]
    mount: Option<PathBuf>,
    /// Print JSON: {"file": .., "database": .., "size_bytes": ..}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let target = Database::named(args.mount.as_deref(), &args.db)?;
    let file = std::path::absolute(&args.file)?;
    let care = Care::new(&target, false);
    let outcome = restore(&file, &target, args, &care).map_err(|error| target.explain(error));
    care.end();
    let (pages, put_aside) = outcome?;
    let answer = RestoreAnswer {
        file: text_of(&file),
        mountpoint: text_of(&target.mountpoint),
        database: text_of(&target.path),
        size_bytes: target.file().metadata().map_or(0, |meta| meta.len()),
        pages,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        put_aside: put_aside.map(text_of),
    };
    print(&if args.json { render::json(&answer)? } else { render::restore(&answer) })
}

fn restore(file: &Path, target: &Database, args: &Args, care: &Care<'_>) -> Result<(u64, Option<PathBuf>)> {
    let unpacked = verified(file, care)?;
    let source = unpacked.as_ref().map_or(file, Partial::path);
    let header = database::look_at(source)?;
    let size = source.metadata()?.len();
    let users = target.users()?;
    if !users.is_empty() && !args.force {
        let line = format!(
            "{} is in use by {}: end that, or restore with --force, which waits for its turn",
            printable(target.file()),
            named(&users)
        );
        return Err(Failure::new(exit::BUSY, line).into());
    }
    let path = target.file();
    let directory = path.parent().context("a database lies in a directory")?;
    if !directory.is_dir() {
        bail!("{} does not exist: make the directory first", printable(directory));
    }
    archive::clean(directory)?;
    if path.symlink_metadata().is_err() {
        return Ok((make(source, &path, directory, size, care)?, None));
    }
    let old = path.metadata()?.len();
    let known = match look_at_target(&path, args.timeout, care) {
        Err(DatabaseError::NotADatabase(_) | DatabaseError::Damaged { .. }) => {
            if !users.is_empty() {
                let line = format!(
                    "{} is damaged at its beginning, so its content cannot be replaced while it is open: end {} first",
                    printable(&path),
                    named(&users)
                );
                return Err(Failure::new(exit::BUSY, line).into());
            }
            check_room(directory, size, "the restore")?;
            let aside = put_aside(&path)?;
            return Ok((make(source, &path, directory, size, care)?, Some(aside)));
        }
        known => known?,
    };
    let is_wal = known.journal_mode == "wal";
    if is_wal && old > 0 && known.page_size != u64::from(header.page_size) {
        if !users.is_empty() {
            bail!(
                "the backup has pages of {} bytes, {} has {} and is in WAL mode: that changes only while nobody has it open",
                header.page_size,
                printable(&path),
                known.page_size
            );
        }
        database::facts::set_wal(&path, false, args.timeout, care)?;
    }
    // The log takes the new content before the file does; a rollback journal takes the old one.
    check_room(directory, if is_wal { size } else { old } + size.saturating_sub(old), "the restore")?;
    care.begin("restoring", size);
    Ok((replace(source, &path, args.timeout, care)?, None))
}

/// Checks everything that can be known of a backup; gives the decompressed file if it was compressed.
fn verified(file: &Path, care: &Care<'_>) -> Result<Option<Partial>> {
    let size = file.metadata().with_context(|| format!("cannot read the backup {}", printable(file)))?.len();
    for side in ["-wal", "-journal"] {
        let beside = database::check::beside(file, side);
        if beside.metadata().is_ok_and(|meta| meta.len() > 0) {
            bail!(
                "{} has a {side} file beside it: it is no backup but a database at work, or a copy of one; back that up instead",
                printable(file)
            );
        }
    }
    let manifest = archive::manifest_of(file)?;
    if manifest.is_none() && is_on_a_mount(file)? {
        bail!(
            "{} is a database on the mount, which may change while it is read: hoodydb backup first, and restore that",
            printable(file)
        );
    }
    if let Some(manifest) = manifest {
        if manifest.file_bytes != size {
            bail!("{} has {size} bytes, its manifest tells {}: it is not whole", printable(file), manifest.file_bytes);
        }
        care.begin("summing up", size);
        let (sha256, _) = archive::sha256_of(file, &|bytes| care.count(bytes))?;
        if sha256 != manifest.sha256 {
            bail!("{} is not what its manifest tells: its SHA-256 is {sha256}", printable(file));
        }
    }
    let unpacked = if file.extension().is_some_and(|ending| ending == COMPRESSED) {
        // Beside nothing that a user looks at; the backup's own disk may be read-only.
        let directory = std::env::temp_dir();
        archive::clean(&directory)?;
        let unpacked = Partial::new(&directory)?;
        care.begin("decompressing", 0);
        archive::decompress(file, unpacked.path(), &|bytes| care.count(bytes))?;
        Some(unpacked)
    } else {
        None
    };
    let plain = unpacked.as_ref().map_or(file, Partial::path);
    let named = |error: DatabaseError| match error {
        DatabaseError::Damaged { what, .. } => anyhow::anyhow!("{} is damaged ({what})", printable(file)),
        DatabaseError::NotADatabase(_) => DatabaseError::NotADatabase(file.to_owned()).into(),
        other => other.into(),
    };
    database::look_at(plain).map_err(named)?;
    care.begin("checking", 0);
    database::verify(plain, Depth::Full, care).map_err(named)?;
    Ok(unpacked)
}

/// Whether a file is on a mount of ours, where SQLite's locks and not this program decide who writes to it.
fn is_on_a_mount(file: &Path) -> Result<bool> {
    let device = file.metadata().with_context(|| format!("cannot read the backup {}", printable(file)))?.dev();
    Ok(mounts::own_mounts().context("cannot read the mounts")?.iter().any(|mount| mount.device == device))
}

/// Makes a database that is not there, under another name first.
fn make(source: &Path, path: &Path, directory: &Path, size: u64, care: &Care<'_>) -> Result<u64> {
    check_room(directory, size, "the restore")?;
    // A log or journal without its database would be taken for that of the new one.
    if let Some(side) = SIDE_FILES.iter().map(|side| database::check::beside(path, side)).find(|side| side.exists()) {
        bail!("{} is left of another database: put it aside first", printable(side));
    }
    let partial = Partial::new(directory)?;
    share(&partial)?;
    care.begin("restoring", size);
    let pages = fill(source, partial.path(), care)?;
    partial.sync()?;
    partial.rename(path, false)?;
    Ok(pages)
}

/// Puts a damaged database aside, its side files first: none of them may meet the new one.
fn put_aside(path: &Path) -> Result<PathBuf> {
    let aside = database::check::beside(path, &format!(".damaged-{}", archive::now().name()));
    for side in SIDE_FILES {
        let from = database::check::beside(path, side);
        if from.exists() {
            std::fs::rename(&from, database::check::beside(&aside, side))
                .with_context(|| format!("cannot put {} aside", printable(&from)))?;
        }
    }
    std::fs::rename(path, &aside).with_context(|| format!("cannot put {} aside", printable(path)))?;
    Ok(aside)
}
