use super::*;
use crate::model::Sample;

fn look(counters: Counters) -> Observation {
    let database = DatabaseObservation {
        path: "a.db".to_owned(),
        inodes: vec![7, 8],
        journal_mode: "wal".to_owned(),
        counters,
        holders_total: 1,
        ..DatabaseObservation::default()
    };
    Observation { mountpoint: "/m".to_owned(), databases: vec![database], ..Observation::default() }
}

fn waits(entries: &[(usize, u64)], max_us: u64) -> Counters {
    let mut counters = Counters { wait_max_ns: max_us * 1000, ..Counters::default() };
    for (bucket, count) in entries {
        counters.wait_us_log2[*bucket] = *count;
        counters.waited += count;
        counters.granted += count;
    }
    counters
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn rates_come_from_two_looks() {
    let before = look(Counters { granted: 100, waited: 10, refused_deadline: 1, ..Counters::default() });
    let after = look(Counters { granted: 300, waited: 20, refused_deadline: 2, ..Counters::default() });
    let top = top(Some(&before), &after, Duration::from_secs(2));
    let one = &top.databases[0];
    assert_eq!((one.acquisitions_per_s, one.waits_per_s, one.refusals_per_s), (100.0, 5.0, 0.5));
    assert_eq!((one.granted, one.waited, one.refusals.causes.deadline, top.interval_ms), (300, 20, 2, 2000));
    assert_eq!((one.hold_p99_us, one.refusals.recovery), (None, None), "only the tracer knows");
}

#[test]
fn one_look_has_no_rates() {
    let top = top(None, &look(waits(&[(3, 9)], 10)), SECOND);
    let one = &top.databases[0];
    assert_eq!((one.acquisitions_per_s, one.waits_per_s, one.wait_p50_us, top.interval_ms), (0.0, 0.0, 0, 0));
}

#[test]
fn counts_that_went_down_began_anew() {
    let before = look(waits(&[(3, 1000)], 16));
    let after = look(waits(&[(3, 5)], 16));
    let top = top(Some(&before), &after, SECOND);
    assert_eq!((top.databases[0].waits_per_s, top.databases[0].wait_us_log2[3]), (5.0, 5));
}

#[test]
fn percentiles_are_of_the_waits_between_the_looks() {
    let before = look(waits(&[(20, 500)], 1_500_000));
    let after = look(waits(&[(3, 90), (10, 9), (12, 1), (20, 500)], 1_500_000));
    let top = top(Some(&before), &after, SECOND);
    let one = &top.databases[0];
    assert_eq!((one.wait_p50_us, one.wait_p95_us, one.wait_p99_us, one.wait_max_us), (16, 2048, 2048, 8192));
}

#[test]
fn the_longest_wait_is_exact_where_it_is_the_longest_ever() {
    let top = top(Some(&look(waits(&[(3, 1)], 9))), &look(waits(&[(3, 1), (10, 1)], 1100)), SECOND);
    assert_eq!((top.databases[0].wait_p50_us, top.databases[0].wait_max_us), (1100, 1100));
}

#[test]
fn whoever_still_waits_counts_for_the_longest_wait() {
    let mut after = look(Counters::default());
    after.databases[0].oldest_wait_ms = 4_000;
    assert_eq!(top(None, &after, SECOND).databases[0].wait_max_us, 4_000_000);
}

#[test]
fn the_most_contended_comes_first_and_the_idle_not_at_all() {
    let of = |path: &str, inode, granted, waited| DatabaseObservation {
        path: path.to_owned(),
        inodes: vec![inode],
        counters: Counters { granted, waited, ..Counters::default() },
        ..DatabaseObservation::default()
    };
    let before = Observation { databases: vec![of("idle", 1, 5, 5)], ..Observation::default() };
    let all = vec![of("idle", 1, 5, 5), of("busy", 2, 9_000, 0), of("contended", 3, 10, 1)];
    let top = top(Some(&before), &Observation { databases: all, ..Observation::default() }, SECOND);
    let paths: Vec<&str> = top.databases.iter().map(|database| database.path.as_str()).collect();
    assert_eq!(paths, ["contended", "busy"]);
}

#[test]
fn the_writer_tells_the_age_and_the_oldest_reader_pins_the_wal() {
    let holder = |role: &str, pid, age_ms| Holder {
        role: role.to_owned(),
        process: ProcessName { pid, command: "x".to_owned() },
        age_ms,
        ..Holder::default()
    };
    let mut now = look(Counters::default());
    now.databases[0].holders = vec![
        holder("SHARED", 1, 90_000),
        holder("DMS", 1, 90_000),
        holder("READ2", 2, 5_000),
        holder("READ1", 3, 7_000),
    ];
    let of = |now: &Observation| top(None, now, SECOND).databases.remove(0);
    assert_eq!((of(&now).hold_age_ms, of(&now).wal_pinned_by), (Some(7_000), None), "no WAL, nothing to pin");
    now.databases[0].wal_bytes = Some(4096);
    now.databases[0].holders.push(holder("WRITE", 4, 20));
    assert_eq!(of(&now).hold_age_ms, Some(20));
    assert_eq!(of(&now).wal_pinned_by.map(|pinned| (pinned.process.pid, pinned.role)), Some((3, "READ1".to_owned())));
}

fn traced(holds: &[(usize, u64)], refused: u64) -> Observation {
    let mut histogram = Histogram::default();
    holds.iter().for_each(|(bucket, count)| histogram.0[*bucket] = *count);
    let row = |ino, role: &str| SampleRow {
        ino,
        pid: 5,
        role: role.to_owned(),
        refused,
        held_ns_max: 3_000_000_000,
        holds: histogram.clone(),
        ..SampleRow::default()
    };
    let rows = vec![row(8, "RECOVER"), row(99, "RECOVER")];
    Observation { tracer: Some(Sample { rows, ..Sample::default() }), ..look(Counters::default()) }
}

#[test]
fn the_tracer_adds_holds_and_recoveries() {
    let top = top(Some(&traced(&[(10, 5)], 1)), &traced(&[(10, 5), (31, 2)], 3), SECOND);
    let one = &top.databases[0];
    assert_eq!((one.hold_p99_us, one.refusals.recovery), (Some(3_000_000), Some(3)), "not those of another file");
}

#[test]
fn a_process_that_ends_counts_nothing_twice() {
    let alive = traced(&[(10, 5), (31, 2)], 1);
    let mut ended = alive.clone();
    for row in ended.tracer.iter_mut().flat_map(|sample| &mut sample.rows) {
        row.pid = 0;
    }
    assert_eq!(top(Some(&alive), &ended, SECOND).databases[0].hold_p99_us, None);
}
