//! The log: where it goes, and how much of it.
//!
//! Called by [`crate::cli`] once, before anything is logged. `HOODYDB_LOG` sets the level (`debug`, or `hoodydb::daemon=trace`).

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;

use tracing_subscriber::EnvFilter;

/// A log file that is larger at a daemon's start is put aside.
const LOG_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Logs to standard error, coloured on a terminal.
pub fn to_stderr() {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    init(io::stderr, colour);
}

/// Logs to the end of a file; a long one becomes `FILE.old` first.
///
/// # Errors
/// Those of opening the file.
pub fn to_file(path: &Path) -> io::Result<()> {
    init(open_log(path)?, false);
    Ok(())
}

fn open_log(path: &Path) -> io::Result<File> {
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_MAX_BYTES) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.append(true).create(true).open(path)
}

fn init<W>(writer: W, colour: bool)
where
    W: for<'writer> tracing_subscriber::fmt::MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env("HOODYDB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour);
    // A second call keeps the first subscriber: tests build several daemons in one process.
    let _ = subscriber.try_init();
}
