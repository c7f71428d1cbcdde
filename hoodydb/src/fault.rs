//! Fault points: places at which a test can have the worker killed. Without the feature `fault-points` they are nothing.
//!
//! A point lies before and after every act that a successor can see: a write to a table, a call on the backing directory, a
//! reply. A test arms the n-th point from now, for n = 1, 2, 3, .., until an operation passes without reaching it.

#[cfg(feature = "fault-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering::SeqCst;

    use crate::handover::{Memory, Word};

    static MEMORY: OnceLock<Memory> = OnceLock::new();

    /// From now on points are counted in this memory.
    pub fn count_in(memory: &Memory) {
        let _ = MEMORY.set(memory.share());
    }

    /// Passes one point.
    pub fn point() {
        let Some(left) = MEMORY.get().map(|memory| memory.word(Word::CrashAt)) else { return };
        let passed = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        if passed == Ok(1) {
            // SAFETY: the two calls take no memory; the process ends here, as by anybody's kill -9.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }
}

#[cfg(feature = "fault-points")]
pub use armed::{count_in, point};

/// Nothing: this build has no fault points.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point() {}

/// Nothing: this build has no fault points.
#[cfg(not(feature = "fault-points"))]
pub fn count_in(_memory: &crate::handover::Memory) {}
