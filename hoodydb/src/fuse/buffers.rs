//! Keeps the read buffers of the session's threads in memory.
//!
//! A request whose copy into the buffer meets a page that is not there, at the very moment of a SIGKILL, fails with EIO instead
//! of being sent again to the next worker (fs/fuse/dev.c, fuse_dev_do_read()). So the part of each buffer that requests reach is
//! brought in at the start, and locked. fuser owns the buffers; where they are is read off the threads, which wait in read(2).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::mm::{Advice, MlockFlags};

/// fuser's names of its threads.
const THREAD_NAME: &str = "fuser-";

/// What requests reach of a buffer of 16 MiB: the largest is a write of 1 MiB with its header.
const USED_BYTES: usize = 2 * 1024 * 1024;

/// How long the threads may take until each was seen waiting.
const LIMIT: Duration = Duration::from_secs(2);

/// Between two looks at threads that are busy.
const LOOK: Duration = Duration::from_millis(1);

/// Keeps the buffers of `threads` threads in memory, as soon as each of them waits for a request. Returns when it has, or gives up.
pub(super) fn keep_in_memory(threads: usize) {
    let begun = Instant::now();
    let mut kept = BTreeSet::new();
    while kept.len() < threads && begun.elapsed() < LIMIT {
        for (thread, start) in waiting_threads() {
            if !kept.contains(&thread) && keep(start) {
                kept.insert(thread);
            }
        }
        if kept.len() < threads {
            std::thread::sleep(LOOK);
        }
    }
    if kept.len() < threads {
        tracing::warn!(
            kept = kept.len(),
            threads,
            "read buffers may be swapped out: a kill at that moment costs a client an EIO"
        );
    }
}

/// The session's threads that wait in read(2), each with the address of its buffer.
///
/// # Source
/// proc(5), /proc/PID/task/TID/syscall: the number of the system call and its arguments in hexadecimal.
fn waiting_threads() -> Vec<(String, usize)> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_session = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with(THREAD_NAME))
    };
    let buffer = |task: std::fs::DirEntry| {
        let call = std::fs::read_to_string(task.path().join("syscall")).ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), buffer_of(&call)?))
    };
    tasks.filter(of_session).filter_map(buffer).collect()
}

/// The buffer of a read(2) that is large enough to be one of the session's.
fn buffer_of(call: &str) -> Option<usize> {
    let mut words = call.split_whitespace();
    let is_read = words.next()?.parse::<i64>().ok()? == libc::SYS_read;
    let mut arguments = words.map(|word| usize::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let (start, length) = (arguments.nth(1)??, arguments.next()??);
    (is_read && length >= USED_BYTES).then_some(start)
}

fn keep(start: usize) -> bool {
    const PAGE: usize = 4096;
    let start = std::ptr::with_exposed_provenance_mut(start / PAGE * PAGE);
    // SAFETY: neither call changes what is in the pages; if the mapping went away meanwhile they fail with ENOMEM.
    unsafe {
        rustix::mm::madvise(start, USED_BYTES, Advice::LinuxPopulateWrite).is_ok()
            && rustix::mm::mlock_with(start, USED_BYTES, MlockFlags::empty()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_stands_in_the_arguments_of_read() {
        let waiting = "0 0x7 0x7f5b2a3ff010 0x1001000 0x0 0x0 0x0 0x7ffd5f2b 0x7f5b";
        assert_eq!(buffer_of(waiting), Some(0x7f5b_2a3f_f010));
        assert_eq!(buffer_of("0 0x7 0x7f5b2a3ff010 0x1000 0x0 0x0 0x0 0x7ffd 0x7f5b"), None);
        assert_eq!(buffer_of("202 0x7 0x7f5b2a3ff010 0x1001000 0x0 0x0 0x0 0x7ffd 0x7f5b"), None);
        assert_eq!(buffer_of("running\n"), None);
    }

    #[test]
    fn the_pages_of_a_buffer_can_be_kept() {
        let buffer = vec![0_u8; 2 * USED_BYTES];
        assert!(keep(buffer.as_ptr().expose_provenance()));
    }
}
