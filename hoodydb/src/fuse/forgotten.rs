//! Inodes whose FORGET was lost.
//!
//! The kernel does not send a FORGET again that a killed worker had read: it expects no answer to it. A deleted file would keep its
//! descriptor, and its blocks on the disk, until the unmount. So after a handover the kernel is asked about every inode without a
//! name that nobody has open. One that it does not know, twice a second apart and without a lookup in between, it has forgotten:
//! a FORGET that was still under way has come in the meantime.
//!
//! # Source
//! fs/fuse/inode.c, fuse_reverse_inval_inode(): ENOENT for an inode that is not in memory; a negative offset leaves its pages alone.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::inodes::Inodes;

/// So many looks after a handover, one a second.
const LOOKS: u32 = 10;

/// Looks for inodes whose FORGET was lost, for a while after a handover.
#[derive(Debug)]
pub(super) struct Forgotten {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looks_left: u32,
    suspects: BTreeSet<(u64, u64)>,
}

impl Forgotten {
    /// Nothing to look for unless there was a handover.
    pub(super) fn new(is_successor: bool) -> Self {
        let looks_left = if is_successor { LOOKS } else { 0 };
        Self { state: Mutex::new(State { looks_left, suspects: BTreeSet::new() }) }
    }

    /// One look; called once a second.
    pub(super) fn look(&self, inodes: &Inodes, device: &OwnedFd) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looks_left == 0 {
            return;
        }
        state.looks_left -= 1;
        let unused = inodes.nameless_unused().into_iter();
        let unknown: BTreeSet<(u64, u64)> = unused.filter(|(node, _)| is_unknown(device, *node)).collect();
        for (node, lookups) in unknown.intersection(&state.suspects) {
            tracing::debug!(node, lookups, "the kernel has forgotten it");
            drop(inodes.forget(*node, *lookups));
        }
        state.suspects = unknown;
    }
}

/// Whether the kernel has no inode of this number; if it has one, it asks for its attributes anew.
///
/// # Source
/// fuse.h: a `fuse_out_header` of unique 0 and code 2, then `fuse_notify_inval_inode_out`. (fuser's own call does not tell ENOENT.)
fn is_unknown(device: &OwnedFd, node: u64) -> bool {
    const INVAL_INODE: u32 = 2;
    const LENGTH: u32 = 40;
    const ATTRIBUTES_ONLY: i64 = -1;
    let mut message = [0; LENGTH as usize];
    message[..4].copy_from_slice(&LENGTH.to_ne_bytes());
    message[4..8].copy_from_slice(&INVAL_INODE.to_ne_bytes());
    message[16..24].copy_from_slice(&node.to_ne_bytes());
    message[24..32].copy_from_slice(&ATTRIBUTES_ONLY.to_ne_bytes());
    rustix::io::write(device, &message) == Err(Errno::NOENT)
}
