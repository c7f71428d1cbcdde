//! What the lock tracer costs, on and off in one run: on files outside of the mount, on other system calls, on the mount, and the
//! daemon at rest.
//!
//! Run as root: `cargo bench -p hoodydb --bench tracer_overhead`. The mount has no tracer of its own; this program loads the same
//! programs for it and lets go of them, round by round, so that on and off meet the same machine. Each figure is the median of
//! the rounds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hoodydb::tracer::{Sizes, Tracer, Watched};
use rustix::fs::FlockOperation::{NonBlockingLockExclusive, NonBlockingUnlock};

const ROUNDS: usize = 25;

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    if std::env::args().any(|argument| argument == "--test") || !rustix::process::geteuid().is_root() {
        eprintln!("left out: a measurement, for root only");
        return;
    }
    let place = std::env::temp_dir().join(format!("hoodydb-overhead-{}", std::process::id()));
    // The scheduler would have client and daemon share a processor at times, which takes a fifth of the time of two that wake
    // each other: here it is one or the other, and said which.
    stay_on(1);
    let mount = Mounted::new(&place, &["--no-trace"]);
    stay_on(0);
    let device = rustix::fs::stat(mount.point()).expect("the mount").st_dev;
    let watched = Watched { device, sizes: Sizes::default(), by_system_call: false };
    let outside = File::create(place.join("outside")).expect("a file");
    let inside = File::create(mount.point().join("inside")).expect("a file on the mount");
    let works: [(&str, u32, usize, &dyn Fn()); 5] = [
        ("F_SETLK and unlock outside of the mount", 50_000, 0, &|| lock(&outside)),
        ("getppid", 500_000, 0, &|| _ = rustix::process::getppid()),
        ("pread of 1 byte outside of the mount", 200_000, 0, &|| _ = rustix::io::pread(&outside, &mut [0_u8; 1], 0)),
        ("the same on the mount, one processor", 3_000, 1, &|| lock(&inside)),
        ("the same on the mount, two processors", 1_000, 0, &|| lock(&inside)),
    ];
    let mut times = vec![[Vec::new(), Vec::new(), Vec::new()]; works.len()];
    for round in 0..ROUNDS {
        // 0 off, 1 on, 2 on with somebody who reads events.
        for state in [[0, 1, 2], [2, 1, 0], [1, 2, 0]][round % 3] {
            let tracer = (state > 0).then(|| Tracer::start(&watched).expect("the tracer starts"));
            if let Some(tracer) = tracer.as_ref().filter(|_| state == 2) {
                tracer.events(None);
            }
            for ((_, calls, processor, work), times) in works.iter().zip(&mut times) {
                stay_on(*processor);
                times[state].push(time(*calls, work));
            }
        }
    }
    println!("{:<42} {:>10} {:>10} {:>10}   more with the tracer", "median ns per round trip", "off", "on", "+ trace");
    for ((name, _, _, _), mut times) in works.into_iter().zip(times) {
        let [off, on, watched] = times.each_mut().map(|times| median(times));
        println!(
            "{name:<42} {off:>10.0} {on:>10.0} {watched:>10.0}   {:+.0} ns ({:+.1} %)",
            on - off,
            (on / off - 1.0) * 100.0
        );
    }
    drop((inside, mount));
    let mount = Mounted::new(&place.join("resting"), &[]);
    println!("daemon at rest, tracer on: {:.2} % of one processor", mount.cpu_percent(Duration::from_secs(20)));
}

/// This process, and what it starts.
fn stay_on(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    // A machine with one processor measures all the same.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

fn lock(file: &File) {
    rustix::fs::fcntl_lock(file, NonBlockingLockExclusive).expect("a lock");
    rustix::fs::fcntl_lock(file, NonBlockingUnlock).expect("an unlock");
}

fn time(calls: u32, work: &dyn Fn()) -> f64 {
    let begun = Instant::now();
    (0..calls).for_each(|_| work());
    begun.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A mount, gone with the value.
struct Mounted {
    place: PathBuf,
}

impl Mounted {
    fn new(place: &Path, options: &[&str]) -> Self {
        for name in ["run", "data", "mnt"] {
            std::fs::create_dir_all(place.join(name)).expect("a directory");
        }
        let mounted = Self { place: place.to_owned() };
        let data = mounted.place.join("data");
        let status = mounted.hoodydb().arg("mount").arg(mounted.point()).arg("--data").arg(data).args(options).status();
        assert!(status.is_ok_and(|status| status.success()), "the mount comes up");
        mounted
    }

    fn hoodydb(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoodydb"));
        command.env("HOODYDB_RUN_DIR", self.place.join("run"));
        command
    }

    fn point(&self) -> PathBuf {
        self.place.join("mnt")
    }

    /// Processor time of keeper and worker while nobody does anything.
    fn cpu_percent(&self, time: Duration) -> f64 {
        let status = self.hoodydb().args(["status", "--json"]).output().expect("a status").stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
        let pids = ["keeper_pid", "worker_pid"].map(|role| status["mounts"][0][role].as_u64().expect("a pid"));
        // The programs are being checked by the kernel.
        std::thread::sleep(Duration::from_secs(2));
        let ticks = || pids.iter().map(|pid| ticks(*pid)).sum::<f64>();
        let before = ticks();
        std::thread::sleep(time);
        // USER_HZ is 100 on every architecture that Linux still has.
        (ticks() - before) / time.as_secs_f64()
    }
}

/// utime and stime of proc(5).
fn ticks(pid: u64) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.hoodydb().arg("umount").arg("--lazy").arg(self.point()).status();
        let gone = || {
            !std::fs::read_to_string("/proc/self/mountinfo")
                .unwrap_or_default()
                .contains(&*self.point().to_string_lossy())
        };
        for _ in 0..500 {
            if gone() {
                let _ = std::fs::remove_dir_all(&self.place);
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
