//! The answering side: a unix socket that nobody can block for others.
//!
//! Called by [`crate::daemon`]. Each connection has a task of its own, a bounded line and a time limit; the answers are made on
//! the blocking pool.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::{Answer, Command, ControlError, REQUEST_MAX_BYTES, Request, Response, VERSION};

/// Connections served at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Longest time to send a request, and longest time to take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// What makes the answers.
pub trait Answerer: Send + Sync + 'static {
    /// Answers one question; may block for short reads of /proc.
    fn answer(&self, command: Command) -> Answer;
}

/// A listening socket, which outlives the process that answers: clients that come between two of them wait in its queue. Its
/// file is removed when this is dropped.
#[derive(Debug)]
pub struct Listening {
    socket: OwnedFd,
    path: PathBuf,
    /// `st_dev` and `st_ino` of the file.
    file: Option<(u64, u64)>,
}

impl Listening {
    /// Makes a socket that nobody knows of yet, beside the path where [`Self::publish`] will put it: until then the path is that
    /// of another daemon, perhaps, which still serves what was open when its mount point was detached.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let fault = |action, source| ControlError::Socket { action, path: path.to_owned(), source };
        // It is made by another name, which may be shorter; who looks for it needs this one.
        SocketAddrUnix::new(path).map_err(|_| {
            let reason = io::Error::other(
                "its path is too long for the kernel (107 bytes): set HOODYDB_RUN_DIR to a shorter one",
            );
            fault("cannot make the socket", reason)
        })?;
        // No longer than any socket's own name, and none that a list of sockets shows.
        let name = path.with_file_name(format!(".{}.new", std::process::id()));
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fault("cannot make the socket", error));
            }
            _ => (),
        }
        let socket = listen(&name).map_err(|source| fault("cannot make the socket", source))?;
        Ok(Self { socket, file: identity(&name), path: name })
    }

    /// Gives the socket its path, in place of a dead or a detached daemon's. The caller holds the mount point.
    pub fn publish(&mut self, path: &Path) -> Result<(), ControlError> {
        std::fs::rename(&self.path, path).map_err(|source| ControlError::Socket {
            action: "cannot replace the socket",
            path: path.to_owned(),
            source,
        })?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// The same socket in a program that took the place of the one which bound it.
    pub fn from_fd(socket: OwnedFd, path: &Path) -> Self {
        Self { socket, file: identity(path), path: path.to_owned() }
    }

    /// Its descriptor's number.
    pub fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Answers on a listening socket.
pub struct Server {
    listener: UnixListener,
}

impl Server {
    /// A server for this process's runtime.
    pub fn new(listening: &Listening) -> Result<Self, ControlError> {
        let socket = listening.socket.try_clone();
        let listener = socket.and_then(|socket| UnixListener::from_std(socket.into()));
        let fault = |source| ControlError::Socket {
            action: "cannot listen on the socket",
            path: listening.path.clone(),
            source,
        };
        Ok(Self { listener: listener.map_err(fault)? })
    }

    /// Answers until the task is dropped.
    pub async fn serve(self, answerer: Arc<impl Answerer>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answerer = Arc::clone(&answerer);
                    tokio::spawn(async move {
                        if let Err(error) = serve_one(stream, answerer).await {
                            tracing::debug!(%error, "a control connection ended early");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // After a lazy unmount another daemon may have made its socket there.
        if self.file.is_some() && identity(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().map(|meta| (meta.dev(), meta.ino())).ok()
}

/// A listening socket of mode 0600. The mode is set before bind, so there is no moment in which others can connect.
///
/// # Source
/// unix_bind_bsd() of Linux: the file takes the mode of the socket's inode.
fn listen(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

async fn serve_one(stream: UnixStream, answerer: Arc<impl Answerer>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut limited = BufReader::new(reader.take(REQUEST_MAX_BYTES));
    tokio::time::timeout(CLIENT_TIMEOUT, limited.read_until(b'\n', &mut line)).await??;
    if line.is_empty() {
        // A client that only looks whether somebody listens.
        return Ok(());
    }
    let body = match parse(&line) {
        Ok(command) => tokio::task::spawn_blocking(move || answerer.answer(command)).await?,
        Err(reason) => Answer::Error(reason),
    };
    let mut answer = serde_json::to_vec(&Response { version: VERSION, body })?;
    answer.push(b'\n');
    tokio::time::timeout(CLIENT_TIMEOUT, writer.write_all(&answer)).await??;
    Ok(())
}

fn parse(line: &[u8]) -> Result<Command, String> {
    if line.last() != Some(&b'\n') {
        return Err(format!("a request is one line of at most {REQUEST_MAX_BYTES} bytes"));
    }
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    // The version first: a later request may have fields or commands that this daemon cannot parse.
    match serde_json::from_slice(line) {
        Ok(Version { version: VERSION }) => (),
        Ok(Version { version }) => {
            return Err(format!("the daemon speaks version {VERSION}, the request has version {version}"));
        }
        Err(error) => return Err(format!("not a request: {error}")),
    }
    serde_json::from_slice(line)
        .map(|request: Request| request.command)
        .map_err(|error| format!("not a request: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::control::client::Daemon;
    use crate::control::socket::socket_path;
    use crate::model::PolicyAnswer;

    struct Echo;

    impl Answerer for Echo {
        fn answer(&self, command: Command) -> Answer {
            match command {
                Command::PolicyGet { db } => {
                    Answer::Policy(PolicyAnswer { path: crate::model::text_of(db), ..PolicyAnswer::default() })
                }
                _ => Answer::Error("no".to_owned()),
            }
        }
    }

    #[test]
    fn versions_and_garbage_are_told_apart() {
        assert_eq!(parse(b"{\"version\":1,\"command\":\"status\"}\n"), Ok(Command::Status));
        let later = parse(b"{\"version\":9,\"command\":\"dance\"}\n").unwrap_err();
        assert_eq!(later, "the daemon speaks version 1, the request has version 9");
        assert!(parse(b"{\"version\":1,\"command\":\"dance\"}\n").unwrap_err().starts_with("not a request"));
        assert!(parse(b"\xff\n").unwrap_err().starts_with("not a request"));
        assert!(parse(b"{").unwrap_err().starts_with("a request is one line"));
    }

    #[test]
    fn a_start_that_fails_leaves_the_socket_of_another_daemon() {
        let dir = std::env::temp_dir().join(format!("hoodydb-publish-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = socket_path(&dir, Path::new("/m"));
        let mut detached = Listening::bind(&path).unwrap();
        assert!(Daemon::all(&dir).unwrap().is_empty(), "nobody knows of it yet");
        detached.publish(&path).unwrap();
        drop(Listening::bind(&path).unwrap());
        assert_eq!(identity(&path), detached.file, "the mount failed");
        let mut next = Listening::bind(&path).unwrap();
        next.publish(&path).unwrap();
        drop(detached);
        assert_eq!(identity(&path), next.file, "the detached one ends");
        drop(next);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stuck_client_blocks_nobody() {
        let dir = std::env::temp_dir().join(format!("hoodydb-control-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mountpoint = Path::new("/m");
        let path = socket_path(&dir, mountpoint);
        let mut listening = Listening::bind(&path).unwrap();
        listening.publish(&path).unwrap();
        let server = Server::new(&listening).unwrap();
        let serving = tokio::spawn(server.serve(Arc::new(Echo)));
        let asked = tokio::task::spawn_blocking(move || {
            let mut stuck = std::os::unix::net::UnixStream::connect(&path).unwrap();
            stuck.write_all(b"{").unwrap();
            let daemon = Daemon::at(&dir, mountpoint).unwrap();
            let answer = daemon.ask(Command::PolicyGet { db: "x.db".into() }).unwrap();
            let refusal = daemon.ask(Command::Status).unwrap_err().to_string();
            let mut long = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let _ = long.write_all(&vec![b'x'; REQUEST_MAX_BYTES as usize]);
            let mut text = String::new();
            let _ = long.read_to_string(&mut text);
            let all = Daemon::all(&dir).unwrap();
            (answer, refusal, text, all, daemon, dir)
        });
        let (answer, refusal, long, all, daemon, dir) = asked.await.unwrap();
        assert_eq!(answer, Answer::Policy(PolicyAnswer { path: "x.db".to_owned(), ..PolicyAnswer::default() }));
        assert_eq!(refusal, "no");
        assert!(long.contains("one line of at most"), "{long}");
        assert_eq!(all, [daemon]);
        serving.abort();
        let _ = serving.await;
        drop(listening);
        assert!(Daemon::at(&dir, mountpoint).is_none());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
