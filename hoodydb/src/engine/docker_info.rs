//! What a running docker daemon says of itself. Called by [`super::docker`]; it only asks.
//!
//! # Source
//! Docker Engine API, `GET /info`: `DefaultRuntime`. With HTTP/1.0 the answer ends with the connection, in one piece.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::installed::Daemon;

/// Longest answer that is read.
const ANSWER_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Longest silence of a daemon that is alive.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a daemon may take to read its configuration anew.
const RELOAD: Duration = Duration::from_secs(5);

/// The socket that a daemon listens on; none if it has no Unix socket.
pub(super) fn socket(daemon: &Daemon) -> Option<PathBuf> {
    let hosts = daemon.values(&["-H", "--host"]);
    if hosts.is_empty() {
        return Some("/var/run/docker.sock".into());
    }
    hosts.iter().find_map(|host| match host.strip_prefix("unix://") {
        Some(path) => Some(PathBuf::from(path)),
        None => host.starts_with("fd:").then(|| "/var/run/docker.sock".into()),
    })
}

/// The runtime that new containers get.
pub(super) fn default_runtime(socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer)?;
    let broken = || io::Error::other("the answer to GET /info cannot be understood");
    let body = answer.windows(4).position(|part| part == b"\r\n\r\n").ok_or_else(broken)? + 4;
    let info: serde_json::Value = serde_json::from_slice(&answer[body..]).map_err(|_| broken())?;
    info["DefaultRuntime"].as_str().map(str::to_owned).ok_or_else(broken)
}

/// Waits until new containers get this runtime.
///
/// # Errors
/// What stands against it, in one line.
pub(super) fn wait_for(socket: &Path, runtime: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let now = default_runtime(socket);
        match now {
            Ok(now) if now == runtime => return Ok(()),
            now if begun.elapsed() > RELOAD => {
                return Err(match now {
                    Ok(now) => format!("its default runtime stays {}; its log says why", crate::model::printable(now)),
                    Err(error) => format!("it does not answer: {error}"),
                });
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_the_daemon_was_told() {
        let of = |words: &[&str]| {
            socket(&Daemon { pid: 1, uid: 0, arguments: words.iter().map(|word| (*word).to_owned()).collect() })
        };
        assert_eq!(of(&[]), Some("/var/run/docker.sock".into()));
        assert_eq!(of(&["-H", "fd://"]), Some("/var/run/docker.sock".into()));
        assert_eq!(of(&["-H", "tcp://127.0.0.1:1", "--host=unix:///a/b"]), Some("/a/b".into()));
        assert_eq!(of(&["-H", "tcp://127.0.0.1:1"]), None);
    }
}
