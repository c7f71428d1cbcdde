//! Names and run states of single processes.
//!
//! Called by [`crate::daemon`] for `locks` and the logs; a process that is gone is answered with what is left, never with an
//! error.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::model::text_of;

/// Longest command line that is shown.
const COMMAND_MAX_CHARS: usize = 200;

/// Why a process does not run although it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halted {
    /// SIGSTOP, a terminal's Ctrl-Z, or a debugger.
    Stopped,
    /// Its cgroup is frozen: a paused container.
    Frozen,
}

impl Halted {
    /// The word in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Frozen => "frozen",
        }
    }
}

/// The command line of a process, or its short name where it has none; `?` for one that is gone.
pub fn command_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = join_words(&line);
    if !words.is_empty() {
        return words;
    }
    match std::fs::read(format!("/proc/{pid}/comm")) {
        Ok(name) => text_of(os(name.trim_ascii_end())),
        Err(_) => "?".to_owned(),
    }
}

/// The process of a thread.
pub fn process_of(tid: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{tid}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// When a process started, in ticks since the boot: together with its id it is that process and no other.
///
/// # Source
/// proc_pid_stat(5): the 22nd field.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    start_time_in(&stat)
}

/// The moment of so many ticks since the boot, by the clock of now, rounded to whole ticks.
pub fn started_at(ticks: u64) -> SystemTime {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let since_boot = Duration::from_millis(ticks * 1_000 / per_second);
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let uptime = Duration::new(uptime.tv_sec.unsigned_abs(), uptime.tv_nsec.unsigned_abs() as u32);
    SystemTime::now() - uptime.saturating_sub(since_boot)
}

fn start_time_in(stat: &[u8]) -> Option<u64> {
    let bracket = stat.iter().rposition(|byte| *byte == b')')?;
    // The state is the third field.
    let field = stat.get(bracket + 2..)?.split(|byte| *byte == b' ').nth(22 - 3)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// /proc/PID/cgroup; empty if it cannot be read.
pub fn control_groups(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// Whether a process is stopped or frozen.
pub fn halted(pid: u32) -> Option<Halted> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    if matches!(state_letter(&stat), Some(b'T' | b't')) {
        return Some(Halted::Stopped);
    }
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    is_frozen(&cgroups).then_some(Halted::Frozen)
}

/// The inode number of a process's mount namespace.
pub fn mount_namespace(pid: u32) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
    link.to_str()?.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

fn join_words(line: &[u8]) -> String {
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| text_of(os(word))).filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    match text.char_indices().nth(COMMAND_MAX_CHARS) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// # Source
/// proc_pid_stat(5): the name in brackets may itself hold brackets and spaces, so the state follows the last one.
fn state_letter(stat: &[u8]) -> Option<u8> {
    let bracket = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(bracket + 2).copied()
}

/// Whether any cgroup of a process, as /proc/PID/cgroup lists them, is frozen.
fn is_frozen(cgroups: &str) -> bool {
    cgroups
        .lines()
        .filter_map(freezer_file)
        .any(|(file, frozen)| std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == frozen)))
}

/// The file that tells whether the cgroup of one line is frozen, and the line in it that says yes.
fn freezer_file(line: &str) -> Option<(PathBuf, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let path = path.trim_start_matches('/');
    if controllers.split(',').any(|controller| controller == "freezer") {
        return Some((Path::new("/sys/fs/cgroup/freezer").join(path).join("freezer.state"), "FROZEN"));
    }
    let unified =
        if Path::new("/sys/fs/cgroup/unified").is_dir() { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" };
    controllers.is_empty().then(|| (Path::new(unified).join(path).join("cgroup.events"), "frozen 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_follows_the_last_bracket() {
        assert_eq!(state_letter(b"12 (a) T b) S 1 2"), Some(b'S'));
        assert_eq!(state_letter(b"12 (sqlite3) T 1 2"), Some(b'T'));
        assert_eq!(state_letter(b"12 (cut)"), None);
    }

    #[test]
    fn the_start_follows_the_last_bracket() {
        let stat = b"1 (a) b) S 0 1 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 777 9 9";
        assert_eq!(start_time_in(stat), Some(777));
        assert_eq!(start_time_in(b"1 (a) S 0"), None);
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(0), None);
    }

    #[test]
    fn words_are_joined_and_cut() {
        assert_eq!(join_words(b"sqlite3\0a b.db\0\0"), "sqlite3 a b.db");
        assert_eq!(join_words(b"x\xff\0"), "x\\xff");
        assert_eq!(join_words(&[b'a'; 500]).len(), COMMAND_MAX_CHARS + 2);
    }

    #[test]
    fn each_line_of_cgroup_names_its_freezer() {
        let (file, word) = freezer_file("6:cpu,freezer:/docker/1").unwrap();
        assert_eq!((file.to_str().unwrap(), word), ("/sys/fs/cgroup/freezer/docker/1/freezer.state", "FROZEN"));
        assert!(freezer_file("0::/a").unwrap().0.ends_with("a/cgroup.events"));
        assert_eq!(freezer_file("3:cpuset:/"), None);
    }

    #[test]
    fn this_process_runs_and_has_a_name() {
        let pid = std::process::id();
        assert_eq!(halted(pid), None);
        assert!(command_of(pid).contains("hoodydb"));
        assert!(mount_namespace(pid).is_some());
        assert_eq!(command_of(0), "?");
    }
}
