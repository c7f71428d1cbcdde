//! `hoodydb check`.
//!
//! Called by [`super::Cli`]; the exit code is that of the worst finding.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::care::{Care, Database, Which};
use super::exit::{self, Failure};
use super::{duration, print, style};
use crate::database::Depth;
use crate::database::check::{CheckOptions, Report, Severity, check};
use crate::model::{CheckAnswer, Checked, Finding, text_of};
use crate::render;

/// Looks for damage in databases, while they are in use
///
/// Pages, rows, indexes and foreign keys; the header and the length of the file; what a process that died has left. With a
/// rollback journal writers wait meanwhile; the check gives way before one is refused because of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb check app/users.db
  hoodydb check --all --quick

Exit codes:
  0  every database is sound
  1  one could not be checked; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs
  5  one has something that is not as it should be: foreign keys, a journal of a process that died
  6  one is damaged")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Do not compare tables with their indexes (quick_check instead of integrity_check)
    #[arg(long)]
    quick: bool,
    /// How long to wait for a lock: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// Print JSON: {"databases": [{"database": .., "verdict": "sound", "findings": [..]}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut answer = CheckAnswer::default();
    let mut worst = None;
    for database in &args.which.find()? {
        let care = Care::new(database, true);
        care.begin("checking", 0);
        let (severity, checked) = one(database, args, &care);
        care.end();
        worst = worst.max(severity);
        answer.databases.push(checked);
    }
    print(&if args.json { render::json(&answer)? } else { render::check(&answer, style()) })?;
    let (code, line) = match worst {
        None => return Ok(()),
        Some(Severity::Warning) => (exit::WARNING, "not everything is as it should be"),
        Some(Severity::Unknown) => (exit::FAILURE, "not every database could be checked"),
        Some(Severity::Damaged) => (exit::DAMAGED, "damage was found: restore what is damaged from a backup"),
    };
    Err(Failure::new(code, line).into())
}

fn one(database: &Database, args: &Args, care: &Care<'_>) -> (Option<Severity>, Checked) {
    let begun = Instant::now();
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let looked = database.users().and_then(|users| {
        let options = CheckOptions { depth, in_use: !users.is_empty(), patience: args.timeout };
        Ok(check(&database.file(), options, care)?)
    });
    let mut report = looked.unwrap_or_else(|error| Report {
        findings: vec![(Severity::Unknown, exit::line_of(&error))],
        ..Report::default()
    });
    report.findings.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let worst = report.findings.first().map(|(severity, _)| *severity);
    let finding = |(severity, what)| Finding { level: name_of(severity).to_owned(), what };
    let checked = Checked {
        database: text_of(&database.path),
        verdict: worst.map_or("sound", name_of).to_owned(),
        findings: report.findings.into_iter().map(finding).collect(),
        size_bytes: report.size_bytes,
        wal_bytes: report.wal_bytes,
        journal_bytes: report.journal_bytes,
        journal_mode: report.journal_mode,
        page_size: u32::try_from(report.page_size).unwrap_or(0),
        pages: report.pages,
        free_pages: report.free_pages,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    (worst, checked)
}

const fn name_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Unknown => "unknown",
        Severity::Damaged => "damaged",
    }
}
