//! Additions that no other processor can lose. Called for every count.
//!
//! The standard library has none for this target, as the oldest kernels had none.

/// Adds to a word of a map.
///
/// # Safety
/// `word` points to an aligned word of a map; maps are never freed while a program runs.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, more: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("lock *(u64 *)({word} + 0) += {more}", word = in(reg) word, more = in(reg) more);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    unsafe {
        next(word, more);
    }
}

/// As [`add`], and gives the sum.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn next(word: *mut u64, more: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        let mut value = more;
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
            word = in(reg) word,
            value = inout(reg) value,
        );
        value.wrapping_add(more)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
        AtomicU64::from_ptr(word).fetch_add(more, Relaxed).wrapping_add(more)
    }
}
