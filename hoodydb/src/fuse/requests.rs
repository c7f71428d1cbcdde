//! How many requests of each kind were answered.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// One counter per operation.
#[derive(Debug)]
pub(super) struct Requests {
    counts: Vec<AtomicU64>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { counts: NAMES.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Requests {
    pub(super) fn count(&self, operation: Operation) {
        self.counts[operation as usize].fetch_add(1, Relaxed);
    }

    /// Operations that were asked for at least once, in alphabetical order.
    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        let counts = NAMES.iter().zip(&self.counts).map(|(name, count)| (*name, count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}
