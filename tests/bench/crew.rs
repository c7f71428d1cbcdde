//! Client processes of one measurement: all are ready, then all go at once. Called by [`crate::run`] and [`crate::growth`].
//!
//! They share one pipe as their standard input: one byte each is the word, its end dismisses them. No client outlives its
//! crew.

use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Clients that run.
pub struct Crew {
    clients: Vec<(Child, BufReader<ChildStdout>)>,
    gate: Option<PipeWriter>,
}

impl Crew {
    /// Starts one client per specification by a hidden subcommand of this program, and waits until all are ready.
    ///
    /// # Errors
    /// If one cannot be started or is not ready.
    pub fn ready<Spec: Serialize>(command: &str, specs: &[Spec]) -> Result<Self> {
        let (reader, gate) = std::io::pipe()?;
        let program = std::env::current_exe()?;
        let mut crew = Self { clients: Vec::new(), gate: Some(gate) };
        for spec in specs {
            let mut client = Command::new(&program);
            client.arg(command).arg(serde_json::to_string(spec)?).stdin(reader.try_clone()?).stdout(Stdio::piped());
            let mut client = client.spawn().context("cannot start a client")?;
            let output = client.stdout.take().context("a client without standard output")?;
            crew.clients.push((client, BufReader::new(output)));
        }
        for line in crew.lines()? {
            anyhow::ensure!(line == "ready", "a client said `{line}` instead of `ready`");
        }
        Ok(crew)
    }

    /// Lets all go.
    ///
    /// # Errors
    /// If they were dismissed.
    pub fn go(&mut self) -> Result<()> {
        let words = vec![b'g'; self.clients.len()];
        self.gate.as_mut().context("the clients were dismissed")?.write_all(&words)?;
        Ok(())
    }

    /// Waits for the report of each.
    ///
    /// # Errors
    /// If one ends without.
    pub fn reports<Report: DeserializeOwned>(&mut self) -> Result<Vec<Report>> {
        self.lines()?.iter().map(|line| serde_json::from_str(line).context("the report of a client")).collect()
    }

    /// Lets all end, and waits until they have.
    ///
    /// # Errors
    /// If one fails.
    pub fn dismiss(mut self) -> Result<()> {
        self.gate = None;
        for (client, _) in &mut self.clients {
            let status = client.wait()?;
            anyhow::ensure!(status.success(), "a client ended with {status}");
        }
        Ok(())
    }

    fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::with_capacity(self.clients.len());
        for (_, output) in &mut self.clients {
            let mut line = String::new();
            if output.read_line(&mut line)? == 0 {
                check_interrupt()?;
                bail!("a client failed; see above");
            }
            lines.push(line.trim_end().to_owned());
        }
        check_interrupt()?;
        Ok(lines)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.gate = None;
        for (client, _) in &mut self.clients {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM are noticed rather than obeyed, so that everything is put away first.
///
/// # Errors
/// If the kernel refuses.
pub fn notice_interrupts() -> Result<()> {
    let interrupted = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(interrupted))?;
    }
    Ok(())
}

/// Ends the run at the next step after Ctrl-C.
///
/// # Errors
/// If there was one.
pub fn check_interrupt() -> Result<()> {
    if INTERRUPTED.get().is_some_and(|interrupted| interrupted.load(Relaxed)) {
        bail!("interrupted");
    }
    Ok(())
}
