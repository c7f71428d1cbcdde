//! The text that Prometheus reads.
//!
//! # Source
//! https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4) and /docs/practices/naming/: base units, `_total`
//! for counters.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figures::{DatabaseFigures, Figures};
use crate::model::{Counters, Histogram, RefusalCounts, ScheduleStatus, printable};

/// The type of the answer.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The role of waits that the lock manager counted: it does not tell them apart.
const ANY_ROLE: &str = "any";

/// Everything, family by family.
pub(super) fn text(figures: &Figures) -> String {
    let mut text = Text::default();
    text.mount(figures);
    text.backups(figures.schedules.as_deref());
    text.databases(&figures.databases);
    text.waits(&figures.databases, figures.tracer_lost.is_some());
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value as f64);
    }

    fn mount(&mut self, figures: &Figures) {
        self.family("hoodydb_mount_info", "gauge", "The mount and its daemon's version.");
        let labels = [("mountpoint", figures.mountpoint.as_str()), ("version", figures.version.as_str())];
        self.sample("hoodydb_mount_info", &labels, 1.0);
        self.single("hoodydb_uptime_seconds", "gauge", "Time since the mount became live.", figures.uptime_s);
        self.single("hoodydb_worker_restarts_total", "counter", "Workers that were replaced.", figures.restarts);
        self.family("hoodydb_requests_total", "counter", "Requests read, by FUSE operation.");
        for (operation, count) in &figures.requests {
            self.sample("hoodydb_requests_total", &[("operation", operation)], *count as f64);
        }
        self.single("hoodydb_inodes", "gauge", "Inodes that the kernel remembers.", figures.inodes);
        self.single("hoodydb_open_handles", "gauge", "Open file handles.", figures.handles);
        self.single("hoodydb_open_handles_limit", "gauge", "Most open file handles.", figures.handles_max);
        let kept = u64::from(figures.is_history_kept);
        self.single("hoodydb_history_up", "gauge", "Whether the history's minutes are kept.", kept);
        let traced = u64::from(figures.tracer_lost.is_some());
        self.single("hoodydb_tracer_up", "gauge", "Whether the kernel's tracer counts.", traced);
        if let Some(lost) = figures.tracer_lost {
            self.single("hoodydb_tracer_lost_events_total", "counter", "Events that the tracer had no room for.", lost);
        }
    }

    fn backups(&mut self, schedules: Option<&[ScheduleStatus]>) {
        let known = u64::from(schedules.is_some());
        self.single("hoodydb_backup_schedules_up", "gauge", "Whether it is known which backups are to be made.", known);
        type Of = fn(&ScheduleStatus) -> u64;
        let families: [(&str, &str, &str, Of); 3] = [
            ("hoodydb_backup_runs_total", "counter", "Backups by schedule that ended.", |one| one.runs_total),
            ("hoodydb_backup_failures_total", "counter", "Those that failed.", |one| one.failures_total),
            ("hoodydb_backup_failures_in_a_row", "gauge", "Failures since the last success.", |one| {
                one.failures_in_a_row
            }),
        ];
        for (name, kind, help, of) in families {
            self.family(name, kind, help);
            for one in schedules.unwrap_or_default() {
                self.sample(name, &[("schedule", &one.id.to_string())], of(one) as f64);
            }
        }
    }

    fn each(
        &mut self,
        databases: &[DatabaseFigures],
        (name, kind, help): (&str, &str, &str),
        of: fn(&DatabaseFigures) -> u64,
    ) {
        self.family(name, kind, help);
        for one in databases {
            self.sample(name, &[("database", &one.path)], of(one) as f64);
        }
    }

    fn databases(&mut self, databases: &[DatabaseFigures]) {
        let acquisitions =
            ("hoodydb_lock_acquisitions_total", "counter", "Lock calls that were granted, unlocks left out.");
        self.each(databases, acquisitions, |one| one.counters.granted);
        let waits = ("hoodydb_lock_waits_total", "counter", "Lock calls that waited before their answer.");
        self.each(databases, waits, |one| one.counters.waited);
        let interrupted = ("hoodydb_lock_interrupted_total", "counter", "Waits that a signal ended.");
        self.each(databases, interrupted, |one| one.counters.interrupted);
        let name = "hoodydb_lock_refusals_total";
        self.family(name, "counter", "Lock calls that were refused, by cause; upgrade is inferred.");
        for one in databases {
            for (cause, count) in causes(&one.counters) {
                self.sample(name, &[("database", &one.path), ("cause", cause)], count as f64);
            }
        }
        self.each(databases, ("hoodydb_locks_held", "gauge", "Locks that are held now."), |one| one.holders);
        self.each(databases, ("hoodydb_lock_waiters", "gauge", "Lock calls that wait now."), |one| one.waiters);
        self.each(databases, ("hoodydb_wal_size_bytes", "gauge", "Size of the -wal file."), |one| one.wal_bytes);
    }

    fn waits(&mut self, databases: &[DatabaseFigures], is_traced: bool) {
        let name = "hoodydb_lock_wait_seconds";
        let help = if is_traced {
            "Time from the start of a lock call to its answer, as the kernel saw it."
        } else {
            "Time that lock calls waited which waited at all; by role with the tracer."
        };
        self.family(name, "histogram", help);
        for one in databases {
            if is_traced {
                for (role, figures) in &one.roles {
                    let labels = [("database", one.path.as_str()), ("role", role)];
                    self.histogram(name, labels, &nanoseconds(&figures.waits), figures.wait_ns_total);
                }
            } else {
                let labels = [("database", one.path.as_str()), ("role", ANY_ROLE)];
                self.histogram(name, labels, &microseconds(&one.counters), one.counters.wait_ns_total);
            }
        }
        if is_traced {
            let name = "hoodydb_lock_hold_seconds";
            self.family(name, "histogram", "Time from the grant of a lock to its end.");
            for one in databases {
                for (role, figures) in &one.roles {
                    let labels = [("database", one.path.as_str()), ("role", role)];
                    self.histogram(name, labels, &nanoseconds(&figures.holds), figures.held_ns_total);
                }
            }
        }
    }

    /// Every second bucket is enough, as the counts are cumulative.
    fn histogram(&mut self, name: &str, labels: [(&str, &str); 2], buckets: &[(f64, u64)], sum_ns: u64) {
        let mut seen = 0;
        let bucket = format!("{name}_bucket");
        for (index, (upper_s, count)) in buckets.iter().enumerate() {
            seen += count;
            if index % 2 == 1 && index + 1 < buckets.len() {
                self.sample(&bucket, &[labels[0], labels[1], ("le", &upper_s.to_string())], seen as f64);
            }
        }
        self.sample(&bucket, &[labels[0], labels[1], ("le", "+Inf")], seen as f64);
        self.sample(&format!("{name}_sum"), &labels, sum_ns as f64 / 1e9);
        self.sample(&format!("{name}_count"), &labels, seen as f64);
    }
}

