//! `hoodydb vacuum`.
//!
//! Called by [`super::Cli`].

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::backup::failure;
use super::care::{Care, Database, Which, check_room};
use super::{duration, exit, print, style};
use crate::archive::{self, Partial};
use crate::database::vacuum::{AutoVacuum, Filling, VacuumOptions, filling, vacuum, vacuum_into};
use crate::database::{self, Depth};
use crate::model::{FailedDatabase, VacuumAnswer, Vacuumed, printable, text_of};
use crate::render;

/// Rewrites databases without the room that deleted rows left
///
/// It needs as much room again as the database has, beside the database and in the directory for temporary files
/// (SQLITE_TMPDIR, TMPDIR, /var/tmp), and says so before it begins. Others wait meanwhile. It gives way before anybody is
/// refused because of it, unless --insist says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb vacuum app/users.db
  hoodydb vacuum --all --if-free 20%
  hoodydb vacuum app/users.db --into /srv/users-small.db

Exit codes:
  0  every database was vacuumed, or passed over because of --if-free
  1  one was not; the line on standard error says why, and the database is what it was
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Write the result into this new file, and leave the database as it is
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    into: Option<PathBuf>,
    /// Only if at least so much of the database is free: 20%
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    if_free: Option<u8>,
    /// Make the statistics of the query planner anew, too
    #[arg(long)]
    analyze: bool,
    /// What becomes of pages that are freed later
    #[arg(long, value_name = "HOW")]
    auto_vacuum: Option<AutoVacuum>,
    /// Go on although others are refused because they have waited for too long
    #[arg(long)]
    insist: bool,
    /// How long to wait for the turn: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// Print JSON: {"databases": [{"database": .., "before_bytes": .., "after_bytes": ..}], "failed": [..]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let databases = args.which.find()?;
    if args.into.is_some() && databases.len() > 1 {
        bail!("--into takes one database; {} are named", databases.len());
    }
    let mut answer = VacuumAnswer::default();
    for database in &databases {
        let care = Care::new(database, !args.insist);
        let done = one(database, args, &care).map_err(|error| database.explain(error));
        care.end();
        match done {
            Ok(vacuumed) => answer.databases.push(vacuumed),
            Err(error) => {
                answer.failed.push(FailedDatabase { database: text_of(&database.path), error: exit::line_of(&error) });
            }
        }
    }
    print(&if args.json { render::json(&answer)? } else { render::vacuum(&answer, style()) })?;
    failure(&answer.failed)
}

fn one(database: &Database, args: &Args, care: &Care<'_>) -> Result<Vacuumed> {
    let begun = Instant::now();
    let path = database.file();
    let before = filling(&path, args.timeout, care)?;
    let before_bytes = before.pages * before.page_size;
    let mut answer = Vacuumed {
        database: text_of(&database.path),
        before_bytes,
        after_bytes: before_bytes,
        free_pages: before.free_pages,
        pages: before.pages,
        ..Vacuumed::default()
    };
    if args.if_free.is_some_and(|percent| !is_free_enough(&before, percent)) {
        answer.skipped = true;
        return Ok(answer);
    }
    // What is free is not written again.
    answer.needed_bytes = (before.pages - before.free_pages.min(before.pages)) * before.page_size;
    let options = VacuumOptions { analyze: args.analyze, auto_vacuum: args.auto_vacuum, patience: args.timeout };
    care.begin("vacuuming", 0);
    if let Some(into) = &args.into {
        let into = std::path::absolute(into)?;
        write_into(&path, &into, &answer, options, care)?;
        answer.after_bytes = into.metadata()?.len();
        answer.into = Some(text_of(&into));
    } else {
        let temporary = temporary_directory();
        check_room(&temporary, answer.needed_bytes, "the vacuum's temporary file (SQLITE_TMPDIR names another place)")?;
        // The journal has every page of before; the log every page of after.
        let beside = if before.journal_mode == "wal" { answer.needed_bytes } else { before_bytes };
        check_room(path.parent().context("a database lies in a directory")?, beside, "the vacuum")?;
        vacuum(&path, options, care)?;
        let after = filling(&path, args.timeout, care)?;
        answer.after_bytes = after.pages * after.page_size;
    }
    answer.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(answer)
}

fn write_into(path: &Path, into: &Path, answer: &Vacuumed, options: VacuumOptions, care: &Care<'_>) -> Result<()> {
    if into.symlink_metadata().is_ok() {
        bail!("{} exists: name a new file", printable(into));
    }
    let directory = into.parent().context("name a file")?;
    archive::clean(directory)?;
    check_room(directory, answer.needed_bytes, "the vacuum")?;
    let partial = Partial::new(directory)?;
    vacuum_into(path, partial.path(), options, care)?;
    database::verify(partial.path(), Depth::Quick, care)?;
    partial.sync()?;
    Ok(partial.rename(into, false)?)
}

fn is_free_enough(filling: &Filling, percent: u8) -> bool {
    filling.free_pages * 100 >= filling.pages * u64::from(percent)
}

/// Where SQLite puts temporary files.
///
/// # Source
/// os_unix.c, `unixTempFileDir`
fn temporary_directory() -> PathBuf {
    let asked = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual = ["/var/tmp", "/usr/tmp", "/tmp"].map(PathBuf::from);
    asked.chain(usual).find(|directory| directory.is_dir()).unwrap_or_else(|| ".".into())
}

fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|number| *number <= 100);
    number.ok_or_else(|| format!("'{text}' is no share: write a whole number of percent, such as 20%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percents() {
        assert_eq!((parse_percent("0%"), parse_percent("20%"), parse_percent("100%")), (Ok(0), Ok(20), Ok(100)));
        for text in ["", "%", "20", "101%", "-1%", "1.5%", "20 %"] {
            assert!(parse_percent(text).unwrap_err().contains("20%"), "{text}");
        }
    }

    #[test]
    fn free_enough() {
        let filling = Filling { pages: 100, free_pages: 20, ..Filling::default() };
        assert!(is_free_enough(&filling, 20) && !is_free_enough(&filling, 21));
        assert!(is_free_enough(&Filling::default(), 50), "an empty database has nothing that is not free");
    }
}
