//! What it costs that the lock state outlives its process: encoding each event, checkpoints, and a replay.
//!
//! `cargo bench -p hoodydb --bench saved`; medians are quoted in `manager/saved.rs`.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hoodydb::lock::{ByteRange, FileId, Handle, LockKind, LockOwner, Pid, Tid};
use hoodydb::manager::saved::{MAX_ENCODED_EVENT, decode_event, encode_event};
use hoodydb::manager::{Config, Event, Group, LockCall, LockManager, Ticket, Timestamp};

/// A device, inodes, times and numbers as large as on a host that has run for a month.
const DEVICE: u64 = 0x10_3001;
const UPTIME_NS: u64 = 30 * 86_400 * 1_000_000_000;

fn file(ino: u64) -> FileId {
    FileId { dev: DEVICE, ino: 1_000_000 + ino }
}

fn set(ticket: u64, file: FileId, owner: u64, bytes: (u64, u64), kind: Option<LockKind>) -> Event {
    let call = LockCall {
        file,
        // The kernel's lock owner is a hash: all its bits are used.
        owner: LockOwner((owner + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        handle: Handle(owner * 2 + file.ino % 2),
        pid: Pid(100_000 + owner as u32),
        tid: Tid(100_000 + owner as u32),
        range: ByteRange::new(bytes.0, bytes.1).expect("the bench asks for bytes"),
        kind,
        wait: false,
    };
    Event::Set(Ticket(10_000_000 + ticket * 2), call, Group(12_345))
}

/// 100 databases in WAL mode, each with connections that hold SHARED and DMS.
fn with_records(records: u64) -> LockManager {
    let mut manager = LockManager::new(Config::default());
    let mut out = Vec::new();
    for connection in 0..records / 2 {
        let database = connection % 100;
        let (main, index) = (file(database * 2), file(database * 2 + 1));
        let mut tell = |event| manager.handle(Timestamp(UPTIME_NS + connection), event, &mut out);
        tell(Event::WalIndex { index, database: main });
        tell(set(connection, main, connection, (0x4000_0002, 0x4000_0200), Some(LockKind::Read)));
        tell(set(connection, index, connection, (128, 129), Some(LockKind::Read)));
        out.clear();
    }
    assert_eq!(manager.view(Timestamp(UPTIME_NS)).records, records);
    manager
}

fn encode(criterion: &mut Criterion) {
    let event = set(1, file(1), 7, (120, 121), Some(LockKind::Write));
    let now = Timestamp(UPTIME_NS);
    let mut buffer = [0; MAX_ENCODED_EVENT];
    let length = encode_event(now, &event, &mut buffer).len();
    println!("a typical Set has {length} bytes");
    let mut group = criterion.benchmark_group("event");
    group.bench_function("encode a Set", |bencher| {
        bencher.iter(|| encode_event(black_box(now), black_box(&event), &mut buffer).len());
    });
    let encoded = buffer;
    group.bench_function("decode a Set", |bencher| bencher.iter(|| decode_event(black_box(&encoded))));
    group.finish();
}

fn checkpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(20);
    for records in [10u64, 1_000, 100_000] {
        let manager = with_records(records);
        let bytes = manager.save();
        println!("{records} records: {} bytes", bytes.len());
        let mut buffer = Vec::new();
        group.bench_function(BenchmarkId::new("save", records), |bencher| {
            bencher.iter(|| {
                buffer.clear();
                manager.save_into(&mut buffer);
                buffer.len()
            });
        });
        group.bench_function(BenchmarkId::new("restore", records), |bencher| {
            bencher.iter_with_large_drop(|| LockManager::restore(&bytes).expect("a saved state restores"));
        });
    }
    group.finish();
}

/// WAL transactions that write, on 100 databases.
fn replay(criterion: &mut Criterion) {
    const EVENTS: u64 = 32_768;
    let bytes = with_records(1_000).save();
    let mut log = Vec::new();
    for number in 0..EVENTS {
        let connection = number / 4 % 500;
        let index = file(connection % 100 * 2 + 1);
        let (byte, kind) = match number % 4 {
            0 => (124, Some(LockKind::Read)),
            1 => (120, Some(LockKind::Write)),
            2 => (120, None),
            _ => (124, None),
        };
        let event = set(1_000 + number, index, connection, (byte, byte + 1), kind);
        let now = Timestamp(UPTIME_NS + 1_000_000 + number * 10_000);
        log.extend_from_slice(encode_event(now, &event, &mut [0; MAX_ENCODED_EVENT]));
    }
    println!("{EVENTS} events: {} bytes", log.len());
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(20).throughput(Throughput::Elements(EVENTS));
    group.bench_function(BenchmarkId::from_parameter(EVENTS), |bencher| {
        let prepare = || LockManager::restore(&bytes).expect("a saved state restores");
        let run = |mut manager: LockManager| {
            let (mut left, mut out) = (log.as_slice(), Vec::new());
            while !left.is_empty() {
                let (now, event, taken) = decode_event(left).expect("the log has whole events");
                manager.handle(now, event, &mut out);
                out.clear();
                left = &left[taken..];
            }
            manager
        };
        bencher.iter_batched(prepare, run, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, encode, checkpoint, replay);
criterion_main!(benches);
