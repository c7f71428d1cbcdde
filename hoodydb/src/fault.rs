//! Fault points: places at which a test can have the worker killed. Without the feature `fault-points` they are nothing.
//!
//! A point lies before and after every act that a successor can see: a write to a table, a call on the backing directory, a
//! reply. A test arms the n-th point from now, for n = 1, 2, 3, .., until an operation passes without reaching it.

#[cfg(feature = "fault-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;

    static DIES_NOW: OnceLock<Box<dyn Fn() -> bool + Send + Sync>> = OnceLock::new();

    /// From now on `dies_now` is asked at each point.
    pub fn ask(dies_now: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = DIES_NOW.set(Box::new(dies_now));
    }

    /// Counts down; true at the last one.
    pub fn count_down(left: &AtomicU64) -> bool {
        left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
    }

    /// Passes one point.
    pub fn point() {
        if DIES_NOW.get().is_some_and(|dies_now| dies_now()) {
            // SAFETY: the two calls take no memory; the process ends here, as by anybody's kill -9.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }
}

#[cfg(feature = "fault-points")]
pub use armed::{ask, count_down, point};

/// Nothing: this build has no fault points.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point() {}
