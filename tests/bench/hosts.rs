//! What containers cost: their start through `hoodydb-runc`, and everybody else's latency beside a hostile one. Called by
//! `hoodydb-bench containers`; the engines run on a host of their own, as in the tests.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hoodydb_tests::host::DOCKER;
use hoodydb_tests::{Client, Host, clients_directory, rootfs};

use crate::care::judge;
use crate::cases::{End, Journal, Work};
use crate::client::{Report, Spec, Target};
use crate::statistics::Spread;
use crate::{run, sqlite_client, text};

/// Processes beside the hostile container. They pause between operations: it is the daemon that is measured, not the processors.
const OTHERS: u64 = 2;
const THINK_MS: u64 = 5;

/// Starts a container by a runtime; how long it took, in milliseconds.
type Start<'s> = &'s dyn Fn(&str) -> Result<f64>;

/// Measures, and prints a line for each figure.
///
/// # Errors
/// If there are no engines here, or a command fails.
pub fn run(hoodydb: &Path, quick: bool) -> Result<()> {
    // It finds the program as the tests do; nobody else runs yet in this process.
    ensure!(std::env::var_os("HOODYDB_BIN").is_some_and(|path| path == hoodydb), "HOODYDB_BIN must name the program");
    let host = Host::new().context("the engines are not installed; cargo xtask test installs them")?;
    host.hoodydb(&["mount"]);
    host.start_engines();
    host.hoodydb(&["containers", "enable", "--engine", "docker"]);
    starts(&host, hoodydb, if quick { 10 } else { 60 })?;
    beside_a_hostile_one(&host, quick)
}

fn starts(host: &Host, hoodydb: &Path, rounds: u32) -> Result<()> {
    let wrapper = hoodydb.with_file_name("hoodydb-runc").display().to_string();
    let bundle = host.files().join("bundle");
    rootfs::make(&bundle.join("rootfs"));
    let bundle = bundle.display().to_string();
    host.script(&format!("cd {bundle}; runc spec; sed -i 's/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"true\"/' config.json; cp config.json /run/spec"));
    let by_runc = |runtime: &str| {
        // hoodydb-runc has written into it.
        host.script(&format!("cp /run/spec {bundle}/config.json"));
        timed_ms(host, &[runtime, "run", "--bundle", &bundle, "one"])
    };
    let by_docker = |runtime: &str| {
        let runtime = format!("--runtime={runtime}");
        timed_ms(host, &[DOCKER, "run", "--rm", "--network=none", &runtime, "test", "true"])
    };
    let mut differences = [Vec::new(), Vec::new()];
    let mut plain = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let ways: [(Start<'_>, [&str; 2]); 2] = [(&by_runc, ["runc", &wrapper]), (&by_docker, ["runc", "hoodydb"])];
        for (way, (start, [without, with])) in ways.into_iter().enumerate() {
            // The first after something else is never the same one.
            let (without_ms, with_ms) = if round % 2 == 0 {
                (start(without)?, start(with)?)
            } else {
                let with_ms = start(with)?;
                (start(without)?, with_ms)
            };
            plain[way].push(without_ms);
            differences[way].push(with_ms - without_ms);
        }
    }
    let us = |ms: f64| text::us(ms * 1e3);
    for (way, name) in ["runc run", "docker run"].into_iter().enumerate() {
        let median = |values: &[f64]| Spread::of(values.iter().copied()).map_or(0.0, |spread| spread.median);
        let (more, all) = (median(&differences[way]), median(&plain[way]));
        println!("{name} takes {} more of {} (median of {rounds}; wanted: < 5 ms)", us(more), us(all));
    }
    Ok(())
}

fn timed_ms(host: &Host, words: &[&str]) -> Result<f64> {
    let mut command = host.command(words);
    let begun = Instant::now();
    let output = command.output()?;
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(took_ms)
}

fn beside_a_hostile_one(host: &Host, quick: bool) -> Result<()> {
    let (rounds, seconds, files) = if quick { (2, 10.0, "10000") } else { (5, 30.0, "100000") };
    let program = host.files().join("hostile");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-w", "-static", "-pthread", "-o"]).arg(&program).arg(clients_directory().join("hostile.c"));
    ensure!(gcc.status()?.success(), "gcc failed");
    let volume = format!("{}:/hostile:ro", program.display());
    let database = host.files().join("others.db");
    sqlite_client::create(&database, Journal::WalNormal)?;
    host.script(&format!("cp {} /hoody/databases/others.db", database.display()));
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for with_it in [round % 2 == 0, round % 2 != 0] {
            let name = format!("evil{round}");
            let mut words =
                vec![DOCKER, "run", "--rm", "--interactive", "--network=none", "--cpus=0.5", "--name", &name];
            words.extend(["--cap-add=DAC_READ_SEARCH", "--volume", &volume, "test", "/hostile", "/hoody/databases"]);
            words.extend([name.as_str(), files]);
            let hostile = with_it.then(|| {
                let mut hostile = Client::ready(host.command(&words));
                hostile.tell("go");
                hostile
            });
            let class = others(host, seconds)?;
            if let Some(mut hostile) = hostile {
                let ended = if hostile.has_ended() { "ended before the others" } else { "at work all the time" };
                eprintln!("the hostile one: {ended}");
                host.output(&[DOCKER, "rm", "--force", &name]);
                host.script(&format!("rm -rf /hoody/databases/{name}"));
            }
            let (p50, p99, max) = (class.p50_us, class.p99_us, class.max_us);
            eprintln!("beside a hostile container {with_it}: p50 {p50:.0} p99 {p99:.0} max {max:.0} us");
            ensure!(class.failures() == 0, "others were refused: {:?}", class.errors);
            if with_it { &mut beside } else { &mut alone }.push(class.p99_us);
        }
    }
    judge("p99 of others beside a hostile container", Spread::of_ratios(beside, alone), "< 2x", text::times);
    Ok(())
}

/// Processes that write and pause, in the host.
fn others(host: &Host, seconds: f64) -> Result<crate::results::Class> {
    let program = std::env::current_exe()?.display().to_string();
    let target =
        Target::Sqlite { path: "/hoody/databases/others.db".into(), journal: Journal::WalNormal, busy_timeout_ms: 0 };
    let mut clients = Vec::new();
    for number in 0..OTHERS {
        let spec = Spec {
            target: target.clone(),
            work: Work::WriteTransaction,
            end: End::Seconds(seconds),
            think_ms: THINK_MS,
            number,
        };
        clients.push(Client::ready(host.command(&[&program, "client", &serde_json::to_string(&spec)?])));
    }
    clients.iter_mut().for_each(|client| client.tell("g"));
    let reports: Vec<Report> =
        clients.iter_mut().map(|client| Ok(serde_json::from_str(&client.line())?)).collect::<Result<_>>()?;
    Ok(run::summarise(&reports, 0.0)?.writes)
}
