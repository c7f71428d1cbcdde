//! Which programs are installed, their versions, and which of them run as daemons.
//!
//! Called by the engines. A daemon inside of a container (docker in docker, a test cluster) is not this host's: it has another
//! root directory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::{Engine, EngineError};
use crate::model::printable;
use crate::process::{start_time, started_at};

/// Where programs are besides `PATH`, which for root over sudo or cron may be short.
const DIRECTORIES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The path of a program.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    let candidates = directories.chain(DIRECTORIES.map(PathBuf::from)).map(|dir| dir.join(name));
    candidates.into_iter().find(|path| path.is_file())
}

/// The version that a program says it is, such as `20.10.24+dfsg1`, if it is not older than `needed`.
pub(super) fn version(engine: Engine, name: &str, needed: &'static str) -> Result<String, EngineError> {
    let program = program(name).ok_or(EngineError::Absent { engine })?;
    let failed = EngineError::file("cannot run", &program);
    let output = Command::new(&program).arg("--version").output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let why = printable(said.lines().last().unwrap_or("it gives no reason"));
        return Err(EngineError::Broken { engine, program, why });
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = version_in(&text).unwrap_or_default();
    if major(&version) < major(needed) {
        return Err(EngineError::TooOld { engine, version, needed });
    }
    Ok(version)
}

/// The first word that begins with a digit or `v` and a digit.
fn version_in(text: &str) -> Option<String> {
    let words = text.split([' ', '\n', ',']).map(|word| word.trim_start_matches('v'));
    words.into_iter().find(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
}

/// The first number of a version; 0 where there is none.
pub(super) fn major(version: &str) -> u32 {
    version.split(|character: char| !character.is_ascii_digit()).next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A daemon of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    /// Its process.
    pub(super) pid: i32,
    /// Whose it is.
    pub(super) uid: u32,
    /// Its command line without the program.
    pub(super) arguments: Vec<String>,
}

impl Daemon {
    /// When it was started; none if it is gone.
    pub(super) fn started(&self) -> Option<SystemTime> {
        u32::try_from(self.pid).ok().and_then(start_time).map(started_at)
    }

    /// The values of an option that is written `--name value`, `--name=value` or with one hyphen.
    pub(super) fn values(&self, names: &[&str]) -> Vec<&str> {
        let mut values = Vec::new();
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            for name in names {
                if argument == name {
                    values.extend(arguments.next().map(String::as_str));
                    break;
                }
                values.extend(argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')));
            }
        }
        values
    }
}

/// The daemons with the name of this program.
pub(super) fn daemons(name: &str) -> Vec<Daemon> {
    let root = identity(Path::new("/"));
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let named = pids
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name));
    named.filter_map(|pid| daemon(pid, root)).collect()
}

fn daemon(pid: i32, root: Option<(u64, u64)>) -> Option<Daemon> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    if identity(&directory.join("root/")) != root {
        return None;
    }
    let line = std::fs::read(directory.join("cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let arguments = words.skip(1).filter(|word| !word.is_empty()).collect();
    Some(Daemon { pid, uid: directory.metadata().ok()?.uid(), arguments })
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().map(|meta| (meta.dev(), meta.ino())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_programs_tell_them() {
        let rows = [
            ("podman version 4.3.1\n", "4.3.1", 4),
            ("Docker version 20.10.24+dfsg1, build 5d6db84\n", "20.10.24+dfsg1", 20),
            ("containerd github.com/containerd/containerd v1.7.2 abc\n", "1.7.2", 1),
            ("5.0.2\n", "5.0.2", 5),
        ];
        for (text, version, number) in rows {
            let found = version_in(text).unwrap();
            assert_eq!((found.as_str(), major(&found)), (version, number), "{text}");
        }
        assert_eq!((version_in("no number"), major("")), (None, 0));
    }

    #[test]
    fn options_of_daemons() {
        let words = ["-H", "fd://", "--host=unix:///a", "--data-root", "/d", "--config-file=/c"];
        let daemon = Daemon { pid: 1, uid: 0, arguments: words.map(str::to_owned).to_vec() };
        assert_eq!(daemon.values(&["-H", "--host"]), ["fd://", "unix:///a"]);
        assert_eq!(daemon.values(&["--data-root", "-g"]), ["/d"]);
        assert_eq!(daemon.values(&["--config-file"]), ["/c"]);
        assert_eq!(daemon.values(&["--default-runtime"]), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_absent() {
        assert_eq!(program("no-such-program-of-hoodydb"), None);
        assert_eq!(daemons("no-such-daemon"), []);
        let absent = version(Engine::Lxc, "no-such-program-of-hoodydb", "1");
        assert!(matches!(absent, Err(EngineError::Absent { engine: Engine::Lxc })));
    }
}
