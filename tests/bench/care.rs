//! What a backup costs: those who write meanwhile, the disk, and memory. Called by `hoodydb-bench care`.
//!
//! With and without are measured in turns; a figure is the median of the ratios of a round, for what disturbs a round disturbs both.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hoodydb_tests::Mount;
use rusqlite::Connection;
use serde_json::Value;

use crate::cases::{End, Journal, Work};
use crate::client::{Spec, Target};
use crate::crew::Crew;
use crate::results::Class;
use crate::statistics::Spread;
use crate::{daemon, run, sqlite_client, text};

/// Processes that write while a backup runs.
const WRITERS: u64 = 8;

/// How often a backup's memory is looked at; the kernel keeps the peak.
const LOOK: Duration = Duration::from_millis(5);

/// Measures, and prints a line for each figure.
///
/// # Errors
/// If the mount does not come up, or a command fails.
pub fn run(hoodydb: PathBuf, quick: bool) -> Result<()> {
    let mount = Mount::attempt(hoodydb, &[], &["--access", "shared"]).map_err(|why| anyhow::anyhow!(why))?;
    for journal in [Journal::WalFull, Journal::DeleteFull] {
        writers(&mount, journal, quick)?;
    }
    large(&mount, quick)
}

/// Writers with no busy timeout, beside nothing and beside one backup after the other.
fn writers(mount: &Mount, journal: Journal, quick: bool) -> Result<()> {
    let (rounds, seconds) = if quick { (2, 5.0) } else { (5, 20.0) };
    let path = mount.path("busy.db");
    sqlite_client::create(&path, journal)?;
    sqlite_client::create_wide(&path)?;
    let spec = |number| Spec {
        target: Target::Sqlite { path: path.clone(), journal, busy_timeout_ms: 0 },
        work: Work::WriteTransaction,
        end: End::Seconds(seconds),
        think_ms: 0,
        number,
    };
    let specs: Vec<Spec> = (0..WRITERS).map(spec).collect();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut backups = 0;
    for round in 0..rounds {
        for with_backups in [round % 2 == 0, round % 2 != 0] {
            let mut crew = Crew::ready("client", &specs)?;
            crew.go()?;
            if with_backups {
                let begun = Instant::now();
                while begun.elapsed().as_secs_f64() < seconds {
                    let made = backup(mount, "busy.db", &["--verify=none"])?;
                    backups += u64::from(made.took_s <= seconds);
                }
            }
            let sample = run::summarise(&crew.reports()?, 0.0)?;
            crew.dismiss()?;
            tell(journal, with_backups, &sample.writes);
            if with_backups { &mut beside } else { &mut alone }.push(sample.writes);
        }
    }
    let p99 = |classes: &[Class]| classes.iter().map(|class| class.p99_us).collect::<Vec<_>>();
    let refused: u64 = alone.iter().chain(&beside).map(Class::failures).sum();
    let name = format!("p99 of {WRITERS} writers beside backups ({})", journal.mode());
    judge(&name, Spread::of_ratios(p99(&beside), p99(&alone)), "< 3x", text::times);
    println!("    {backups} backups, {refused} refusals at busy timeout 0 (wanted: 0)");
    sqlite_client::remove(&path)
}

fn tell(journal: Journal, with_backups: bool, writes: &Class) {
    let beside = if with_backups { "beside backups" } else { "alone" };
    let Class { operations, p50_us, p99_us, max_us, .. } = writes;
    eprintln!(
        "{:<6} {beside:<14} {operations} writes, p50 {p50_us:.0} p99 {p99_us:.0} max {max_us:.0} us",
        journal.mode()
    );
}

