//! One step of an installation. Called by `hoodydb install` in the order of the plan, by `uninstall` in the reverse order.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{HostError, Record, parent};
use crate::model::printable;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A directory with these rights; it stays when all is taken back, for it holds what users made.
    Directory {
        /// Where.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// A text.
    File {
        /// Where.
        path: PathBuf,
        /// What is in it.
        text: String,
        /// Its rights.
        mode: u32,
    },
    /// A copy of a program.
    Program {
        /// The program.
        from: PathBuf,
        /// Its place.
        to: PathBuf,
    },
    /// The parent of the mount point.
    Parent,
    /// A command that is run when files before it were changed, and when all is taken back.
    Command {
        /// Run to install.
        install: Vec<String>,
        /// Run to take it back; empty if nothing is to be run.
        uninstall: Vec<String>,
        /// Succeeds if the step is done already; empty if it is done whenever no file was changed.
        check: Vec<String>,
        /// Nothing is taken back where this file is gone.
        about: PathBuf,
    },
}

impl Step {
    /// What it does, in one line; escaped.
    pub fn describe(&self) -> String {
        match self {
            Self::Directory { path, mode } => format!("make {} ({mode:04o})", printable(path)),
            Self::File { path, .. } => format!("write {}", printable(path)),
            Self::Program { from, to } => format!("copy {} to {}", printable(from), printable(to)),
            Self::Parent => format!("mount {} (an empty tmpfs, read-only and shared)", parent::PARENT),
            Self::Command { install, .. } => format!("run {}", install.join(" ")),
        }
    }

    /// How it is taken back; none if it stays.
    pub fn describe_undo(&self) -> Option<String> {
        match self {
            Self::Directory { .. } => None,
            Self::File { path, .. } | Self::Program { to: path, .. } => Some(format!("remove {}", printable(path))),
            Self::Parent => Some(format!("unmount {}", parent::PARENT)),
            Self::Command { uninstall, .. } => (!uninstall.is_empty()).then(|| format!("run {}", uninstall.join(" "))),
        }
    }

    /// Whether there is something to take back.
    ///
    /// # Errors
    /// If the mount table cannot be read.
    pub fn is_undoable(&self, record: &Record) -> Result<bool, HostError> {
        match self {
            Self::Directory { .. } => Ok(false),
            Self::File { path, .. } | Self::Program { to: path, .. } => Ok(record.has(path)),
            Self::Parent => {
                parent::is_there(Path::new(parent::PARENT)).map_err(HostError::path("cannot look at", parent::PARENT))
            }
            Self::Command { uninstall, about, .. } => Ok(!uninstall.is_empty() && about.exists()),
        }
    }

    /// Whether nothing stands in its way that can be seen before.
    ///
    /// # Errors
    /// Where it would hide or replace what is not ours.
    pub fn is_possible(&self) -> Result<(), HostError> {
        match self {
            Self::Directory { .. } | Self::Parent => self.is_done(false).map(|_| ()),
            Self::File { .. } | Self::Program { .. } | Self::Command { .. } => Ok(()),
        }
    }

    /// Whether it is done already; `changed` says whether a step before it was not.
    ///
    /// # Errors
    /// Where it would hide or replace what is not ours.
    pub fn is_done(&self, changed: bool) -> Result<bool, HostError> {
        match self {
            Self::Directory { path, .. } => match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => Ok(true),
                Ok(_) => Err(HostError::NotDirectory(path.clone())),
                Err(_) => Ok(false),
            },
            Self::File { path, text, mode } => Ok(is_file_with(path, text.as_bytes(), *mode)),
            Self::Program { from, to } => {
                let new = std::fs::read(from).map_err(HostError::path("cannot read", from))?;
                Ok(is_file_with(to, &new, 0o755))
            }
            Self::Parent => Ok(parent::rehearse(Path::new(parent::PARENT))? != parent::Prepared::Made),
            Self::Command { check, .. } if check.is_empty() => Ok(!changed),
            Self::Command { check, .. } => Ok(succeeds(check)),
        }
    }

    /// Does it, and records files.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn perform(&self, record: &mut Record) -> Result<(), HostError> {
        match self {
            Self::Directory { path, mode } => std::fs::create_dir_all(path)
                .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(*mode)))
                .map_err(HostError::path("cannot make", path)),
            Self::File { path, text, mode } => put(path, text.as_bytes(), *mode, record),
            Self::Program { from, to } => {
                let bytes = std::fs::read(from).map_err(HostError::path("cannot read", from))?;
                put(to, &bytes, 0o755, record)
            }
            Self::Parent => parent::prepare(Path::new(parent::PARENT)).map(|_| ()),
            Self::Command { install, .. } => run(install),
        }
    }

    /// Takes it back, where [`Self::is_undoable`]. False if a file stays, for it was changed since.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn undo(&self, record: &mut Record) -> Result<bool, HostError> {
        match self {
            Self::Directory { .. } => Ok(false),
            Self::File { path, .. } | Self::Program { to: path, .. } => record.remove(path),
            Self::Parent => {
                let path = Path::new(parent::PARENT);
                let failed = HostError::path("cannot unmount", path);
                parent::remove(path).map_err(failed)?;
                // Whatever somebody has put there since stays.
                let _ = std::fs::remove_dir(path.join(parent::CHILD));
                let _ = std::fs::remove_dir(path);
                Ok(true)
            }
            Self::Command { uninstall, .. } => run(uninstall).map(|()| true),
        }
    }
}

fn is_file_with(path: &Path, bytes: &[u8], mode: u32) -> bool {
    let same_mode = path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o7777 == mode);
    same_mode && std::fs::read(path).is_ok_and(|now| now == bytes)
}

/// In one step: a program that runs can be replaced, and a reader never sees half a file.
fn put(path: &Path, bytes: &[u8], mode: u32, record: &mut Record) -> Result<(), HostError> {
    let failed = |error| HostError::path("cannot write", path)(error);
    record.add(path, bytes)?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(HostError::path("cannot make", directory))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".hoodydb-new");
    let new = path.with_file_name(name);
    let attempt = || -> io::Result<()> {
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    attempt().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(error)
    })
}

fn succeeds(words: &[String]) -> bool {
    command(words).output().is_ok_and(|output| output.status.success())
}

fn run(words: &[String]) -> Result<(), HostError> {
    let shown = || words.join(" ");
    let output =
        command(words).output().map_err(|source| HostError::Command { command: shown(), why: source.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gives no reason");
    Err(HostError::Command { command: shown(), why: printable(last) })
}

fn command(words: &[String]) -> Command {
    let (program, arguments) = words.split_first().map_or(("true", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null());
    command
}
