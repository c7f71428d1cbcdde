//! The tracer with tables that are too small, and on a kernel that has less: what does not fit is counted, never wrong.
//!
//! The tracer runs in the test, on a mount that has none of its own.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use hoodydb::model::{Sample, SampleRow};
use hoodydb::tracer::{Sizes, Tracer, Watched};
use hoodydb_tests::clients::puppet;
use hoodydb_tests::{Client, Mount, eventually};
use rustix::process::Signal;

fn untraced() -> Mount {
    Mount::with(&["--no-trace"])
}

fn start(mount: &Mount, sizes: Sizes, by_system_call: bool) -> Tracer {
    let device = rustix::fs::stat(mount.point()).expect("the mount").st_dev;
    Tracer::start(&Watched { device, sizes, by_system_call }).expect("this machine has what the tracer needs")
}

fn sample(tracer: &Tracer) -> Sample {
    tracer.sample().expect("a sample")
}

fn sum(sample: &Sample, count: impl Fn(&SampleRow) -> u64) -> u64 {
    sample.rows.iter().map(count).sum()
}

/// A client with so many files open, f0, f1 ..
fn with_files(mount: &Mount, count: usize) -> Client {
    let mut client = puppet(&mount.point());
    client.does(&format!("files = [open('f%d' % n, 'w+b') for n in range({count})]"));
    client
}

#[test]
fn calls_without_a_row_are_counted_under_no_file() {
    let mount = untraced();
    let tracer = start(&mount, Sizes { rows: 8, ..Sizes::default() }, false);
    let mut client = with_files(&mount, 50);
    client.does("for f in files: lock(f, fcntl.LOCK_EX)");
    let first = sample(&tracer);
    assert_eq!(sum(&first, |row| row.calls), 50);
    assert_eq!(first.lost_rows, 42);
    assert_eq!(sum(&first, |row| if row.ino == 0 { row.calls } else { 0 }), 42);
    assert!(first.rows.iter().all(|row| row.waits.0.iter().sum::<u64>() == row.calls));
    // When the process has ended, its rows make room, and the rows of files too, for those that come.
    client.signal(Signal::KILL);
    drop(client);
    eventually("the files are closed", || sum(&sample(&tracer), |row| row.holds.0.iter().sum()) == 50);
    // The second time it is certain that nothing of a process comes after its end.
    tracer.fold().expect("a fold");
    tracer.fold().expect("a fold");
    let folded = sample(&tracer);
    assert_eq!(sum(&folded, |row| row.calls), 50);
    assert!(folded.rows.len() <= 8 && folded.rows.iter().all(|row| row.pid == 0), "{folded:#?}");
    let mut next = puppet(&mount.point());
    next.does("lock(open('another', 'w+b'), fcntl.LOCK_EX)");
    let last = sample(&tracer);
    assert!(last.rows.iter().any(|row| row.pid == next.id() && row.calls == 1), "{last:#?}");
    assert_eq!(sum(&last, |row| row.calls), 51);
}

#[test]
fn calls_without_a_start_are_counted_and_not_timed() {
    let mount = untraced();
    let tracer = start(&mount, Sizes { starts: 1, ..Sizes::default() }, false);
    let mut waiting = with_files(&mount, 1);
    let mut holder = with_files(&mount, 1);
    holder.does("lock(files[0], fcntl.LOCK_EX)");
    waiting.tell("fcntl.lockf(files[0], fcntl.LOCK_EX)");
    eventually("it waits", || mount.status()["waiters"] == 1);
    // The one place is taken by the call that waits.
    let mut other = puppet(&mount.point());
    other.does("f = open('other', 'w+b')");
    other.does("for n in range(20): lock(f, fcntl.LOCK_EX, n, 1)");
    let sample = sample(&tracer);
    let row = sample.rows.iter().find(|row| row.pid == other.id() || row.calls == 20).expect("a row");
    assert_eq!((row.calls, row.granted, row.wait_ns_total), (20, 20, 0), "{sample:#?}");
    assert!(sample.lost_starts >= 20);
}

