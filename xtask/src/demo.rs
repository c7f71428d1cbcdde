//! `cargo xtask demo`: real sqlite3 processes hammer one database on a mount, and then the same on the plain disk.
//!
//! Everything happens in a temporary directory with a run directory of its own; the mount is gone at the end, whatever
//! went wrong before.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{packages, shell};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds of load per journal mode on the mount
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Processes that write at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    processes: u64,
}

/// What a load did.
#[derive(Debug, Default)]
struct Outcome {
    inserted: u64,
    refused: u64,
    /// Rows in the table at the end, and what integrity_check says.
    rows: u64,
    integrity: String,
}

impl Args {
    /// Builds, mounts, shows, compares.
    ///
    /// # Errors
    /// If something cannot be built or mounted, or the mount did not keep its promise.
    pub fn run(self) -> Result<()> {
        packages::install(packages::DEMO, &[])?;
        shell::run(shell::cargo().args(["build", "--release", "--package", "hoodydb"]))?;
        let stage = Stage::set()?;
        println!(
            "\nmounted in {}; each insert is a `sqlite3` process of its own, no busy timeout\n",
            stage.mnt.display()
        );
        let mut table =
            String::from("  where        journal   inserts tried   errors   rows at the end   integrity_check\n");
        let mut kept = true;
        for mode in ["delete", "wal"] {
            for (place, directory) in [("hoodydb", &stage.mnt), ("plain disk", &stage.plain)] {
                println!("== {} sqlite3 processes at once, {mode} mode, {place}", self.processes);
                let outcome = self.load(&stage, &directory.join(format!("{mode}.db")), mode, place == "hoodydb")?;
                let Outcome { inserted, refused, rows, integrity } = &outcome;
                let tried = inserted + refused;
                let percent = (refused * 100).checked_div(tried).unwrap_or(0);
                table += &format!(
                    "  {place:12} {mode:8} {tried:>14} {refused:>6} {percent:>2}%  {rows:>15}   {integrity}\n"
                );
                kept &= place != "hoodydb" || (*refused == 0 && rows == inserted && integrity == "ok");
            }
        }
        println!("\n{table}");
        stage.strike()?;
        ensure!(kept, "the mount did not keep its promise; see above");
        println!("on the mount: no error, every row there. Unmounted, nothing left behind.");
        Ok(())
    }

    /// Lets all processes insert until the time is over, showing what goes on.
    fn load(&self, stage: &Stage, database: &Path, mode: &str, with_locks: bool) -> Result<Outcome> {
        sqlite(database, &format!("PRAGMA journal_mode={mode}; CREATE TABLE t(who, n);"))?;
        let (inserted, refused, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for who in 0..self.processes {
                let (inserted, refused, over) = (&inserted, &refused, &over);
                scope.spawn(move || {
                    for n in 0u64.. {
                        if over.load(Relaxed) {
                            break;
                        }
                        let done = sqlite(database, &format!("INSERT INTO t VALUES ({who}, {n})")).is_ok();
                        if done { inserted } else { refused }.fetch_add(1, Relaxed);
                    }
                });
            }
            let begun = Instant::now();
            for second in 1..=self.seconds {
                std::thread::sleep(Duration::from_secs(second).saturating_sub(begun.elapsed()));
                println!(
                    "  {second:>3} s   {:>6} inserts   {:>6} errors",
                    inserted.load(Relaxed),
                    refused.load(Relaxed)
                );
                if with_locks && second == self.seconds.div_ceil(2) {
                    stage.show_locks();
                }
            }
            over.store(true, Relaxed);
        });
        Ok(Outcome {
            inserted: inserted.into_inner(),
            refused: refused.into_inner(),
            rows: sqlite(database, "SELECT count(*) FROM t")?.trim().parse().context("a count of rows")?,
            integrity: sqlite(database, "PRAGMA integrity_check")?.trim().to_owned(),
        })
    }
}

fn sqlite(database: &Path, sql: &str) -> Result<String> {
    shell::read(Command::new("sqlite3").arg("-batch").arg(database).arg(sql))
}

/// The temporary directory and the mount in it.
struct Stage {
    directory: PathBuf,
    mnt: PathBuf,
    plain: PathBuf,
}

impl Stage {
    fn set() -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("hoodydb-demo-{}", std::process::id()));
        for name in ["", "run", "data", "mnt", "plain"] {
            let path = directory.join(name);
            std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        }
        let stage = Self { mnt: directory.join("mnt"), plain: directory.join("plain"), directory };
        let mut mount = stage.hoodydb();
        mount.arg("mount").arg(&stage.mnt).arg("--data").arg(stage.directory.join("data"));
        shell::run(&mut mount)?;
        Ok(stage)
    }

    fn hoodydb(&self) -> Command {
        let mut command = Command::new(shell::hoodydb());
        command.env("HOODYDB_RUN_DIR", self.directory.join("run"));
        command
    }

    /// A moment of `hoodydb locks`, the first lines of it.
    fn show_locks(&self) {
        match shell::read(self.hoodydb().arg("locks")) {
            Ok(locks) => {
                println!("        $ hoodydb locks");
                locks.lines().take(14).for_each(|line| println!("        {line}"));
            }
            Err(error) => println!("        hoodydb locks: {error:#}"),
        }
    }

    fn strike(self) -> Result<()> {
        shell::run(self.hoodydb().arg("umount").arg(&self.mnt))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let unmount = |command: &mut Command| {
            command
                .arg(&self.mnt)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        let is_mounted = || {
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            table.lines().any(|line| line.split(' ').nth(4) == self.mnt.to_str())
        };
        if is_mounted() && !unmount(self.hoodydb().args(["umount", "--lazy"])) {
            unmount(Command::new("umount").arg("-l"));
        }
        if !is_mounted() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
