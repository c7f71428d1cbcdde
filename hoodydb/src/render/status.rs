//! The text of `hoodydb status`.

use super::table::{draw_used, name, number};
use super::units::{count, micros, millis, seconds};
use super::{Style, short_command};
use crate::model::{Container, Counts, DatabaseStatus, MountStatus, RefusedDatabase, Status, printable};

/// Every mount with its counts, its databases and its warnings.
pub fn status(status: &Status, style: Style) -> String {
    let mounts: Vec<String> = status.mounts.iter().map(|mount| one_mount(mount, style)).collect();
    mounts.join("\n")
}

fn one_mount(mount: &MountStatus, style: Style) -> String {
    let mut text = format!(
        "{}  {}, pid {}, version {}, up {}\n",
        style.bold(&printable(&mount.mountpoint)),
        mount.phase,
        mount.pid,
        mount.version,
        seconds(mount.uptime_s)
    );
    for (key, value) in facts(mount) {
        text.push_str(&format!("  {key:<10} {value}\n"));
    }
    text.push_str(&super::schedule::of_mount(mount, style));
    if mount.databases.is_empty() {
        text.push_str("  no database is open\n");
    } else {
        text.push('\n');
        text.push_str(&databases(&mount.databases, style));
    }
    for refused in &mount.refused_databases {
        text.push_str(&refused_database(refused, style));
    }
    for bind in &mount.single_file_binds {
        text.push_str(&super::single_file_bind(bind, style));
    }
    text
}

fn facts(mount: &MountStatus) -> Vec<(&'static str, String)> {
    let data_path = match &mount.passthrough_missing {
        _ if mount.passthrough => "passthrough".to_owned(),
        Some(reason) => format!("through the daemon ({})", printable(reason)),
        None => "through the daemon".to_owned(),
    };
    let open = format!(
        "{} of {} handles, {} inodes, {} of {} descriptors",
        count(mount.handles),
        count(mount.handles_max),
        count(mount.inodes),
        count(mount.descriptors),
        count(mount.descriptors_max)
    );
    let mut facts = vec![
        ("backing", printable(&mount.backing)),
        ("processes", processes(mount)),
        ("access", mount.access.clone()),
        ("policy", format!("{}, a lock call waits up to {}", mount.policy, millis(mount.max_wait_ms))),
        ("data path", data_path),
        ("requests", count(mount.requests_total)),
        ("open", open),
        ("locks", format!("{} records, {} waiting", count(mount.records), count(mount.waiters))),
        ("granted", granted(&mount.totals)),
        ("refused", refused(&mount.totals)),
        ("tracer", tracer(mount)),
    ];
    facts.extend(mount.metrics.iter().map(|address| ("metrics", printable(address))));
    facts.extend(mount.history_missing.iter().map(|reason| ("history", format!("not kept: {}", printable(reason)))));
    facts
}

fn tracer(mount: &MountStatus) -> String {
    match &mount.tracer_missing {
        Some(missing) => format!("{}: {}", mount.tracer, printable(missing)),
        // A daemon from before there was one.
        None if mount.tracer.is_empty() => "off".to_owned(),
        None => mount.tracer.clone(),
    }
}

fn processes(mount: &MountStatus) -> String {
    let pids = format!("keeper {}, worker {}", mount.keeper_pid, mount.worker_pid);
    match &mount.last_restart {
        None => pids,
        Some(last) => format!(
            "{pids}; {} replaced, the last one because {} (a pause of {})",
            count(mount.restarts),
            printable(&last.reason),
            micros(last.stall_us)
        ),
    }
}

fn granted(counts: &Counts) -> String {
    let waits = format!(
        "p50 {}, p99 {}, max {}",
        micros(counts.wait_p50_us),
        micros(counts.wait_p99_us),
        micros(counts.wait_max_us)
    );
    format!("{}, {} waited ({waits})", count(counts.granted), count(counts.waited))
}

fn refused(counts: &Counts) -> String {
    let causes = &counts.refusals;
    format!(
        "{} (conflict {}, deadline {}, deadlock {}, upgrade {}, limit {}), interrupted {}",
        count(causes.total()),
        causes.conflict,
        causes.deadline,
        causes.deadlock,
        causes.upgrade,
        causes.limit,
        counts.interrupted
    )
}

