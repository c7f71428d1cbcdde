//! How many requests of each kind were answered.

use std::sync::atomic::Ordering::Relaxed;

use crate::handover::{COUNTERS, Memory};

macro_rules! operations {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// The FUSE operations, by the kernel's names.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Operation { $($name),* }

        const NAMES: &[&str] = &[$($text),*];
    };
}

operations! {
    Access = "ACCESS",
    CopyFileRange = "COPY_FILE_RANGE",
    Create = "CREATE",
    Fallocate = "FALLOCATE",
    Flush = "FLUSH",
    Forget = "FORGET",
    Fsync = "FSYNC",
    FsyncDir = "FSYNCDIR",
    GetAttr = "GETATTR",
    GetLk = "GETLK",
    GetXattr = "GETXATTR",
    Link = "LINK",
    ListXattr = "LISTXATTR",
    Lookup = "LOOKUP",
    Lseek = "LSEEK",
    MkDir = "MKDIR",
    MkNod = "MKNOD",
    Open = "OPEN",
    OpenDir = "OPENDIR",
    Read = "READ",
    ReadDir = "READDIR",
    ReadDirPlus = "READDIRPLUS",
    ReadLink = "READLINK",
    Release = "RELEASE",
    RemoveXattr = "REMOVEXATTR",
    Rename = "RENAME",
    RmDir = "RMDIR",
    SetAttr = "SETATTR",
    SetLk = "SETLK",
    SetXattr = "SETXATTR",
    StatFs = "STATFS",
    Symlink = "SYMLINK",
    Unlink = "UNLINK",
    Write = "WRITE",
}

/// One counter per operation, in the memory that outlives this process.
#[derive(Debug)]
pub(super) struct Requests {
    memory: Memory,
}

const _: () = assert!(NAMES.len() <= COUNTERS);

impl Requests {
    /// The counters as the process before this one left them.
    pub(super) fn new(memory: &Memory) -> Self {
        Self { memory: memory.share() }
    }

    pub(super) fn count(&self, operation: Operation) {
        self.memory.counter(operation as usize).fetch_add(1, Relaxed);
    }

    /// Operations that were asked for at least once, in alphabetical order.
    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        let counts = NAMES.iter().enumerate();
        let counts = counts.map(|(index, name)| (*name, self.memory.counter(index).load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}
