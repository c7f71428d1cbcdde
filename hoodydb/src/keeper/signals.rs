//! SIGTERM, SIGINT and SIGHUP as a descriptor, so that the keeper can wait for them beside everything else.
//!
//! They are blocked before the first worker starts, and every worker inherits that: a signal to the whole process group (Ctrl-C,
//! systemd's stop) ends nothing by itself; the keeper alone decides.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The blocked signals and their descriptor.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks them in the calling thread, and in all that it starts.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd: signals.as_fd().try_clone_to_owned()? })
    }

    /// Readable while a signal waits.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Takes the signals that wait; says whether one asks for the end. SIGHUP (a terminal that went away) does not.
    pub fn take(&self) -> bool {
        let mut asked = false;
        // struct signalfd_siginfo: 128 bytes, the first four the signal's number.
        let mut info = [0; 128];
        while rustix::io::read(&self.fd, &mut info).is_ok_and(|length| length == info.len()) {
            let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            asked |= number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32;
        }
        asked
    }
}
