//! A doorbell between the two processes: an eventfd, rung by one side and taken by the other.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::EventfdFlags;

/// An eventfd that both processes have; what it means stands in the shared memory.
#[derive(Debug)]
pub struct Doorbell(OwnedFd);

impl Doorbell {
    /// A new one, silent.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn new() -> io::Result<Self> {
        Ok(Self(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// One that a predecessor made.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Its descriptor, readable while it rings.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Rings; ringing twice is the same as once.
    pub fn ring(&self) {
        // EAGAIN only after 2^64 - 2 rings that nobody took: it rings then too.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Silences it; says whether it rang.
    pub fn take(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.0, &mut count).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_until_it_is_taken() {
        let bell = Doorbell::new().unwrap();
        assert!(!bell.take());
        bell.ring();
        bell.ring();
        assert!(bell.take());
        assert!(!bell.take());
    }
}
