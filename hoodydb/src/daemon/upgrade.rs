//! The worker's part of going over to another program: checks it, keeps the whole state, and lets the keeper take over.
//!
//! Called by [`super::report`] on the blocking pool. Until the state is kept nothing has stopped, and a program that does not
//! fit is refused without any effect.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::worker::{Live, Phase};
use crate::handover::Word;
use crate::keeper::request;
use crate::model::printable;

/// So long a program has to say that it can go on with this mount.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// What a program says that can go on with a mount.
pub(super) const FITS: &str = "fits";

impl Live {
    /// Hands over to another program. Returns only if that is refused.
    pub(super) fn upgrade(&self, binary: &Path) -> String {
        if self.phase() != Phase::Serving {
            return "the mount is being unmounted".to_owned();
        }
        let name = printable(binary);
        let file = match checked(binary, &self.state_path()) {
            Ok(file) => file,
            Err(reason) => return format!("{name}: {reason}"),
        };
        tracing::info!(binary = name, "this worker hands over to another program");
        // From here on no request is answered; the keeper has the next program within milliseconds.
        self.coordinator.freeze_kept();
        self.fuse.freeze();
        let memory = &self.kept.memory;
        // The number stays good: the keeper has the same descriptors.
        let number = u64::try_from(file.into_raw_fd()).unwrap_or(0);
        memory.word(Word::Binary).store(number, SeqCst);
        memory.word(Word::Request).store(request::UPGRADE, SeqCst);
        self.kept.to_keeper.ring();
        loop {
            // The keeper ends this process.
            std::thread::park();
        }
    }

    /// The shared memory, as another process can open it.
    fn state_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.kept.memory.number())
    }
}

/// The program's file, once it has said that it can go on with this mount.
fn checked(binary: &Path, state: &str) -> Result<File, String> {
    let file = File::open(binary).map_err(|error| error.to_string())?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err("it is not an executable file".to_owned());
    }
    // By its descriptor: what was checked is what will run.
    let program = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut child = Command::new(program)
        .args(["resume", "--check", state])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("it cannot be run: {error}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < CHECK_LIMIT => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not say within {} s that it can go on", CHECK_LIMIT.as_secs()));
            }
        }
    };
    let said = text(child.stdout.take());
    if status.success() && said == FITS {
        return Ok(file);
    }
    let why = text(child.stderr.take());
    let why = why.lines().next().unwrap_or("it is no hoodydb that can be handed over to");
    Err(format!("refused: {}", printable(why.trim_start_matches("hoodydb: "))))
}

/// What a program wrote, at most a few kilobytes.
fn text(pipe: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(4096).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}
