//! One run of a schedule: its process, and what its files tell of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::store::{Ended, Entry, Store};
use crate::daemon::Options;
use crate::model::{BackupAnswer, printable};

/// The most that is read of a run's answer, in bytes: some ten thousand databases.
const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The most that is read of a run's last words, in bytes.
const WORDS_MAX_BYTES: u64 = 64 * 1024;

/// Begins a run. It outlives this worker.
pub(super) fn begin(store: &Store, entry: &mut Entry, options: &Options) -> io::Result<Child> {
    let made = OFlags::RDWR | OFlags::CREATE;
    let out = store.open_run(entry.id, "out", made)?;
    flock(&out, FlockOperation::NonBlockingLockExclusive)?;
    // Under the lock: the answer of a run before this one is not taken for this one's.
    out.set_len(0)?;
    let errors = store.open_run(entry.id, "err", made | OFlags::TRUNC)?;
    // This program, even if its name leads to another one by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("hoodydb").args(["backup", "--scheduled", "--json", "--mount"]).arg(&options.mountpoint);
    // With a slash it is a directory, for one database too.
    command.arg("--to").arg(entry.what.to.join("")).args(&entry.what.options);
    if entry.what.databases.is_empty() {
        command.arg("--all");
    } else {
        command.arg("--").args(&entry.what.databases);
    }
    command.env("HOODYDB_RUN_DIR", &options.run_dir).current_dir("/");
    let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn()?;
    entry.pid = Some(child.id());
    Ok(child)
}

/// Whether a run is at work: it has the lock of its output.
pub(super) fn is_alive(store: &Store, id: u64) -> bool {
    let Ok(out) = store.open_run(id, "out", OFlags::RDONLY) else { return false };
    flock(&out, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// What a run that has ended says.
pub(super) fn outcome(store: &Store, id: u64) -> Ended {
    let read = |ending, most| {
        let mut text = String::new();
        let opened: io::Result<File> = store.open_run(id, ending, OFlags::RDONLY);
        let _ = opened.and_then(|file| file.take(most).read_to_string(&mut text));
        text
    };
    let ended = outcome_of(&read("out", ANSWER_MAX_BYTES), &read("err", WORDS_MAX_BYTES));
    Ended { ended_ms: ["out", "err"].into_iter().filter_map(|ending| written_ms(store, id, ending)).max(), ..ended }
}

/// When a file of a run was written: its last words stand at its end.
fn written_ms(store: &Store, id: u64, ending: &str) -> Option<u64> {
    let written = store.open_run(id, ending, OFlags::RDONLY).ok()?.metadata().ok()?.modified().ok()?;
    let since = written.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn outcome_of(out: &str, errors: &str) -> Ended {
    let words = errors.lines().last().map(|line| printable(line.strip_prefix("hoodydb: ").unwrap_or(line)));
    let Ok(answer) = serde_json::from_str::<BackupAnswer>(out) else {
        return Ended::failed(words.unwrap_or_else(|| "it ended without a word: it was killed".to_owned()));
    };
    let first =
        answer.failed.first().map(|failed| format!("{}: {}", printable(&failed.database), printable(&failed.error)));
    let others =
        if answer.failed.len() > 1 { format!(" (and {} more)", answer.failed.len() - 1) } else { String::new() };
    Ended {
        error: first.map(|first| first + &others),
        backups: answer.backups.len() as u64,
        file_bytes: answer.backups.iter().map(|backup| backup.manifest.file_bytes).sum(),
        ..Ended::default()
    }
}

/// Asks a run to end, as Ctrl-C does.
pub(super) fn ask_to_end(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Removes the files of a schedule that is no more.
pub(super) fn forget(store: &Store, id: u64) {
    for ending in ["out", "err"] {
        store.remove_run(id, ending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Backup, FailedDatabase, Manifest};

    #[test]
    fn each_end_is_told() {
        let backup = Backup { manifest: Manifest { file_bytes: 5, ..Manifest::default() }, ..Backup::default() };
        let mut answer = BackupAnswer { backups: vec![backup.clone(), backup], failed: Vec::new() };
        let good = outcome_of(&serde_json::to_string(&answer).unwrap(), "");
        assert_eq!(good, Ended { backups: 2, file_bytes: 10, ..Ended::default() });
        let failed = |name: &str| FailedDatabase { database: name.to_owned(), error: "full\n".to_owned() };
        answer.failed = vec![failed("a.db"), failed("b.db")];
        let bad = outcome_of(&serde_json::to_string(&answer).unwrap(), "hoodydb: x\n");
        assert_eq!((bad.error.as_deref(), bad.backups), (Some("a.db: full\\n (and 1 more)"), 2));
        assert_eq!(outcome_of("", "noise\nhoodydb: no daemon\n").error.as_deref(), Some("no daemon"));
        assert!(outcome_of("{", "").error.unwrap().contains("killed"));
    }
}
