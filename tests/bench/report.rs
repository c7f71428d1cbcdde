//! docs/BENCHMARKS.md and its plots from the results of a run. Called by [`crate::main`]; it measures nothing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cases;
use crate::peers::Peer::{self, Disk, DiskAtOnce, Mount, MountAtOnce, Postgres};
use crate::results::{CaseResult, Class, GrowthPoint, HttpRound, Load, Results, Sample};
use crate::statistics::Spread;
use crate::view::{self, find, ratio};
use crate::{plots, targets, text};

/// The cases with one process, in the order of the tables.
const ALONE: &[&str] = &[
    "select-wal",
    "select-delete",
    "insert-wal-normal",
    "insert-wal-full",
    "insert-delete-full",
    "ten-and-ten",
    "bulk-wal-normal",
    "bulk-delete-full",
    "scan-warm",
    "scan-cold",
    "open-wal",
    "open-delete",
    "shell-wal",
    "shell-delete",
];
/// Those with several.
const TOGETHER: &[&str] =
    &["select-wal", "mixed-wal-normal", "writers-wal-normal", "writers-wal-full", "writers-delete-full"];
const SHAPED: &[&str] =
    &["think-wal-normal", "think-wal-full", "think-delete-full", "readers-writers-wal", "readers-writers-delete"];

/// Writes BENCHMARKS.md and benchmarks/*.svg below `docs`.
///
/// # Errors
/// If a file cannot be written.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let plots = docs.join("benchmarks");
    std::fs::create_dir_all(&plots).with_context(|| plots.display().to_string())?;
    let disk = disk(results);
    let names = [(Mount, "mount"), (Disk, disk), (Postgres, "PostgreSQL")];
    let drawn = [
        ("latency.svg", plots::latency(results, &measured_alone(results), &names)?),
        ("throughput.svg", plots::throughput(results, TOGETHER, &names)?),
        ("growth.svg", plots::growth(results, disk)?),
    ];
    for (name, svg) in drawn {
        let path = plots.join(name);
        if let Some(svg) = svg {
            std::fs::write(&path, svg).with_context(|| path.display().to_string())?;
        }
    }
    let account = std::fs::read_to_string(plots.join("account.md")).ok();
    let path = docs.join("BENCHMARKS.md");
    std::fs::write(&path, markdown(results, account.as_deref())).with_context(|| path.display().to_string())
}

/// The whole report.
pub fn markdown(results: &Results, account: Option<&str>) -> String {
    let parts = [
        head(results),
        targets_section(results),
        method(results),
        alone(results),
        together(results),
        growth(results),
        http(results),
        account.unwrap_or_default().trim().to_owned(),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.trim().to_owned()).collect();
    parts.join("\n\n") + "\n"
}

