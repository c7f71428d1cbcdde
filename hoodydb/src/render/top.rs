//! The text of `hoodydb top --once`: one table per mount, and what its columns cannot tell.
//!
//! Called by [`crate::cli`]; the live screen is [`super::screen`].

use super::table::{draw, name, number};
use super::units::{bytes, count, micros, millis, per_second};
use super::{Style, short_command};
use crate::model::{Container, DatabaseTop, MountTop, Pinned, ProcessName, RefusalCounts, Top, printable};

/// Every mount's databases, the most contended one first.
pub fn top(top: &Top, style: Style) -> String {
    let mounts: Vec<String> = top.mounts.iter().map(|mount| one_mount(mount, style)).collect();
    mounts.join("\n")
}

fn one_mount(mount: &MountTop, style: Style) -> String {
    let mut text = format!("{}  {}\n", style.bold(&printable(&mount.mountpoint)), headline(mount));
    if mount.databases.is_empty() {
        text.push_str("  no database is in use\n");
    } else {
        let columns = [
            name("DATABASE"),
            name("HOLDER"),
            number("PID"),
            number("HELD"),
            number("WAIT"),
            number("ACQ/S"),
            number("WAITS/S"),
            number("P50"),
            number("P95"),
            number("P99"),
            number("MAX"),
            number("HOLD P99"),
            name("REFUSED"),
            number("WAL"),
            name("PINNED BY"),
        ];
        text.push_str(&draw(&columns, mount.databases.iter().map(row).collect(), style));
    }
    for note in notes(mount) {
        text.push_str(&format!("  {note}\n"));
    }
    text
}

/// What stands beside the mount point.
pub(super) fn headline(mount: &MountTop) -> String {
    let databases = match mount.databases.len() {
        1 => "1 database in use".to_owned(),
        many => format!("{many} databases in use"),
    };
    match mount.interval_ms {
        0 => format!("{}, {databases}", mount.phase),
        interval => format!("{}, {databases}, rates over {}", mount.phase, millis(interval)),
    }
}

/// What the columns do not tell.
pub(super) fn notes(mount: &MountTop) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(reason) = &mount.tracer_missing {
        notes.push(format!("HOLD P99 and refused recoveries need the tracer: {}", printable(reason)));
    }
    if mount.tracer_lost > 0 {
        notes.push(format!("the tracer lost {} events: its columns are too small", count(mount.tracer_lost)));
    }
    if mount.databases.iter().any(|database| database.refusals.causes.upgrade > 0) {
        notes.push("upgrade is inferred: who read and then asked to write while another wrote".to_owned());
    }
    notes
}

fn row(database: &DatabaseTop) -> Vec<String> {
    let holder = database.holder.as_ref();
    vec![
        printable(&database.path),
        holder.map(|holder| who(&holder.process, holder.container.as_ref())).unwrap_or_default(),
        holder.map(|holder| holder.process.pid.to_string()).unwrap_or_default(),
        database.hold_age_ms.map(millis).unwrap_or_default(),
        count(database.waiters_total),
        per_second(database.acquisitions_per_s),
        per_second(database.waits_per_s),
        wait(database.wait_p50_us),
        wait(database.wait_p95_us),
        wait(database.wait_p99_us),
        wait(database.wait_max_us),
        database.hold_p99_us.map_or_else(|| "-".to_owned(), micros),
        refusals(database),
        database.wal_bytes.map(bytes).unwrap_or_default(),
        database.wal_pinned_by.as_ref().map(pinned).unwrap_or_default(),
    ]
}

/// `[docker:web] python3 app.py`: the container first, it is what people know.
pub(super) fn who(process: &ProcessName, container: Option<&Container>) -> String {
    let command = short_command(&process.command);
    match container {
        Some(container) => format!("[{}] {command}", container.label()),
        None => command,
    }
}

/// A wait; nothing where nobody waited.
pub(super) fn wait(us: u64) -> String {
    if us == 0 { "-".to_owned() } else { micros(us) }
}

/// Refusals of a database since the mount was made.
pub(super) fn refusals(database: &DatabaseTop) -> String {
    causes(&database.refusals.causes, database.refusals.recovery)
}

/// `deadline 2, upgrade 1`; nothing where nothing was refused.
pub(super) fn causes(causes: &RefusalCounts, recovery: Option<u64>) -> String {
    let all = [
        ("conflict", causes.conflict),
        ("deadline", causes.deadline),
        ("deadlock", causes.deadlock),
        ("upgrade", causes.upgrade),
        ("recovery", recovery.unwrap_or(0)),
        ("limit", causes.limit),
    ];
    let named = all.into_iter().filter(|(_, count)| *count > 0);
    named.map(|(cause, number)| format!("{cause} {}", count(number))).collect::<Vec<_>>().join(", ")
}

pub(super) fn pinned(pinned: &Pinned) -> String {
    format!("pid {}, {} for {}", pinned.process.pid, pinned.role, millis(pinned.age_ms))
}
