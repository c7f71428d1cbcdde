//! Tells systemd how the daemon is, where it asks for it (NOTIFY_SOCKET).
//!
//! Called by the keeper; a message that cannot be sent is only logged.
//!
//! # Source
//! sd_notify(3): one datagram per message; a name that begins with `@` is an abstract socket.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The mount is live.
pub fn ready() {
    send(&format!("READY=1\nMAINPID={}", std::process::id()));
}

/// The mount goes away.
pub fn stopping() {
    send("STOPPING=1");
}

/// The daemon still answers.
pub fn alive() {
    send("WATCHDOG=1");
}

/// How often [`alive`] must be called: half of what systemd waits; a long time where it does not wait.
pub fn alive_interval() -> Duration {
    let asked = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    asked.map_or(Duration::from_secs(3600), |us| Duration::from_micros(us) / 2).max(Duration::from_millis(10))
}

fn send(message: &str) {
    let Ok(name) = std::env::var("NOTIFY_SOCKET") else { return };
    if let Err(error) = send_to(&name, message) {
        tracing::warn!(%error, "cannot tell systemd {message:?}");
    }
}

fn send_to(name: &str, message: &str) -> io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_both_kinds_of_sockets() {
        let name = format!("hoodydb-notify-{}", std::process::id());
        let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let path = std::env::temp_dir().join(&name);
        let visible = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        send_to(&format!("@{name}"), "READY=1").unwrap();
        assert_eq!(hidden.recv(&mut buffer).unwrap(), 7);
        send_to(path.to_str().unwrap(), "STOPPING=1").unwrap();
        assert_eq!(visible.recv(&mut buffer).unwrap(), 10);
        assert!(send_to("/nonexistent/socket", "x").is_err());
        std::fs::remove_file(path).unwrap();
    }
}