/// The table of targets alone.
pub fn targets_table(results: &Results) -> String {
    let row = |target: targets::Target| {
        let verdict = match (&target.measured, target.is_reached) {
            (None, _) => "not measured",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        vec![target.case, target.wanted, target.measured.unwrap_or_else(|| "-".to_owned()), verdict.to_owned()]
    };
    let rows: Vec<Vec<String>> = targets::all(results).into_iter().map(row).collect();
    text::table(2, &["case", "target", "measured", "reached"], &rows)
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let passthrough = if machine.has_passthrough { "in use" } else { "not in use" };
    let rows = [
        ("processor", format!("{}, {} in use", machine.processor, machine.processors)),
        ("memory", format!("{} MiB", text::grouped(machine.memory_mib))),
        ("kernel", machine.kernel.clone()),
        ("file system of all files", machine.file_system.clone()),
        ("hoodydb", format!("{}, passthrough {passthrough}", machine.hoodydb)),
        ("SQLite", format!("{} (clients), {} (shell)", machine.sqlite, machine.sqlite_shell)),
        ("PostgreSQL", machine.postgres.clone().unwrap_or_else(|| "left out".to_owned())),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    let rough = "**This is a short run (`--quick`): its figures are rough.**\n\n";
    format!(
        "# Benchmarks\n\n\
        Written by `cargo xtask bench` from one run of {:.0} minutes; not edited by hand.\n\n\
        {}{}",
        (results.took_s / 60.0).ceil(),
        if results.quick { rough } else { "" },
        text::table(2, &["machine", ""], &rows)
    )
}

fn targets_section(results: &Results) -> String {
    format!(
        "## Targets\n\n\
        What the project set itself; ratios are to {} with a busy timeout of 5 s in the same run unless said, latency is the\n\
        median of a round, and the median over the rounds decides (smallest .. largest round).\n\n{}",
        disk(results),
        targets_table(results)
    )
}

fn method(results: &Results) -> String {
    let rows: Vec<Vec<String>> =
        measured(results).into_iter().map(|case| vec![case.to_owned(), cases::about(case).to_owned()]).collect();
    let rows = text::table(2, &["case", "one operation"], &rows);
    format!(
        "## Method\n\n\
        - Peers: the mount; the same SQLite on the {disk} below it, with a busy timeout of 5 s and with none; PostgreSQL with\n  \
        Debian's settings on a Unix socket. All files lie on one file system.\n\
        - A round runs a case by every peer, the next round in another order, on a database made anew with {rows_of_items} rows.\n  \
        Ratios are of the same round.\n\
        - Durability is the same: `synchronous=NORMAL` in WAL mode stands against `synchronous_commit=off`, FULL against `on`.\n\
        - Clients are processes of their own with a kept connection and prepared statements. All are connected and have read\n  \
        before one word lets all go. Errors are counted, not retried; their latency is not in the figures.\n\
        - One process does a fixed number of operations; several work for a fixed time. Operations per second are the sum over\n  \
        the processes. p50, p99 and the longest are of each operation, from call to return.\n\
        - CPU is that of clients and server (daemon, PostgreSQL) per operation. Fairness is the slowest process's operations\n  \
        by the fastest's, the worst round.\n\
        - Cold means that the file was dropped from the page cache; PostgreSQL has a cache of its own and takes no part.\n\n{rows}",
        disk = disk(results),
        rows_of_items = text::grouped(crate::client::ROWS as u64),
    )
}

fn alone(results: &Results) -> String {
    let cases = measured_alone(results);
    if cases.is_empty() {
        return String::new();
    }
    let latency = |case: &str, peer| {
        let found = find(results, case, 1, peer)?;
        let (p50, p99) = (view::spread(&found.rounds, view::p50)?, view::spread(&found.rounds, view::p99)?);
        Some(format!("{} / {}", text::us(p50.median), text::us(p99.median)))
    };
    let by =
        |case: &str, peers| ratio(results, case, 1, peers, view::p50).map(|ratio| text::spread(ratio, text::times));
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|case| {
            let cells = [
                latency(case, Mount),
                latency(case, Disk),
                latency(case, Postgres),
                by(case, [Mount, Disk]),
                by(case, [Mount, Postgres]),
            ];
            std::iter::once((*case).to_owned())
                .chain(cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned())))
                .collect()
        })
        .collect();
    let disk = disk(results);
    let by_disk = format!("mount by {disk}");
    format!(
        "## One process\n\nLatency, p50 / p99. Ratios are of the medians: below 1x the mount is faster.\n\n\
        ![Latency by case](benchmarks/latency.svg)\n\n{}",
        text::table(1, &["case", "mount", disk, "PostgreSQL", &by_disk, "mount by PostgreSQL"], &rows)
    )
}

fn together(results: &Results) -> String {
    let all = TOGETHER.iter().chain(SHAPED);
    let tables: String = all.filter_map(|case| case_section(results, case)).collect();
    if tables.is_empty() {
        return String::new();
    }
    format!(
        "## Several processes\n\nAfter the name the busy timeout; ratios are to {} with 5 s.\n\n\
        ![Throughput against processes](benchmarks/throughput.svg)\n\n{tables}",
        disk(results)
    )
}

fn case_section(results: &Results, case: &str) -> Option<String> {
    let counts: BTreeSet<u32> = results.cases.iter().filter(|one| one.case == case).map(|one| one.processes).collect();
    let mut rows = Vec::new();
    for processes in counts {
        let peers = [Mount, MountAtOnce, Disk, DiskAtOnce, Postgres];
        for found in peers.iter().filter_map(|peer| find(results, case, processes, *peer)) {
            rows.extend(rows_of(results, found));
        }
    }
    let by_disk = format!("by {}", disk(results));
    let head = ["who", "processes", "per second", &by_disk, "p50", "p99", "longest", "errors", "fairness", "CPU each"];
    (!rows.is_empty())
        .then(|| format!("### {case}\n\n{}.\n\n{}\n", sentence(cases::about(case)), text::table(1, &head, &rows)))
}

