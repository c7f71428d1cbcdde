//! Where work runs that may sleep on the disk.
//!
//! On the thread that has read the request, as long as another one reads ([`super::readers`]): handing work to the pool costs a
//! wake-up of the pool and one of the client elsewhere, as much as a lock call. Else, and for what takes long by its nature, on
//! the pool.

use std::sync::Arc;

use super::readers::Readers;

/// The threads that may sleep, and the pool.
pub(super) struct Disk {
    pool: tokio::runtime::Handle,
    readers: Arc<Readers>,
}

impl Disk {
    /// One of `readers` always stays awake.
    pub(super) fn new(pool: tokio::runtime::Handle, readers: Arc<Readers>) -> Self {
        Self { pool, readers }
    }

    /// Work that is short unless the disk is slow: a name, an attribute, a close.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        match self.readers.leave() {
            Some(_away) => work(),
            None => self.run_long(work),
        }
    }

    /// Work that waits for the disk by its nature (fsync), or moves much data.
    pub(super) fn run_long(&self, work: impl FnOnce() + Send + 'static) {
        self.pool.spawn_blocking(work);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime")
    }

    fn disk(runtime: &tokio::runtime::Runtime, threads: usize) -> Disk {
        Disk::new(runtime.handle().clone(), Arc::new(Readers::new(threads, || false)))
    }

    #[test]
    fn one_reader_stays_awake() {
        let runtime = runtime();
        let disk = std::sync::Arc::new(disk(&runtime, 2));
        let here = std::thread::current().id();
        let (said, heard) = channel();
        let (inner, said_inner) = (std::sync::Arc::clone(&disk), said.clone());
        disk.run(move || {
            said.send(("first", std::thread::current().id())).expect("a listener");
            inner.run(move || said_inner.send(("second", std::thread::current().id())).expect("a listener"));
        });
        let ran: Vec<_> = heard.iter().take(2).collect();
        assert_eq!(ran[0], ("first", here));
        assert_eq!(ran[1].0, "second");
        assert_ne!(ran[1].1, here, "the other reader must not sleep too");
    }

    #[test]
    fn a_single_reader_never_sleeps_and_long_work_always_leaves() {
        let runtime = runtime();
        let here = std::thread::current().id();
        let ran_on = |disk: &Disk, long: bool| {
            let (said, heard) = channel();
            let work = move || said.send(std::thread::current().id()).expect("a listener");
            if long {
                disk.run_long(work)
            } else {
                disk.run(work)
            }
            heard.recv().expect("it ran")
        };
        assert_ne!(ran_on(&disk(&runtime, 1), false), here);
        let two = disk(&runtime, 2);
        assert_ne!(ran_on(&two, true), here);
        for _ in 0..3 {
            assert_eq!(ran_on(&two, false), here, "a reader that is back may sleep again");
        }
    }
}
