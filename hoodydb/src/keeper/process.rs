//! Processes: starts a worker that shares the descriptor table, waits for its end, and becomes another program.
//!
//! # Source
//! clone(2): `CLONE_FILES` without `CLONE_VM` gives the child a copy of the memory and the *same* descriptors: what the child
//! opens stays open when it dies, because the parent has it too.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it ended with code {code}"),
            Self::Killed(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "it was killed by {signal}"),
                Err(_) => write!(f, "it was killed by signal {number}"),
            },
        }
    }
}

/// A worker.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: OwnedFd,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&self) -> Death {
        // ESRCH: it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&self) -> Death {
        use std::os::fd::AsFd;
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => (),
                Ok(Some(status)) => {
                    let exited = status.exit_status().map(|code| Death::Exited(u8::try_from(code).unwrap_or(u8::MAX)));
                    return exited.unwrap_or(Death::Killed(status.terminating_signal().unwrap_or(0)));
                }
                // ECHILD cannot be: nobody else waits for it.
                _ => return Death::Killed(0),
            }
        }
    }
}

/// Starts a process that does `work` and exits with its result, with this process's descriptors.
///
/// # Errors
/// EAGAIN, ENOMEM, EMFILE of clone(2): then there is no worker; EINVAL if this process has more than one thread.
pub fn start_worker(work: &(dyn Fn() -> u8 + Sync)) -> io::Result<Child> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        // Another thread could hold a lock (the allocator's, say) that nobody would ever let go of in the child.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the keeper has more than one thread"));
    }
    // The kernel makes the pidfd before the process: a worker that nobody could watch would serve beside the next one.
    let flags = libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: a fork in all but the descriptor table: the child runs on a copy of this stack, and this process has no other
    // thread whose locks it could inherit. The third argument is where the pidfd's number goes, on every architecture.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        0 => {
            // libc keeps the id of the calling thread from before the clone: the work runs in a thread that knows its own.
            let code = std::thread::scope(|scope| {
                let worker = std::thread::Builder::new().name("worker".into()).spawn_scoped(scope, work);
                worker.ok().and_then(|worker| worker.join().ok())
            });
            // SAFETY: ends the process at once; nothing of the keeper's copy may run its destructors here.
            unsafe { libc::_exit(code.unwrap_or(101).into()) }
        }
        // SAFETY: the kernel has just made this descriptor for this process.
        pid if pid > 0 => Ok(Child { pid: pid.try_into().unwrap_or(0), pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    let raw = i32::try_from(pid).map_err(io::Error::other)?;
    Pid::from_raw(raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A descriptor that tells when a process has ended.
///
/// # Errors
/// ESRCH if it has ended and was waited for.
pub fn watch(pid: u32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid_of(pid)?, PidfdFlags::empty())?)
}

/// Asks the kernel to end this process late when memory runs out (-1000 to 1000, lower is later; proc(5)). A value that somebody
/// else chose stays.
pub fn ask_to_be_spared(score: i32) {
    const FILE: &str = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now == 0 || now == KEEPER_SCORE) && std::fs::write(FILE, score.to_string()).is_err() {
        // A container without CAP_SYS_RESOURCE: then as the kernel likes.
        tracing::debug!("oom_score_adj stays as it is");
    }
}

/// The score of the keeper: without it a dead worker has no successor.
pub const KEEPER_SCORE: i32 = -900;
/// The score of the worker: it holds the memory, and can be replaced.
pub const WORKER_SCORE: i32 = -500;

/// The open descriptors of this process.
///
/// # Errors
/// Those of reading /proc.
pub fn descriptors() -> io::Result<Vec<RawFd>> {
    let mut list: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        list.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // The one that read the directory is closed by now.
    list.retain(|fd| {
        // SAFETY: only asks for the descriptor's flags; EBADF if it is not open.
        unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 }
    });
    list.sort_unstable();
    Ok(list)
}

/// Closes what is open and not in `keep` (ascending); says how many that were. Descriptors that a dead worker left behind.
///
/// # Errors
/// Those of reading /proc.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<usize> {
    let mut closed = 0;
    for fd in descriptors()? {
        if fd > 2 && keep.binary_search(&fd).is_err() {
            // SAFETY: nobody in this process owns it: it was opened by a process that is dead.
            unsafe { libc::close(fd) };
            closed += 1;
        }
    }
    Ok(closed)
}

/// Sets or clears close-on-exec on every descriptor above 2.
///
/// # Errors
/// Those of reading /proc.
pub fn close_on_exec(close: bool) -> io::Result<()> {
    for fd in descriptors()?.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: changes one flag of a descriptor; EBADF if it is gone.
        unsafe { libc::fcntl(fd, libc::F_SETFD, if close { libc::FD_CLOEXEC } else { 0 }) };
    }
    Ok(())
}

/// Becomes another program, with every descriptor that is open. Returns only if that fails.
pub fn become_program(binary: BorrowedFd<'_>, arguments: &[&str]) -> io::Error {
    let words: Result<Vec<CString>, _> = arguments.iter().map(|word| CString::new(*word)).collect();
    let Ok(words) = words else { return io::ErrorKind::InvalidInput.into() };
    if let Err(error) = close_on_exec(false) {
        return error;
    }
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            use std::os::unix::ffi::OsStrExt;
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    let mut argv: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut envp: Vec<*const libc::c_char> = environment.iter().map(|word| word.as_ptr()).collect();
    envp.push(std::ptr::null());
    // SAFETY: both arrays end with a null pointer and outlive the call; on success nothing of this program remains.
    unsafe { libc::fexecve(binary.as_raw_fd(), argv.as_ptr(), envp.as_ptr()) };
    let error = io::Error::last_os_error();
    let _ = close_on_exec(true);
    error
}

/// Runs `work` in a process of its own, with copies of all descriptors, that nobody has to wait for.
///
/// # Errors
/// EAGAIN, ENOMEM of fork(2); EINVAL if this process has more than one thread.
pub fn fork_away(work: impl FnOnce()) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the keeper has more than one thread"));
    }
    // SAFETY: this process has no other thread whose locks the child could inherit.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: as above; the process between ends at once, and its child is nobody's to wait for.
        if unsafe { libc::fork() } == 0 {
            work();
        }
        // SAFETY: ends the process without running the destructors of the keeper's copy.
        unsafe { libc::_exit(0) }
    }
    let child = Pid::from_raw(child).ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        match rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => (),
            _ => return Ok(()),
        }
    }
}

/// This program's own file, even if its name leads to another one by now.
///
/// # Errors
/// Those of opening /proc/self/exe.
pub fn own_program() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/proc/self/exe")?.into())
}

/// Becomes this same program once more, as the keeper of what the shared memory tells. Returns only if that fails.
pub fn become_successor(memory: RawFd) -> io::Error {
    match own_program() {
        Ok(binary) => {
            use std::os::fd::AsFd;
            become_program(binary.as_fd(), &["hoodydb", "resume", "--memory", &memory.to_string()])
        }
        Err(error) => error,
    }
}

/// Waits until a descriptor is readable.
pub fn wait_readable(fd: &OwnedFd) {
    use rustix::event::{PollFd, PollFlags};
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    while rustix::event::poll(&mut polled, None) == Err(rustix::io::Errno::INTR) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_told_in_words() {
        assert_eq!(Death::Killed(9).to_string(), "it was killed by SIGKILL");
        assert_eq!(Death::Exited(101).to_string(), "it ended with code 101");
    }
}
