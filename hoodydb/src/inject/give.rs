//! Gives the mount's parent to a container that runs. Called by `hoodydb containers inject`.
//!
//! ```text
//!   a thread of its own
//!     unshare          a copy of this mount namespace, all of it a slave of the original
//!     open_tree        /hoody and what is mounted in it, detached
//!     setns            into the container's mount namespace
//!     move_mount       onto the container's /hoody
//! ```
//!
//! The copy is a slave from the start, so that there is no moment at which the container could unmount the host's.
//! Everything after setns is done at paths that the container may have made: each is one name, and no link is followed.
//!
//! # Source
//! open_tree(2), setns(2), move_mount(2); measured on docker, podman and podman with mapped user ids.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{InjectError, Live, Sight};
use crate::host::parent;
use crate::process::mounts::{FS_TYPE, mounts_of};

/// A container's file system may hang, for it may be anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`give`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It had it.
    Already,
    /// It has it now.
    Now,
}

/// Gives the parent to the container of a process.
///
/// # Errors
/// [`InjectError`]; the container is then as it was, but for an empty directory `/hoody` at most.
pub fn give(pid: u32, live: &Live) -> Result<Given, InjectError> {
    if !parent::is_there(Path::new(parent::PARENT)).map_err(InjectError::call("cannot read the mounts"))? {
        return Err(InjectError::NoParent);
    }
    let process = pidfd_of(pid)?;
    match live.sight_of(pid) {
        Ok(Sight::Live | Sight::Waiting) => return Ok(Given::Already),
        Ok(Sight::Stale | Sight::None) => (),
        Err(_) => return Err(InjectError::Gone),
    }
    let stale = stale_mounts(pid).map_err(|_| InjectError::Gone)?;
    let (answer, answered) = channel();
    let working = move || {
        // Whoever asked may have given up.
        let _ = answer.send(give_on_this_thread(&process, &stale));
    };
    let started = std::thread::Builder::new().name("inject".to_owned()).spawn(working);
    started.map_err(InjectError::call("cannot start a thread"))?;
    match answered.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome.map(|()| Given::Now),
        Err(RecvTimeoutError::Timeout) => Err(InjectError::Hangs),
        Err(RecvTimeoutError::Disconnected) => Err(InjectError::Gone),
    }
}

fn pidfd_of(pid: u32) -> Result<OwnedFd, InjectError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(InjectError::Gone)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
        Errno::SRCH => InjectError::Gone,
        Errno::NOSYS => InjectError::OldKernel("pidfd_open"),
        other => InjectError::call("cannot hold on to its process")(other),
    })
}

/// This thread is of no other use afterwards: it is in the container.
fn give_on_this_thread(process: &OwnedFd, stale: &[PathBuf]) -> Result<(), InjectError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(InjectError::call("cannot copy the mount namespace"))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(InjectError::call("cannot make the copy a slave"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, parent::PARENT, flags).map_err(needs("open_tree", "cannot copy /hoody"))?;
    // Where a pid is used again, the descriptor still stands for the process that was looked at.
    check_alive(process)?;
    setns(process.as_fd(), CloneFlags::CLONE_NEWNS).map_err(InjectError::call("cannot enter its mount namespace"))?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(InjectError::call("cannot open its root"))?;
    clear(stale);
    let place = place_in(&root)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &place, "", flags).map_err(needs("move_mount", "cannot mount on its /hoody"))
}

/// A pidfd can be read once its process is dead.
fn check_alive(process: &OwnedFd) -> Result<(), InjectError> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&at_once)) {
        Ok(0) => Ok(()),
        _ => Err(InjectError::Gone),
    }
}

/// Mounts of ours at their usual places, the innermost first. The container may have others, which are its own affair.
fn stale_mounts(pid: u32) -> io::Result<Vec<PathBuf>> {
    let parent = Path::new(parent::PARENT);
    let mut mounts = mounts_of(&format!("/proc/{pid}/mountinfo"))?;
    mounts.retain(|mount| mount.fs_type == FS_TYPE || parent::is_parent(mount));
    mounts.retain(|mount| mount.mount_point == parent || mount.mount_point == parent.join(parent::CHILD));
    Ok(mounts.into_iter().rev().map(|mount| mount.mount_point).collect())
}

/// Takes dead mounts out of the container; one that it may not lose (it is locked) stays below the new one.
fn clear(stale: &[PathBuf]) {
    for path in stale {
        let _ = rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

/// The container's `/hoody`, an empty directory that is made where it is missing.
fn place_in(root: &OwnedFd) -> Result<OwnedFd, InjectError> {
    let name = parent::PARENT.trim_start_matches('/');
    match rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => (),
        Err(Errno::ROFS) if open_place(root, name).is_err() => return Err(InjectError::ReadOnly),
        Err(Errno::ROFS) => (),
        Err(error) => return Err(InjectError::call("cannot make its /hoody")(error)),
    }
    let place = open_place(root, name).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => InjectError::NotDirectory,
        other => InjectError::call("cannot open its /hoody")(other),
    })?;
    if is_empty(&place).map_err(InjectError::call("cannot look into its /hoody"))? {
        return Ok(place);
    }
    Err(InjectError::HasFiles)
}

fn open_place(root: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, name, flags, Mode::empty(), resolve)
}

/// An engine's own mount point for us may be left in the image, with the child in it.
fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if ![&b"."[..], b"..", parent::CHILD.as_bytes()].contains(&name) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn needs(call: &'static str, action: &'static str) -> impl FnOnce(Errno) -> InjectError {
    move |error| match error {
        Errno::NOSYS => InjectError::OldKernel(call),
        other => InjectError::call(action)(other),
    }
}