/// A database of two gigabytes at rest, copied by `cp` and backed up in turns.
fn large(mount: &Mount, quick: bool) -> Result<()> {
    let rounds = if quick { 2 } else { 5 };
    for journal in [Journal::WalFull, Journal::DeleteFull] {
        let path = mount.path("large.db");
        fill(&path, journal, if quick { 1_000_000 } else { 2_000_000 })?;
        let bytes = path.metadata()?.len();
        let (mut cp, mut cp_synced) = (Vec::new(), Vec::new());
        let (mut copied, mut whole, mut checked, mut peak_kib) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            let (plain_s, synced_s) = copy(&path, &mount.outside().join("cp.db"))?;
            cp.push(plain_s);
            cp_synced.push(synced_s);
            let unchecked = backup(mount, "large.db", &["--verify=none"])?;
            copied.push(unchecked.copy_s);
            whole.push(unchecked.took_s);
            let full = backup(mount, "large.db", &[])?;
            checked.push(full.took_s);
            peak_kib = peak_kib.max(unchecked.peak_kib).max(full.peak_kib);
        }
        println!("{} in {} mode, at rest:", text::bytes(bytes), journal.mode());
        // A rate by a rate is a time by a time, the other way round.
        judge("  rate of copying, by cp's", Spread::of_ratios(cp, copied), ">= 0.7x", text::times);
        judge(
            "  rate of the whole backup on the disk, by cp and fsync",
            Spread::of_ratios(cp_synced.clone(), whole),
            "-",
            text::times,
        );
        judge("  the same with integrity_check", Spread::of_ratios(cp_synced, checked), "-", text::times);
        println!("  peak memory of a backup: {} (wanted: < 65,536 KiB)", text::kib(peak_kib as f64));
        sqlite_client::remove(&path)?;
    }
    Ok(())
}

/// Rows of a kilobyte that do not compress.
fn fill(path: &Path, journal: Journal, rows: u32) -> Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", journal.mode())?;
    connection.execute_batch("CREATE TABLE filling(id INTEGER PRIMARY KEY, x)")?;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO filling SELECT i, randomblob(970) FROM n";
    connection.execute(fill, [rows])?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Copies a file by `cp`; gives how long that took, without and with the fsync.
fn copy(from: &Path, to: &Path) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let status = Command::new("cp").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp: {status}");
    let plain_s = begun.elapsed().as_secs_f64();
    std::fs::File::open(to)?.sync_all()?;
    let synced_s = begun.elapsed().as_secs_f64();
    std::fs::remove_file(to)?;
    Ok((plain_s, synced_s))
}

struct Made {
    took_s: f64,
    copy_s: f64,
    peak_kib: u64,
}

fn backup(mount: &Mount, database: &str, options: &[&str]) -> Result<Made> {
    let to = mount.outside().join("backup.db");
    let begun = Instant::now();
    let mut child = mount.hoodydb();
    child.args(["backup", database, "--json", "--to"]).arg(&to).args(options).stdout(Stdio::piped());
    let mut child = child.spawn().context("hoodydb backup")?;
    let peak_kib = watch(&mut child)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "hoodydb backup: {}", output.status);
    let took_s = begun.elapsed().as_secs_f64();
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let copy_ms = answer["backups"][0]["copy_ms"].as_f64().context("the answer tells no copy_ms")?;
    std::fs::remove_file(&to)?;
    std::fs::remove_file(to.with_extension("db.json"))?;
    Ok(Made { took_s, copy_s: copy_ms / 1e3, peak_kib })
}

/// Waits for the end of a process; gives the largest memory that it had when it was looked at.
fn watch(child: &mut Child) -> Result<u64> {
    let mut peak_kib = 0;
    while child.try_wait()?.is_none() {
        peak_kib = peak_kib.max(daemon::peak_kib(child.id()).unwrap_or(0));
        std::thread::sleep(LOOK);
    }
    Ok(peak_kib)
}

/// Prints a figure and what was wanted.
pub fn judge(name: &str, measured: Option<Spread>, wanted: &str, format: fn(f64) -> String) {
    let measured = measured.map_or_else(|| "nothing".to_owned(), |spread| text::spread(spread, format));
    println!("{name}: {measured} (wanted: {wanted})");
}