fn causes(counters: &Counters) -> BTreeMap<&'static str, u64> {
    let RefusalCounts { conflict, deadline, deadlock, upgrade, limit } = RefusalCounts::from(counters);
    [("conflict", conflict), ("deadline", deadline), ("deadlock", deadlock), ("upgrade", upgrade), ("limit", limit)]
        .into()
}

/// The manager's buckets, with their upper ends in seconds.
fn microseconds(counters: &Counters) -> Vec<(f64, u64)> {
    let upper = |bucket: usize| (1_u64 << (bucket + 1)) as f64 / 1e6;
    counters.wait_us_log2.iter().enumerate().map(|(bucket, count)| (upper(bucket), *count)).collect()
}

/// The tracer's. What took less than half a microsecond is one bucket.
fn nanoseconds(histogram: &Histogram) -> Vec<(f64, u64)> {
    const SHORT: usize = 8;
    let upper = |bucket: usize| (1_u64 << (bucket + 1).min(63)) as f64 / 1e9;
    let (short, rest) = histogram.0.split_at(SHORT.min(histogram.0.len()));
    let first = (upper(SHORT - 1), short.iter().sum());
    let rest = rest.iter().enumerate().map(|(index, count)| (upper(SHORT + index), *count));
    std::iter::once(first).chain(rest).collect()
}

/// A label's value: on one line, and harmless where it is shown.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for character in printable(value).chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::figures::RoleFigures;

    fn figures() -> Figures {
        let mut counters = Counters { granted: 10, waited: 3, refused_deadline: 1, ..Counters::default() };
        (counters.wait_us_log2[0], counters.wait_us_log2[9], counters.wait_us_log2[31]) = (1, 1, 1);
        counters.wait_ns_total = 1_500_000;
        let database = DatabaseFigures {
            inode: 1,
            path: "a\"b\\c\n\u{1b}.db".to_owned(),
            counters,
            holders: 1,
            waiters: 2,
            wal_bytes: 4096,
            ..DatabaseFigures::default()
        };
        Figures {
            mountpoint: "/m".to_owned(),
            version: "1".to_owned(),
            requests: [("OPEN".to_owned(), 5)].into(),
            databases: vec![database],
            ..Figures::default()
        }
    }

    #[test]
    fn without_the_tracer() {
        insta::assert_snapshot!(text(&figures()));
    }

    #[test]
    fn with_the_tracer() {
        let mut figures = figures();
        figures.tracer_lost = Some(7);
        let mut role = RoleFigures { wait_ns_total: 3_000, held_ns_total: 2_000_000_000, ..RoleFigures::default() };
        (role.waits.0[2], role.waits.0[11], role.holds.0[30]) = (1, 1, 1);
        figures.databases[0].path = "a.db".to_owned();
        figures.databases[0].roles.insert("WRITE".to_owned(), role);
        let text = text(&figures);
        let of_locks: Vec<&str> = text.lines().filter(|line| line.contains("role=\"WRITE\"")).collect();
        insta::assert_snapshot!(of_locks.join("\n"));
        assert!(text.contains("hoodydb_tracer_lost_events_total 7\n") && !text.contains("role=\"any\""));
    }
}
