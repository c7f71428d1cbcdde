//! A real `hoodydb serve` on a real mount, for one test; it is gone with the value. Called by the tests of the HTTP interface.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::mount::text;
use crate::{Mount, eventually};

/// Below which every path lies.
pub const BASE: &str = "/api/v1/sqlite";

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
    scheme: &'static str,
    log: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Server {
    /// Serves the databases of a mount.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn on(mount: &Mount) -> Self {
        Self::with(mount, &[])
    }

    /// The same with further options of `hoodydb serve`.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(mount: &Mount, options: &[&str]) -> Self {
        let port = free_port();
        let log = mount.outside().join(format!("serve-{port}.log"));
        let mut command = mount.hoodydb();
        command.arg("serve").arg("--listen").arg(format!("127.0.0.1:{port}")).arg("--db-root").arg(mount.point());
        if !options.contains(&"--socket") {
            command.arg("--no-socket");
        }
        let errors = std::fs::File::create(&log).expect("a log");
        command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().expect("hoodydb can be run");
        let scheme = if options.contains(&"--tls-cert") { "https" } else { "http" };
        let server = Self { child, port, scheme, log };
        eventually("the server answers", || server.get("/health").is_some_and(|reply| reply.status == 200));
        server
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The URL of a path of the interface.
    pub fn url(&self, path: &str) -> String {
        format!("{}{BASE}{path}", self.origin())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// GET; none if nobody answers.
    pub fn get(&self, path: &str) -> Option<Reply> {
        curl(&[&self.url(path)])
    }

    /// A request by curl's own arguments, the last of which is a path of the interface.
    ///
    /// # Panics
    /// If nobody answers.
    pub fn ask(&self, arguments: &[&str], path: &str) -> Reply {
        let url = self.url(path);
        let arguments: Vec<&str> = arguments.iter().copied().chain([url.as_str()]).collect();
        curl(&arguments).unwrap_or_else(|| panic!("{arguments:?}: no answer; the log: {}", self.log()))
    }

    /// A transaction on a database, which has to succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn transact(&self, database: &str, items: &Value) -> Value {
        let body = serde_json::json!({ "transaction": items }).to_string();
        let reply = self.ask(&["-d", &body], &format!("/db?db={database}"));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["results"].clone()
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < limit, "the server does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Runs curl; none if nobody answers.
///
/// # Panics
/// If there is no curl.
pub fn curl(arguments: &[&str]) -> Option<Reply> {
    let mut command = Command::new("curl");
    command.args(["-s", "-k", "--max-time", "90", "-w", "\n%{http_code}"]).args(arguments);
    let output = command.output().expect("curl can be run");
    let out = text(&output.stdout);
    let (body, status) = out.rsplit_once('\n')?;
    let status = status.parse().ok().filter(|status| *status > 0)?;
    Some(Reply { status, body: body.to_owned() })
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
