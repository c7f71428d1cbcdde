//! Nanoseconds per decision of the lock core, at 1 to 10,000 records and waiters.
//!
//! `cargo bench -p hoodydb`; medians of one run are quoted in docs/LONG_RUNS.md.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use hoodydb::manager::{Config, Decision, Event, Group, LockCall, LockManager, Ticket, Timestamp};

const PLAIN: FileId = FileId { dev: 1, ino: 1 };
const DATABASE: FileId = FileId { dev: 1, ino: 2 };
const INDEX: FileId = FileId { dev: 1, ino: 3 };

fn call(file: FileId, owner: u64, start: u64, end: u64, kind: Option<LockKind>) -> LockCall {
    LockCall {
        file,
        owner: LockOwner(owner),
        handle: Handle(owner * 2 + file.ino % 2),
        pid: Pid(owner as u32),
        tid: Tid(owner as u32),
        range: ByteRange::new(start, end).expect("the bench asks for bytes"),
        kind,
        wait: false,
    }
}

struct Bench {
    manager: LockManager,
    out: Vec<Decision>,
    ticket: u64,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let config = Config { max_records_per_holder: 100_000, max_waiters_per_process: 100_000, ..Config::default() };
        Self { manager: LockManager::new(config), out: Vec::new(), ticket: 0, now: 0 }
    }

    fn set(&mut self, call: LockCall) {
        self.ticket += 1;
        self.now += 1_000;
        self.out.clear();
        self.manager.handle(
            Timestamp(self.now),
            Event::Set(Ticket(self.ticket), call, Group::default()),
            &mut self.out,
        );
        black_box(&self.out);
    }
}

/// A lock and its unlock on a file that has many other records.
fn plain_file(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lock and unlock beside records of others");
    group.throughput(Throughput::Elements(2));
    for records in [1u64, 100, 1_000, 10_000] {
        let mut bench = Bench::new();
        for other in 0..records {
            bench.set(call(PLAIN, 1_000 + other, other * 4, other * 4 + 2, Some(LockKind::Write)));
        }
        let middle = records / 2 * 4 + 2;
        group.bench_function(BenchmarkId::from_parameter(records), |bencher| {
            bencher.iter(|| {
                bench.set(call(PLAIN, 1, middle, middle + 1, Some(LockKind::Write)));
                bench.set(call(PLAIN, 1, middle, middle + 1, None));
            });
        });
    }
    group.finish();
}

fn wal_database(connections: u64) -> Bench {
    let mut bench = Bench::new();
    bench.manager.handle(Timestamp(0), Event::WalIndex { index: INDEX, database: DATABASE }, &mut bench.out);
    for owner in 1..=connections {
        bench.set(call(DATABASE, owner, 0x4000_0002, 0x4000_0200, Some(LockKind::Read)));
        bench.set(call(INDEX, owner, 128, 129, Some(LockKind::Read)));
    }
    bench
}

/// One WAL transaction that writes: four calls, beside many idle connections.
fn wal_insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("WAL write transaction beside idle connections");
    group.throughput(Throughput::Elements(4));
    for connections in [1u64, 100, 1_000] {
        let mut bench = wal_database(connections);
        group.bench_function(BenchmarkId::from_parameter(connections), |bencher| {
            bencher.iter(|| {
                bench.set(call(INDEX, 1, 124, 125, Some(LockKind::Read)));
                bench.set(call(INDEX, 1, 120, 121, Some(LockKind::Write)));
                bench.set(call(INDEX, 1, 120, 121, None));
                bench.set(call(INDEX, 1, 124, 125, None));
            });
        });
    }
    group.finish();
}

/// The writer ends, and one of many waiters is let in.
fn hand_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand the turn to the first of many waiters");
    group.sample_size(20);
    for waiters in [10u64, 100, 1_000] {
        group.bench_function(BenchmarkId::from_parameter(waiters), |bencher| {
            let prepare = || {
                let mut bench = wal_database(waiters + 1);
                bench.set(call(INDEX, 1, 124, 125, Some(LockKind::Read)));
                bench.set(call(INDEX, 1, 120, 121, Some(LockKind::Write)));
                for owner in 2..=waiters + 1 {
                    bench.set(call(INDEX, owner, 124, 125, Some(LockKind::Read)));
                }
                bench.now += 20_000_000;
                bench
            };
            let run = |mut bench: Bench| {
                bench.set(call(INDEX, 1, 120, 121, None));
                bench.set(call(INDEX, 1, 124, 125, None));
                bench
            };
            bencher.iter_batched(prepare, run, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, plain_file, wal_insert, hand_over);
criterion_main!(benches);