/// One row for each class of operations that the case has.
fn rows_of(results: &Results, found: &CaseResult) -> Vec<Vec<String>> {
    type Of = fn(&Sample) -> &Class;
    let classes: [(&str, Of); 2] = [("reads", |sample| &sample.reads), ("writes", |sample| &sample.writes)];
    let has = |of: Of| found.rounds.iter().any(|sample| !of(sample).by_process.is_empty());
    let has_both = classes.iter().all(|(_, of)| has(*of));
    let disk = find(results, &found.case, found.processes, Disk);
    let row = |(name, of): (&str, Of)| {
        let median = |figure: fn(&Class) -> f64| Spread::of(found.rounds.iter().map(|sample| figure(of(sample))));
        let rates = |case: &CaseResult| case.rounds.iter().map(|sample| of(sample).per_second).collect::<Vec<_>>();
        let by_disk = disk.and_then(|disk| Spread::of_ratios(rates(found), rates(disk)));
        let us = |figure| median(figure).map_or_else(String::new, |spread| text::us(spread.median));
        let longest = found.rounds.iter().map(|sample| of(sample).max_us).fold(0.0, f64::max);
        let fairness = found.rounds.iter().filter_map(|sample| of(sample).fairness()).reduce(f64::min);
        let cpu = view::spread(&found.rounds, view::cpu_us);
        let who = name_of(found.peer, results);
        vec![
            if has_both { format!("{who}, {name}") } else { who },
            found.processes.to_string(),
            median(|class| class.per_second).map_or_else(String::new, |rate| text::count(rate.median)),
            by_disk.map_or_else(|| "-".to_owned(), |ratio| text::times(ratio.median)),
            us(|class| class.p50_us),
            us(|class| class.p99_us),
            text::us(longest),
            errors(found, of),
            fairness.map_or_else(|| "-".to_owned(), |fairness| format!("{fairness:.2}")),
            cpu.map_or_else(|| "-".to_owned(), |cpu| text::us(cpu.median)),
        ]
    };
    classes.into_iter().filter(|(_, of)| has(*of)).map(row).collect()
}

/// How many failed, and of how many.
fn errors(found: &CaseResult, of: fn(&Sample) -> &Class) -> String {
    let failed: u64 = found.rounds.iter().map(|sample| of(sample).failures()).sum();
    let tried = failed + found.rounds.iter().map(|sample| of(sample).operations).sum::<u64>();
    if failed == 0 {
        return "0".to_owned();
    }
    format!("{} ({:.1} %)", text::grouped(failed), failed as f64 * 100.0 / tried as f64)
}

fn growth(results: &Results) -> String {
    let parts = [
        growth_table(results, &results.databases, "databases open", text::grouped).map(|table| {
            let most = results.databases.iter().map(|point| point.at).max().unwrap_or_default();
            let each = view::kib_per_database(&results.databases, most);
            let each = each.map_or_else(String::new, |(resident, shared_once)| {
                format!(
                    "\nEach further database, in WAL mode with its three files open by one process, takes {} of the daemon's\n\
                    resident memory ({} when what its processes share is counted once).\n",
                    text::kib(resident),
                    text::kib(shared_once)
                )
            });
            format!("### Databases open\n\nOne process uses one of them, others hold the rest open.\n\n{table}{each}")
        }),
        growth_table(results, &results.sizes, "size", text::bytes).map(|table| {
            format!(
                "### Size of the file\n\nThe middle of each file is a hole of free pages, which SQLite's freelist names; the rows lie \
                behind it.\n`PRAGMA integrity_check` finds the files sound.\n\n{table}"
            )
        }),
        waiters_table(results),
        handles_table(results),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("## Growth\n\n![Latency as things grow](benchmarks/growth.svg)\n\n{}", parts.join("\n"))
}

fn growth_table(results: &Results, points: &[GrowthPoint], what: &str, name: fn(u64) -> String) -> Option<String> {
    let p50 = |samples: &[Sample]| {
        view::spread(samples, view::p50).map_or_else(|| "-".to_owned(), |spread| text::spread(spread, text::us))
    };
    let row = |point: &GrowthPoint| {
        let memory = point.memory.first().map_or_else(|| "-".to_owned(), |memory| text::kib(memory.rss_kib() as f64));
        vec![name(point.at), name_of(point.peer, results), p50(&point.select), p50(&point.insert), memory]
    };
    let rows: Vec<Vec<String>> = points.iter().map(row).collect();
    (!rows.is_empty()).then(|| text::table(2, &[what, "who", "SELECT p50", "INSERT p50", "daemon RSS"], &rows))
}

fn waiters_table(results: &Results) -> Option<String> {
    let row = |point: &crate::results::WaitersPoint| {
        let each = (point.waiting.rss_kib() as f64 - point.idle.rss_kib() as f64) / point.waiters as f64;
        vec![
            text::grouped(point.waiters),
            text::grouped(point.hand_overs),
            text::us(point.p50_us),
            text::us(point.p99_us),
            text::us(point.max_us),
            text::grouped(point.errors.values().sum()),
            text::kib(each.max(0.0)),
        ]
    };
    let rows: Vec<Vec<String>> = results.waiters.iter().map(row).collect();
    let head = ["waiting", "hand-overs", "p50", "p99", "longest", "errors", "daemon RSS each"];
    (!rows.is_empty()).then(|| {
        format!(
            "### Processes in line\n\nEach begins with BEGIN IMMEDIATE (WAL NORMAL, no busy timeout), writes a row, sleeps 2 ms, commits, \
            and stays away\nfor 3 ms. A hand-over is the time from the holder's call of COMMIT to the return of the next \
            one's BEGIN IMMEDIATE.\n\n{}",
            text::table(1, &head, &rows)
        )
    })
}

fn handles_table(results: &Results) -> Option<String> {
    let base = results.handles.first()?;
    let row = |point: &crate::results::HandlesPoint| {
        let handles = point.handles - base.handles;
        let each = point.memory.rss_kib().saturating_sub(base.memory.rss_kib()) as f64 / handles as f64;
        let each = if handles == 0 { "-".to_owned() } else { text::kib(each) };
        vec![text::grouped(point.handles), text::kib(point.memory.rss_kib() as f64), each]
    };
    let rows: Vec<Vec<String>> = results.handles.iter().map(row).collect();
    Some(format!("### Handles open\n\nOf one file.\n\n{}", text::table(1, &["handles", "daemon RSS", "each"], &rows)))
}

/// Cases of the run, each once, in its order.
fn measured(results: &Results) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    results.cases.iter().map(|one| one.case.as_str()).filter(|case| seen.insert(*case)).collect()
}