#[test]
fn holds_without_a_place_are_counted() {
    let mount = untraced();
    let tracer = start(&mount, Sizes { holds: 1, ..Sizes::default() }, false);
    let mut client = with_files(&mount, 3);
    client.does("for f in files: lock(f, fcntl.LOCK_EX)");
    client.does("for f in files: lock(f, fcntl.LOCK_UN)");
    let first = sample(&tracer);
    assert_eq!((sum(&first, |row| row.calls), sum(&first, |row| row.unlocks), first.lost_holds), (3, 3, 2));
    // More ranges of one file than there are places for.
    client.does("for n in range(10): lock(files[0], fcntl.LOCK_EX, 2 * n, 1)");
    assert_eq!(sample(&tracer).lost_holds, 2 + 4);
}

#[test]
fn events_without_room_are_counted_and_told() {
    let mount = untraced();
    let tracer = start(&mount, Sizes { events_bytes: 4096, ..Sizes::default() }, false);
    let mut client = with_files(&mount, 1);
    let cursor = tracer.events(None).cursor;
    client.does("for n in range(1000): lock(files[0], fcntl.LOCK_EX)");
    let mut answer = tracer.events(Some(cursor));
    assert_eq!(answer.events.len() as u64 + answer.lost, 1000);
    assert!(answer.lost > 900 && !answer.events.is_empty());
    assert_eq!(sample(&tracer).lost_events, answer.lost);
    client.does("lock(files[0], fcntl.LOCK_UN)");
    answer = tracer.events(Some(answer.cursor));
    assert_eq!((answer.events.len(), answer.lost, answer.events[0].kind.as_str()), (1, 0, "unlock"));
    // Nobody asks for a while: then nothing is kept any more.
    let begun = Instant::now();
    while tracer.drain() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    client.does("lock(files[0], fcntl.LOCK_EX)");
    let late = tracer.events(Some(answer.cursor));
    assert_eq!((late.events.len(), late.lost), (0, 0));
}

#[test]
fn a_kernel_without_fuse_tracepoints_still_counts_and_times() {
    let mount = untraced();
    let tracer = start(&mount, Sizes::default(), true);
    assert!(tracer.limits().is_some_and(|limits| limits.contains("hold times are missing")));
    let mut client = with_files(&mount, 1);
    let mut waiter = with_files(&mount, 1);
    client.does("lock(files[0], fcntl.LOCK_EX)");
    waiter.tell("fcntl.lockf(files[0], fcntl.LOCK_EX)");
    eventually("it waits", || mount.status()["waiters"] == 1);
    std::thread::sleep(Duration::from_millis(100));
    client.does("lock(files[0], fcntl.LOCK_UN)");
    waiter.expect("ok");
    client.does("fcntl.lockf(os.memfd_create('elsewhere'), fcntl.LOCK_EX)");
    let sample = sample(&tracer);
    assert_eq!((sum(&sample, |row| row.calls), sum(&sample, |row| row.unlocks)), (2, 1));
    let ino = std::fs::metadata(mount.path("f0")).expect("a file").ino();
    assert!(sample.rows.iter().all(|row| row.ino == ino && row.held_ns_total == 0));
    assert!(sum(&sample, |row| row.wait_ns_max) > 100_000_000);
    assert_eq!((sample.lost_starts, sample.lost_holds), (0, 0));
}

#[test]
fn one_mount_is_not_anothers() {
    let (mount, other) = (untraced(), untraced());
    let tracer = start(&mount, Sizes::default(), false);
    let mut client = with_files(&other, 1);
    client.does("lock(files[0], fcntl.LOCK_EX)");
    let outside = Command::new("python3")
        .args(["-c", "import fcntl, tempfile\nfcntl.lockf(tempfile.TemporaryFile(), fcntl.LOCK_EX)"])
        .status();
    assert!(outside.is_ok_and(|status| status.success()));
    assert_eq!(sample(&tracer).rows, []);
    let mut ours = with_files(&mount, 1);
    ours.does("lock(files[0], fcntl.LOCK_EX)");
    assert_eq!(sum(&sample(&tracer), |row| row.calls), 1);
}
