//! How a session takes over a connection that is already initialised.
//!
//! fuser's session begins by reading INIT, which the kernel sends once per mount. So the keeper reads it when it mounts, and
//! every worker's session is given that same request through a socket pair in place of the device. The first worker's answer
//! goes to the kernel; later ones must give the same answer, for the kernel lives by the first. Then the device takes the
//! socket's place under the session (dup3), and requests that a dead worker had read are asked for once more.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fuser::{Config, Filesystem, Session, SessionACL};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Longest INIT request or answer, in bytes; today's are 104 and 80.
const INIT_MAX_BYTES: usize = 512;

/// Reads the INIT request that the kernel sends as soon as the file system is mounted.
///
/// # Errors
/// ENODEV if it was unmounted meanwhile.
pub(super) fn read_init(device: &OwnedFd) -> io::Result<Vec<u8>> {
    // The kernel wants room for the largest request before it gives out any.
    // Source: fs/fuse/dev.c, fuse_dev_do_read(): FUSE_MIN_READ_BUFFER (8 KiB), and max_write once it is known.
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rustix::io::read(device, &mut *buffer) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => (),
            Err(error) => return Err(error.into()),
            Ok(length) if length <= INIT_MAX_BYTES => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Ok(length) => return Err(io::Error::other(format!("the kernel's first request has {length} bytes"))),
        }
    }
}

/// What a session answered to INIT.
pub(super) struct Adopted<F: Filesystem> {
    pub(super) session: Session<F>,
    pub(super) answer: Vec<u8>,
}

/// A session on a connection whose INIT request is known. The answer has not been sent to the kernel.
pub(super) fn session<F: Filesystem + 'static>(
    filesystem: F,
    device: &OwnedFd,
    init: &[u8],
    config: Config,
) -> io::Result<Adopted<F>> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&ours, init, SendFlags::NOSIGNAL)?;
    // The request waits in the socket and the answer fits into it: nobody needs to play the kernel in a thread.
    let session = Session::from_fd(filesystem, theirs, SessionACL::All, config)?;
    let mut answer = vec![0; INIT_MAX_BYTES];
    let (length, _) = rustix::net::recv(&ours, &mut *answer, RecvFlags::DONTWAIT)?;
    answer.truncate(length);
    // SAFETY: the session owns this descriptor and goes on owning it: only what it refers to changes.
    let replaced = unsafe { libc::dup3(device.as_raw_fd(), session.as_fd().as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(Adopted { session, answer }) }
}

/// Gives the kernel the answer to INIT. A request that a dead worker has answered already is no error.
pub(super) fn answer_init(device: BorrowedFd<'_>, answer: &[u8]) -> io::Result<()> {
    match rustix::io::write(device, answer) {
        Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has the kernel send once more every request that was read and not answered; they carry [`RESENT`] then.
///
/// # Errors
/// EINVAL before Linux 6.9.
///
/// # Source
/// fs/fuse/dev.c, fuse_notify_resend(): a `fuse_out_header` of unique 0 and code 7, length 16.
pub(super) fn resend(device: BorrowedFd<'_>) -> io::Result<()> {
    const RESEND: u32 = 7;
    let mut message = [0; 16];
    message[..4].copy_from_slice(&16_u32.to_ne_bytes());
    message[4..8].copy_from_slice(&RESEND.to_ne_bytes());
    rustix::io::write(device, &message)?;
    Ok(())
}

/// The bit of `unique` that marks a request sent once more (`FUSE_UNIQUE_RESEND`).
pub(super) const RESENT: u64 = 1 << 63;
