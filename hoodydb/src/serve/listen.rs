//! Sockets that listen: addresses, unix sockets, and those that systemd has made.
//!
//! Called by [`super::run`]. A socket that a dead server left is replaced, one that somebody answers on is not.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::{Options, ServeError};
use crate::model::printable;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The most connections at a time, where there are descriptors for them.
const CONNECTIONS_MAX: u64 = 4096;

/// The first descriptor that systemd passes.
///
/// # Source
/// sd_listen_fds(3).
const PASSED_FIRST: RawFd = 3;

/// Raises the limit of descriptors as far as it goes, and tells how many connections that is enough for: databases need the rest.
pub(super) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((descriptors / 2).clamp(16, CONNECTIONS_MAX)).unwrap_or(usize::MAX)
}

/// A socket that listens. The file of a unix socket is removed when this is dropped.
pub(super) struct Listener {
    pub(super) socket: Socket,
    shown: String,
    /// Where its file is, and its `st_dev` and `st_ino`.
    file: Option<(PathBuf, (u64, u64))>,
}

/// What it listens with.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
pub(super) enum Accepted {
    /// With the addresses of this end and the other.
    Tcp(TcpStream, SocketAddr, SocketAddr),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// Whether it is of an address.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_))
    }

    /// As a client would write it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole; nothing is gained by waiting for more.
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr()?;
                Ok(Accepted::Tcp(stream, local, peer))
            }
            Socket::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, file)) = &self.file
            && identity(path).as_ref() == Some(file)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// All that the options name.
pub(super) fn all(options: &Options, tls: bool) -> Result<Vec<Arc<Listener>>, ServeError> {
    let scheme = if tls { "https" } else { "http" };
    let mut listeners = Vec::new();
    for address in &options.listen {
        let failed = |source| ServeError::Listen { address: address.to_string(), source };
        let listener = bind_tcp(*address).map_err(failed)?;
        let shown = format!("{scheme}://{}", listener.local_addr().map_err(failed)?);
        listeners.push(Listener { socket: Socket::Tcp(listener), shown, file: None });
    }
    for path in &options.sockets {
        let listener = bind_unix(path)?;
        let file = identity(path).map(|file| (path.clone(), file));
        listeners.push(Listener { socket: Socket::Unix(listener), shown: format!("unix:{}", printable(path)), file });
    }
    for number in 0..options.passed {
        let number = PASSED_FIRST + RawFd::try_from(number).unwrap_or(0);
        let failed = |source| ServeError::Listen { address: format!("descriptor {number}"), source };
        listeners.push(passed(number, scheme).map_err(failed)?);
    }
    if listeners.is_empty() { Err(ServeError::Nowhere) } else { Ok(listeners.into_iter().map(Arc::new).collect()) }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // A port that connections of a server before still linger on can be had; one that somebody listens on cannot.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG.unsigned_abs())
}

/// Everybody who sees the socket may connect: its directory says who does.
fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source: io::Error| ServeError::Listen { address: format!("unix:{}", printable(path)), source };
    // Of two servers that start at a time, one must not take the other's new socket for a stale one.
    let _turn = turn(path).map_err(failed)?;
    match path.symlink_metadata() {
        Ok(meta) if !meta.file_type().is_socket() => return Err(ServeError::NotSocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ServeError::Alive(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => (),
    }
    let bind = || -> io::Result<UnixListener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
        rustix::net::listen(&socket, BACKLOG)?;
        UnixListener::from_std(socket.into())
    };
    bind().map_err(failed)
}

/// The directory of the socket, locked.
fn turn(path: &Path) -> io::Result<File> {
    let directory =
        File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// A socket that the one who started this process has made.
fn passed(number: RawFd, scheme: &str) -> io::Result<Listener> {
    // SAFETY: LISTEN_FDS says that this descriptor was passed to this process for it to own, and it is adopted once.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let is_unix = sockopt::socket_domain(&socket)? == AddressFamily::UNIX;
    let (socket, shown) = if is_unix {
        let listener = std::os::unix::net::UnixListener::from(socket);
        let address = listener.local_addr()?;
        let shown = format!("unix:{}", address.as_pathname().map(printable).unwrap_or_default());
        (Socket::Unix(UnixListener::from_std(listener)?), shown)
    } else {
        let listener = TcpListener::from_std(socket.into())?;
        let shown = format!("{scheme}://{}", listener.local_addr()?);
        (Socket::Tcp(listener), shown)
    };
    Ok(Listener { socket, shown, file: None })
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().map(|meta| (meta.dev(), meta.ino())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let directory = std::env::temp_dir().join(format!("hoodydb-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("s");
        let first = bind_unix(&path).unwrap();
        assert!(matches!(bind_unix(&path), Err(ServeError::Alive(_))));
        drop(first);
        let second = bind_unix(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o666);
        let file = identity(&path).map(|file| (path.clone(), file));
        drop(Listener { socket: Socket::Unix(second), shown: String::new(), file });
        assert!(!path.exists());
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(bind_unix(&path), Err(ServeError::NotSocket(_))));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