fn databases(databases: &[DatabaseStatus], style: Style) -> String {
    let columns = [
        name("DATABASE"),
        name("JOURNAL"),
        name("POLICY"),
        number("HOLD"),
        number("WAIT"),
        number("GRANTED"),
        number("WAITED"),
        number("P50"),
        number("P99"),
        number("MAX"),
        number("REFUSED"),
        name("CONTAINERS"),
    ];
    let rows = databases.iter().map(|database| {
        let counts = &database.counts;
        vec![
            printable(&database.path),
            database.journal_mode.clone(),
            database.policy.clone(),
            count(database.holders),
            count(database.waiters),
            count(counts.granted),
            count(counts.waited),
            micros(counts.wait_p50_us),
            micros(counts.wait_p99_us),
            micros(counts.wait_max_us),
            count(counts.refusals.total()),
            containers(&database.containers),
        ]
    });
    draw_used(&columns, rows.collect(), &["CONTAINERS"], style)
}

/// The first few of them.
fn containers(containers: &[Container]) -> String {
    const SHOWN_MAX: usize = 3;
    let mut labels: Vec<String> = containers.iter().take(SHOWN_MAX).map(Container::label).collect();
    if containers.len() > SHOWN_MAX {
        labels.push(format!("{} more", containers.len() - SHOWN_MAX));
    }
    labels.join(", ")
}

fn refused_database(refused: &RefusedDatabase, style: Style) -> String {
    let users: Vec<String> =
        refused.users.iter().map(|user| format!("pid {} ({})", user.pid, short_command(&user.command))).collect();
    format!(
        "{}: {} is refused (EBUSY): {} still has it open through a dead mount. End it, or let it close the file.\n",
        style.warning("WARNING"),
        printable(&refused.path),
        users.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProcessName, RefusalCounts, SingleFileBind};

    fn counts() -> Counts {
        Counts {
            granted: 12_345,
            waited: 67,
            wait_p50_us: 256,
            wait_p99_us: 16_384,
            wait_max_us: 31_000_000,
            refusals: RefusalCounts { conflict: 3, deadline: 1, ..RefusalCounts::default() },
            interrupted: 2,
        }
    }

    fn mount() -> MountStatus {
        let process = ProcessName { pid: 42, command: "python3 app.py".to_owned() };
        MountStatus {
            mountpoint: "/hoody/databases".to_owned(),
            backing: "/var/lib/hoodydb/databases".to_owned(),
            pid: 7,
            version: "0.1.0".to_owned(),
            phase: "serving".to_owned(),
            access: "shared".to_owned(),
            policy: "turn".to_owned(),
            max_wait_ms: 30_000,
            passthrough_missing: Some("the kernel is older than 6.9".to_owned()),
            uptime_s: 3_700,
            requests_total: 98_765,
            handles: 4,
            inodes: 5,
            descriptors: 6,
            descriptors_max: 20_000,
            handles_max: 10_000,
            records: 3,
            waiters: 1,
            databases: vec![DatabaseStatus {
                path: "evil\u{1b}[2J\nname.db".to_owned(),
                journal_mode: "wal".to_owned(),
                policy: "turn".to_owned(),
                holders: 2,
                waiters: 1,
                containers: ["a", "b", "c", "d", "e"]
                    .map(|id| Container { engine: "runc".to_owned(), id: id.to_owned(), ..Container::default() })
                    .into(),
                counts: counts(),
            }],
            totals: counts(),
            metrics: Some("http://127.0.0.1:9500/metrics".to_owned()),
            history_missing: Some("/data/.hoodydb/history.db: disk I/O error".to_owned()),
            tracer: "off".to_owned(),
            tracer_missing: Some("the daemon lacks CAP_BPF: start it as root".to_owned()),
            refused_databases: vec![RefusedDatabase { path: "old.db".to_owned(), users: vec![process.clone()] }],
            single_file_binds: vec![SingleFileBind {
                path: "one.db".to_owned(),
                process,
                seen_at: "/data/one.db".to_owned(),
            }],
            schedules: crate::render::schedule::tests::example(),
            ..MountStatus::default()
        }
    }

    #[test]
    fn a_mount_with_everything() {
        insta::assert_snapshot!(status(&Status { mounts: vec![mount()] }, Style::default()));
    }

    #[test]
    fn an_idle_mount() {
        let idle = MountStatus {
            databases: vec![],
            refused_databases: vec![],
            single_file_binds: vec![],
            schedules: vec![],
            ..mount()
        };
        insta::assert_snapshot!(status(&Status { mounts: vec![idle] }, Style::default()));
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let everything = Status { mounts: vec![mount()] };
        assert!(!status(&everything, Style { colour: false }).contains('\u{1b}'));
        assert!(status(&everything, Style { colour: true }).contains("\u{1b}[1m/hoody/databases\u{1b}[0m"));
    }

    #[test]
    fn json_schema_of_status() {
        insta::assert_snapshot!(super::super::json(&Status { mounts: vec![mount()] }).unwrap());
    }
}
