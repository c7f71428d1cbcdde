//! Where everything lies in the shared memory.
//!
//! # Layout
//! In words of 8 bytes, each region at a multiple of 512 words (a page):
//!
//! | region | words |
//! |---|---|
//! | header: magic, version, the limits | 16 |
//! | named words | 48 |
//! | counters | 64 |
//! | blobs: INIT request, INIT answer, context, reason (two copies each) | 2 x (1 + size) |
//! | redo area: count, then (index, value) pairs | 1 + 2 x 1,024 |
//! | inodes | 40 each |
//! | handles | 8 each |
//! | operations | 272 each |
//! | log: generation; two halves of tail and entries | 1 + 2 x (1 + size) |
//! | checkpoints: two of length and bytes | 2 x (1 + size) |

/// The version of all of this. It changes with the layout and with the meaning of any field.
pub const LAYOUT_VERSION: u64 = 1;

/// "hoodydb\0", little endian.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"hoodydb\0");

const PAGE_WORDS: usize = 512;

/// Words of one inode.
pub(super) const INODE_WORDS: usize = 40;
/// Words of one handle.
pub(super) const HANDLE_WORDS: usize = 8;
/// Words of one operation.
pub(super) const OPERATION_WORDS: usize = 272;
/// Pairs of the redo area: two inodes and one operation need 100.
pub(super) const REDO_PAIRS: usize = 1024;

/// How much there is room for. Memory is taken page by page as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Inodes that the kernel remembers.
    pub inodes: usize,
    /// Open handles.
    pub handles: usize,
    /// Requests at work at the same time.
    pub operations: usize,
    /// Bytes of one half of the log.
    pub log_bytes: usize,
    /// Bytes of one checkpoint.
    pub checkpoint_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inodes: 1 << 20,
            handles: 65_536,
            operations: 1_024,
            log_bytes: 8 << 20,
            // 1,000,000 records and 65,536 waiters take about half of it.
            checkpoint_bytes: 256 << 20,
        }
    }
}

/// Why memory is not one that this program can use.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It is something else.
    #[error("it is no shared memory of hoodydb")]
    NotOurs,
    /// Another version wrote it.
    #[error("its tables have version {found}, this hoodydb knows version {LAYOUT_VERSION}")]
    Version {
        /// What wrote it.
        found: u64,
    },
    /// Its size does not fit what it says of itself.
    #[error("it has {found} bytes instead of {wanted}")]
    Size {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        wanted: u64,
    },
    /// It cannot be mapped.
    #[error("it cannot be mapped: {0}")]
    Map(#[from] std::io::Error),
}

/// The first word of every region, and the size of it all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) limits: Limits,
    pub(super) words: usize,
    pub(super) counters: usize,
    pub(super) blobs: usize,
    pub(super) redo: usize,
    pub(super) inodes: usize,
    pub(super) handles: usize,
    pub(super) operations: usize,
    pub(super) log: usize,
    pub(super) checkpoints: usize,
    /// Words of it all.
    pub(super) end: usize,
}

/// Sizes of the blobs in bytes, in their order.
pub(super) const BLOB_BYTES: [usize; 4] = [512, 512, 65_536, 512];

impl Layout {
    /// None if the limits do not fit into the address space.
    pub(super) fn new(limits: Limits) -> Option<Self> {
        let mut next = PAGE_WORDS;
        let mut region = |words: usize| {
            let start = next;
            next = start.checked_add(words.checked_next_multiple_of(PAGE_WORDS)?)?;
            Some(start)
        };
        let blobs = region(BLOB_BYTES.iter().map(|bytes| 1 + 2 * (1 + bytes / 8)).sum())?;
        let redo = region(1 + 2 * REDO_PAIRS)?;
        let inodes = region(limits.inodes.checked_mul(INODE_WORDS)?)?;
        let handles = region(limits.handles.checked_mul(HANDLE_WORDS)?)?;
        let operations = region(limits.operations.checked_mul(OPERATION_WORDS)?)?;
        let log = region((limits.log_bytes / 8).checked_add(1)?.checked_mul(2)?.checked_add(1)?)?;
        let checkpoints = region((limits.checkpoint_bytes / 8).checked_add(1)?.checked_mul(2)?)?;
        let fits = next.checked_mul(8).is_some_and(|bytes| isize::try_from(bytes).is_ok());
        let layout = Self {
            limits,
            words: 16,
            counters: 64,
            blobs,
            redo,
            inodes,
            handles,
            operations,
            log,
            checkpoints,
            end: next,
        };
        fits.then_some(layout)
    }
}
