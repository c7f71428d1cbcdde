//! Keeps idle processors from sleeping deeply while many requests come.
//!
//! A request costs two wake-ups: of the daemon, and of the process that asked. Where the other one runs on another processor that
//! sleeps, each costs far more than the request's work: 20 to 35 us in a virtual machine (Linux 6.18, KVM), 100 us and more where
//! a processor left its deepest sleep. So from a few thousand requests a second on, the daemon asks the kernel's PM QoS for light
//! sleep only, and takes it back within 20 ms of the last of them.
//!
//! ```text
//!   few requests --(32 within 8 ms)--> many: latency limited --(fewer than 20 within 10 ms)--> few
//! ```
//!
//! The limit lives as long as the open file (Documentation/power/pm_qos_interface.rst), so a dead daemon leaves nothing behind.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const LIMIT_FILE: &str = "/dev/cpu_dma_latency";
const DRIVER_FILE: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
const FIRST_SLEEP_FILE: &str = "/sys/devices/system/cpu/cpu0/cpuidle/state1/latency";

/// `PM_QOS_CPU_LATENCY_DEFAULT_VALUE` of include/linux/pm_qos.h: no limit, in us.
const NO_LIMIT_US: i32 = 2_000_000_000;

/// So many requests..
const MANY: u64 = 32;
/// .. within this time are many.
const MANY_WITHIN_NS: u64 = 8_000_000;

/// Fewer than so many..
const FEW: u64 = 20;
/// .. within this time are few again.
const FEW_WITHIN: Duration = Duration::from_millis(10);

/// Most processors that may wait actively instead of sleeping, where light sleep means that.
const POLLING_MAX: usize = 8;

/// How lightly processors should sleep, in us; none if this machine has no use for a limit.
///
/// The guests' driver `haltpoll` knows only waiting actively and sleeping, so there the limit is 0. Other drivers have a first
/// state that costs next to nothing to leave.
fn limit_us(driver: &str, first_sleep_us: Option<i32>, processors: usize) -> Result<i32, String> {
    match (driver, first_sleep_us) {
        ("haltpoll", _) if processors <= POLLING_MAX => Ok(0),
        ("haltpoll", _) => Err(format!("{processors} processors of a virtual machine would wait actively")),
        ("" | "none", _) | (_, None) => Err("the kernel has no choice of sleep (cpuidle)".to_owned()),
        (_, Some(us)) => Ok(us.max(1)),
    }
}

/// Counts requests, and limits the processors' sleep while they are many.
pub(super) struct QuickWake {
    inner: Result<Arc<Inner>, String>,
}

struct Inner {
    file: File,
    limit_us: i32,
    begun: Instant,
    requests: AtomicU64,
    /// When every [`MANY`]th request came, in ns since `begun`.
    marked_ns: AtomicU64,
    limited: AtomicBool,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl QuickWake {
    /// Ready where the machine has a use for it, and this process the right.
    pub(super) fn new(wanted: bool) -> Self {
        let inner = if wanted { Inner::open() } else { Err("switched off by --no-quick-wake".to_owned()) };
        Self { inner: inner.and_then(Inner::start) }
    }

    /// Why it does nothing, if it does nothing.
    pub(super) fn missing(&self) -> Option<&str> {
        self.inner.as_ref().err().map(String::as_str)
    }

    /// A request came.
    pub(super) fn request(&self) {
        if let Ok(inner) = &self.inner {
            inner.request();
        }
    }
}

impl Drop for QuickWake {
    fn drop(&mut self) {
        if let Ok(inner) = &self.inner {
            *inner.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
            inner.changed.notify_all();
        }
    }
}

impl Inner {
    fn open() -> Result<Self, String> {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        let first_sleep_us = read(FIRST_SLEEP_FILE).trim().parse().ok();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limit_us = limit_us(read(DRIVER_FILE).trim(), first_sleep_us, processors)?;
        let file = File::options().write(true).open(LIMIT_FILE).map_err(|error| format!("{LIMIT_FILE}: {error}"))?;
        Ok(Self {
            file,
            limit_us,
            begun: Instant::now(),
            requests: AtomicU64::new(0),
            marked_ns: AtomicU64::new(0),
            limited: AtomicBool::new(false),
            ended: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    fn start(self) -> Result<Arc<Self>, String> {
        let inner = Arc::new(self);
        let watching = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("quick-wake".into()).spawn(move || watching.watch());
        thread.map_err(|error| format!("no thread: {error}"))?;
        Ok(inner)
    }

    fn request(&self) {
        if (self.requests.fetch_add(1, Relaxed) + 1).is_multiple_of(MANY) && !self.limited.load(Relaxed) {
            let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            if now - self.marked_ns.swap(now, Relaxed).min(now) < MANY_WITHIN_NS {
                self.limit();
            }
        }
    }

    fn limit(&self) {
        let _ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.limited.swap(true, Relaxed) {
            self.write(self.limit_us);
            self.changed.notify_all();
        }
    }

    /// Takes the limit back when requests have become few.
    fn watch(&self) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        while !*ended {
            if !self.limited.load(Relaxed) {
                ended = self.changed.wait(ended).unwrap_or_else(PoisonError::into_inner);
                seen = self.requests.load(Relaxed);
                continue;
            }
            ended = self.changed.wait_timeout(ended, FEW_WITHIN).unwrap_or_else(PoisonError::into_inner).0;
            let requests = self.requests.load(Relaxed);
            if requests - seen < FEW {
                // Whoever limits it anew waits for the mutex, and writes after this.
                self.limited.store(false, Relaxed);
                self.write(NO_LIMIT_US);
            }
            seen = requests;
        }
        self.write(NO_LIMIT_US);
    }

    fn write(&self, us: i32) {
        if let Err(error) = (&self.file).write_all(&us.to_ne_bytes()) {
            tracing::debug!(%error, us, "the processors' sleep stays as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_fits_the_machine() {
        assert_eq!(limit_us("haltpoll", Some(1), 2), Ok(0), "a guest waits actively, or sleeps deeply");
        assert!(limit_us("haltpoll", Some(1), 64).is_err(), "not on so many");
        assert_eq!(limit_us("intel_idle", Some(2), 64), Ok(2), "the first sleep is allowed");
        assert_eq!(limit_us("acpi_idle", Some(0), 4), Ok(1));
        assert!(limit_us("none", None, 4).is_err());
        assert!(limit_us("", Some(1), 4).is_err());
    }

    fn inner(file: File) -> Inner {
        Inner {
            file,
            limit_us: 0,
            begun: Instant::now(),
            requests: AtomicU64::new(0),
            marked_ns: AtomicU64::new(0),
            limited: AtomicBool::new(false),
            ended: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    #[test]
    fn many_requests_limit_the_sleep_and_few_do_not() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut next = || {
            let mut value = [0; 4];
            std::io::Read::read_exact(&mut reader, &mut value).expect("a value");
            i32::from_ne_bytes(value)
        };
        let inner = inner(File::from(std::os::fd::OwnedFd::from(writer))).start().expect("a thread");
        let quick = QuickWake { inner: Ok(Arc::clone(&inner)) };
        quick.request();
        assert!(!inner.limited.load(Relaxed), "one request");
        // How many it takes depends on when this thread runs.
        let many = || {
            while !inner.limited.load(Relaxed) {
                quick.request()
            }
        };
        many();
        assert_eq!(next(), 0, "many requests");
        assert_eq!(next(), NO_LIMIT_US, "then none");
        many();
        assert_eq!(next(), 0, "many again");
        drop(quick);
        assert_eq!(next(), NO_LIMIT_US, "the end");
    }
}
