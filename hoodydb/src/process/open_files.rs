//! Which processes have files of a given file system open.
//!
//! Called by [`crate::daemon`] for users of the live mount and of dead ones. It asks the kernel's cache only
//! (`AT_STATX_DONT_SYNC` through the links of /proc/PID/fd), so it works on a dead FUSE connection and sends no request to
//! a live one.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev};

use super::command_of;

/// A descriptor, working directory or root directory of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenFile {
    /// The process.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// Inode number.
    pub ino: u64,
    /// The path as the kernel names it.
    pub path: PathBuf,
}

/// Every process's files on the device, each (process, inode) once; `except` is left out.
///
/// # Errors
/// Only where /proc itself cannot be read: processes that end meanwhile are skipped.
pub fn open_on(device: u64, except: u32) -> io::Result<Vec<OpenFile>> {
    let mut found = Vec::new();
    for pid in pids()? {
        if pid != except {
            found.extend(open_by(pid, device));
        }
    }
    Ok(found)
}

/// One process's files on the device, each inode once.
pub fn open_by(pid: u32, device: u64) -> Vec<OpenFile> {
    let mut found: Vec<OpenFile> = Vec::new();
    for link in links_of(pid) {
        let Some(ino) = inode_on(&link, device) else { continue };
        if found.iter().all(|file| file.ino != ino) {
            let path = std::fs::read_link(&link).unwrap_or_default();
            found.push(OpenFile { pid, command: String::new(), ino, path });
        }
    }
    if !found.is_empty() {
        let command = command_of(pid);
        found.iter_mut().for_each(|file| file.command.clone_from(&command));
    }
    found
}

/// All process ids, in rising order.
fn pids() -> io::Result<Vec<u32>> {
    let mut pids: Vec<u32> =
        std::fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

fn links_of(pid: u32) -> Vec<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut links: Vec<PathBuf> =
        std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    links.extend([process.join("cwd"), process.join("root")]);
    links
}

fn inode_on(link: &Path, device: u64) -> Option<u64> {
    let stat = rustix::fs::statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    (makedev(stat.stx_dev_major, stat.stx_dev_minor) == device).then_some(stat.stx_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_that_this_process_has_open_is_found() {
        let path = std::env::current_exe().unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let meta = file.metadata().unwrap();
        let pid = std::process::id();
        let found = open_by(pid, meta.dev());
        assert!(found.iter().any(|open| open.ino == meta.ino() && open.path == path && open.pid == pid));
        assert!(open_on(meta.dev(), pid).unwrap().iter().all(|open| open.pid != pid));
    }
}