fn measured_alone(results: &Results) -> Vec<&'static str> {
    let is_measured = |case: &&&str| find(results, case, 1, Mount).is_some();
    ALONE.iter().filter(is_measured).copied().collect()
}

fn name_of(peer: Peer, results: &Results) -> String {
    let disk = disk(results);
    match peer {
        Mount => "mount, 5 s".to_owned(),
        MountAtOnce => "mount, 0 s".to_owned(),
        Disk => format!("{disk}, 5 s"),
        DiskAtOnce => format!("{disk}, 0 s"),
        Postgres => "PostgreSQL".to_owned(),
    }
}

fn http(results: &Results) -> String {
    let row = |(name, of): (&str, fn(&HttpRound) -> &Load)| {
        let figure = |figure: fn(&Load) -> f64, format: fn(f64) -> String| {
            let spread = Spread::of(results.http.iter().map(|round| figure(of(round))));
            spread.map_or_else(|| "-".to_owned(), |spread| text::spread(spread, format))
        };
        let longest = results.http.iter().map(|round| of(round).max_us).fold(0.0, f64::max);
        let errors = results.http.iter().map(|round| of(round).errors).sum();
        vec![
            name.to_owned(),
            figure(|load| load.per_second, text::count),
            figure(|load| load.p50_us, text::us),
            figure(|load| load.p99_us, text::us),
            text::us(longest),
            text::grouped(errors),
        ]
    };
    let Some(native) = Spread::of(results.http.iter().map(|round| round.native_per_second)) else {
        return String::new();
    };
    let rows = [row(("GET of a key", |round| &round.get)), row(("PUT of a key", |round| &round.set))];
    format!(
        "## HTTP\n\n`hoodydb serve` on the mount, {} connections of wrk on the loopback with one thread, 10,000 keys, WAL mode with\n\
        `synchronous=FULL`; every PUT is answered after its COMMIT. In turns with it, one native connection that writes the same\n\
        table in autocommit: {} per second.\n\n{}",
        crate::http::CONNECTIONS,
        text::spread(native, text::count),
        text::table(1, &["request", "per second", "p50", "p99", "longest", "errors"], &rows)
    )
}

fn disk(results: &Results) -> &str {
    if results.machine.file_system.is_empty() { "disk" } else { &results.machine.file_system }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Results {
        serde_json::from_str(include_str!("example.json")).expect("the example is what --json writes")
    }

    #[test]
    fn a_report_is_made_of_results_alone() {
        insta::assert_snapshot!(markdown(&example(), Some("## An account\n\nBy hand.\n")));
    }

    #[test]
    fn a_run_of_nothing_has_a_report() {
        insta::assert_snapshot!(markdown(&Results { quick: true, ..Results::default() }, None));
    }

    #[test]
    fn plots_follow_the_colours_of_their_reader() -> Result<()> {
        let place = hoodydb_tests::Place::new();
        write(&example(), place.path())?;
        for (name, words) in [("latency", "select-wal"), ("throughput", "writers-wal-full"), ("growth", "20 GB")] {
            let svg = std::fs::read_to_string(place.path().join(format!("benchmarks/{name}.svg")))?;
            assert!(svg.contains("prefers-color-scheme:dark") && svg.contains(words), "{name}");
        }
        Ok(())
    }
}
