//! Where the metrics are, and the socket that listens there.
//!
//! Bound by the keeper before the mount is live, so that an address in use is told at once; it outlives the workers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::model::printable;

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 32;

/// An address of `--metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// `127.0.0.1:9500`.
    Tcp(SocketAddr),
    /// `unix:/run/hoodydb/metrics`.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!("'{text}': a unix address is unix: and an absolute path")),
            };
        }
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
            None => text.parse().ok(),
        };
        numeric.map(Self::Tcp).ok_or_else(|| {
            format!("'{text}' is no address: write 127.0.0.1:9500, [::1]:9500 or unix:/run/hoodydb/metrics")
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/metrics"),
            Self::Unix(path) => write!(f, "unix:{}", printable(path)),
        }
    }
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for metrics on {address}: {source}")]
pub struct MetricsError {
    /// Where.
    pub address: Address,
    /// The kernel's answer.
    pub source: io::Error,
}

/// A listening socket; the file of a unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listening {
    socket: OwnedFd,
    address: Address,
    /// `st_dev` and `st_ino` of a unix socket's file.
    file: Option<(u64, u64)>,
}

impl Listening {
    /// Listens; a port of 0 becomes one that is free.
    pub fn bind(address: &Address) -> Result<Self, MetricsError> {
        let fault = |source| MetricsError { address: address.clone(), source };
        let socket = match address {
            Address::Tcp(address) => bind_tcp(*address),
            Address::Unix(path) => bind_unix(path),
        };
        Ok(Self::from_fd(socket.map_err(fault)?, address))
    }

    /// The same socket in a program that took the place of the one which bound it.
    pub fn from_fd(socket: OwnedFd, address: &Address) -> Self {
        let (address, file) = match address {
            Address::Tcp(asked) => {
                let bound = rustix::net::getsockname(&socket).ok().and_then(|bound| bound.try_into().ok());
                (Address::Tcp(bound.unwrap_or(*asked)), None)
            }
            Address::Unix(path) => (address.clone(), identity(path)),
        };
        Self { socket, address, file }
    }

    /// Its descriptor's number.
    pub fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.socket
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address
            && self.file.is_some()
            && identity(path) == self.file
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().map(|meta| (meta.dev(), meta.ino())).ok()
}

fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

/// A socket of mode 0600, in place of one that a dead daemon left.
fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    match path.symlink_metadata() {
        Ok(meta) if !meta.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => (),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before bind, so there is no moment in which others can connect.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbers_or_paths() {
        for local in ["127.0.0.1:9500", "[::1]:9500", "localhost:9500", "127.8.9.1:0", "unix:/run/x"] {
            assert!(local.parse::<Address>().unwrap().is_local(), "{local}");
        }
        for far in ["0.0.0.0:9500", "[::]:9500", "192.168.1.1:9500"] {
            assert!(!far.parse::<Address>().unwrap().is_local(), "{far}");
        }
        for wrong in ["9500", ":9500", "host:9500", "unix:relative", "127.0.0.1", "unix:", ""] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_free_port_is_told_and_one_in_use_is_refused() {
        let first = Listening::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let Address::Tcp(bound) = first.address() else { panic!("TCP") };
        assert_ne!(bound.port(), 0);
        let refusal = Listening::bind(first.address()).unwrap_err().to_string();
        assert!(refusal.starts_with("cannot listen for metrics on http://127.0.0.1:"), "{refusal}");
    }

    #[test]
    fn a_dead_socket_is_replaced_and_nothing_else() {
        let directory = std::env::temp_dir().join(format!("hoodydb-metrics-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("s");
        let address = Address::Unix(path.clone());
        let first = Listening::bind(&address).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Listening::bind(&address).is_err(), "somebody listens");
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Listening::bind(&address).unwrap());
        std::fs::write(&path, "a file").unwrap();
        assert!(Listening::bind(&address).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
