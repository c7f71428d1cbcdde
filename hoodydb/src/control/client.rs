//! The asking side: blocking, with a time limit.
//!
//! Called by [`crate::cli`]; a daemon that hangs costs the limit and no more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Command, ControlError, Request, Response, VERSION, socket};

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer, in bytes: 100,000 waiters fit.
const ANSWER_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// A live daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The live daemon of a mount point, if there is one.
    pub fn at(run_dir: &Path, mountpoint: &Path) -> Option<Self> {
        Self::behind(socket::socket_path(run_dir, mountpoint))
    }

    /// All live daemons, in the order of their socket names; sockets of dead ones are passed over.
    ///
    /// # Errors
    /// Where the run directory exists and cannot be read.
    pub fn all(run_dir: &Path) -> Result<Vec<Self>, ControlError> {
        let entries = match std::fs::read_dir(run_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(ControlError::Socket { action: "cannot list", path: run_dir.into(), source }),
        };
        let sockets =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("sock".as_ref()));
        let mut daemons: Vec<Self> = sockets.filter_map(Self::behind).collect();
        daemons.sort();
        Ok(daemons)
    }

    fn behind(socket: PathBuf) -> Option<Self> {
        match UnixStream::connect(&socket) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => None,
            // Whatever else is wrong (permissions, say) is told by the first question.
            Ok(_) | Err(_) => Some(Self { socket }),
        }
    }

    /// Asks one question. One that may be put twice is asked again if the worker died before it answered: the next one waits
    /// behind the same socket.
    pub fn ask(&self, command: Command) -> Result<Answer, ControlError> {
        let again = matches!(
            command,
            Command::Status
                | Command::Observe
                | Command::History { .. }
                | Command::Locks { .. }
                | Command::Sample
                | Command::Events { .. }
                | Command::PolicyGet { .. }
                | Command::Unmount { .. }
                | Command::UnmountProgress
        );
        match self.ask_once(command.clone()) {
            Err(ControlError::Silent { source, .. }) if again && hung_up(&source) => self.ask_once(command),
            answered => answered,
        }
    }

    fn ask_once(&self, command: Command) -> Result<Answer, ControlError> {
        let stream = UnixStream::connect(&self.socket).map_err(|source| ControlError::Socket {
            action: "cannot reach the daemon behind",
            path: self.socket.clone(),
            source,
        })?;
        let line = exchange(stream, command)
            .map_err(plain_timeout)
            .map_err(|source| ControlError::Silent { path: self.socket.clone(), source })?;
        let response: Response = serde_json::from_slice(&line)
            .map_err(|error| ControlError::Version { path: self.socket.clone(), reason: error.to_string() })?;
        match response.body {
            Answer::Error(reason) => Err(ControlError::Refused(reason)),
            answer => Ok(answer),
        }
    }

    /// The error of an answer that does not fit its question.
    pub fn unexpected(&self) -> ControlError {
        ControlError::Version { path: self.socket.clone(), reason: "an answer to another question".to_owned() }
    }
}

/// Whether the other side went away, rather than being slow.
fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// A time limit on a socket shows as EAGAIN, which tells a user nothing.
fn plain_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            let what = format!("nothing came within {} s; it may be stopped", ANSWER_TIMEOUT.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, what)
        }
        _ => error,
    }
}

fn exchange(mut stream: UnixStream, command: Command) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_MAX_BYTES)).read_until(b'\n', &mut answer)?;
    if answer.last() == Some(&b'\n') { Ok(answer) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
