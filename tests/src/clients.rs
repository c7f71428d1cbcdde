//! One client process: it says `ready`, waits for the word to go, and its output is collected while it runs.
//!
//! Called by [`crate::Crowd`] and by tests that lead single clients step by step. A client never outlives its value.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The longest that any client may take; a client that waits for ever is a failure, not a hang of the test.
const LIMIT: Duration = Duration::from_secs(100);

/// A running client.
pub struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    name: String,
}

impl Client {
    /// Starts a program that prints `ready` and then reads its standard input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdin = child.stdin.take();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, stdin, lines, errors: Some(errors), name }
    }

    /// Starts it and waits until it says `ready`.
    ///
    /// # Panics
    /// If it says something else, or nothing.
    pub fn ready(command: Command) -> Self {
        let mut client = Self::start(command);
        client.expect("ready");
        client
    }

    /// Its process.
    ///
    /// # Panics
    /// Never: a child has a pid.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its process id as `hoodydb locks` tells it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line.
    ///
    /// # Panics
    /// If it is another, or does not come.
    pub fn expect(&mut self, expected: &str) {
        let line = self.line();
        if line != expected {
            let _ = self.child.kill();
            let errors = self.errors.take().map(|errors| errors.join().unwrap_or_default()).unwrap_or_default();
            panic!("{}: said `{line}` instead of `{expected}`: {errors}", self.name);
        }
    }

    /// The next line; empty at the end.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => String::new(),
            Err(RecvTimeoutError::Timeout) => panic!("{}: says nothing for {LIMIT:?}", self.name),
        }
    }

    /// A line if one is there already.
    pub fn line_now(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Sends a line; a client that is gone does not mind.
    pub fn tell(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        }
    }

    /// Sends a line and waits for `ok`.
    ///
    /// # Panics
    /// If the answer is another.
    pub fn does(&mut self, line: &str) {
        self.tell(line);
        self.expect("ok");
    }

    /// Sends a line and gives the answer.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line()
    }

    /// Closes its input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal; a client that is gone does not mind.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Closes its input, waits for the end and gives what it printed since.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn finish(mut self) -> Finished {
        self.stdin = None;
        let status = self.wait();
        let errors = self.errors.take().map(|errors| errors.join().unwrap_or_default()).unwrap_or_default();
        Finished { name: self.name.clone(), status, output: self.lines.iter().collect(), errors }
    }

    fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "{}: still runs after {LIMIT:?}", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that ended.
#[derive(Debug)]
pub struct Finished {
    /// Its command line.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its lines since `ready`.
    pub output: Vec<String>,
    /// Its standard error.
    pub errors: String,
}

/// Makes any program wait for the word: `sh` says `ready`, reads one line, and becomes the program.
pub fn gated(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; read -r _; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// Where the sources of the clients are.
pub fn clients_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Inserts by a `session.py` client, after which its process is known for a writer (four transactions in a row that wrote):
/// from then on it waits for its turn as long as the deadline allows, in WAL mode too, where one that may be a reader is let
/// in after 100 ms.
pub const INSERTS_OF_A_WRITER: u64 = 6;

/// Makes a process known for a writer of `events`.
///
/// # Panics
/// If an insert fails.
pub fn make_writer(session: &mut Client) {
    for _ in 0..INSERTS_OF_A_WRITER {
        session.does("INSERT INTO events(body) VALUES ('first')");
    }
}

/// A Python client of ours.
pub fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    // The harness reads line by line.
    command.arg("-u").arg(clients_directory().join(script));
    command
}

/// A Python program that is led line by line in `directory`: what it is told it runs, and answers with the value.
pub fn puppet(directory: &Path) -> Client {
    let mut command = python("puppet.py");
    command.arg(directory);
    Client::ready(command)
}

/// Whether a process is in fcntl(2) with F_SETLK, as SQLite waits on the mount, or F_SETLKW.
pub fn waits_in_fcntl(pid: u32) -> bool {
    let call = if cfg!(target_arch = "x86_64") { "72 " } else { "25 " };
    let syscall = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    syscall.starts_with(call) && syscall.split(' ').nth(2).is_some_and(|command| ["0x6", "0x7"].contains(&command))
}

/// A copy of the system's libsqlite3 under another name, so that the loader takes it for another library.
///
/// # Panics
/// If libsqlite3 is not installed.
pub fn second_copy(directory: &Path) -> PathBuf {
    let listing =
        Command::new("ldconfig").arg("-p").output().or_else(|_| Command::new("/sbin/ldconfig").arg("-p").output());
    let listing = String::from_utf8(listing.expect("ldconfig runs").stdout).expect("text");
    let line = listing.lines().find(|line| line.contains("libsqlite3.so")).expect("libsqlite3 is installed");
    let library = line.rsplit(" => ").next().expect("a path");
    let copy = directory.join("libanother.so");
    std::fs::copy(library, &copy).expect("the library can be copied");
    copy
}
