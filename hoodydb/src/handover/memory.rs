//! The map, word by word.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use memmap2::MmapRaw;
use rustix::fs::{MemfdFlags, SealFlags};

use super::layout::{LAYOUT_VERSION, Layout, LayoutError, Limits, MAGIC};

/// The shared memory; sharing it is cheap.
#[derive(Clone, Debug)]
pub struct Memory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    map: MmapRaw,
    layout: Layout,
}

impl Memory {
    /// New memory, all zero but for its header.
    ///
    /// # Errors
    /// ENOMEM, EMFILE; InvalidInput for limits beyond the address space.
    pub fn create(limits: Limits) -> io::Result<Self> {
        let layout = Layout::new(limits).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = rustix::fs::memfd_create("hoodydb", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, 8 * layout.end as u64)?;
        // Its size never changes: no access can meet a page that is not there.
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = Self::map(fd, layout)?;
        let header = [
            LAYOUT_VERSION,
            limits.inodes as u64,
            limits.handles as u64,
            limits.operations as u64,
            limits.log_bytes as u64,
            limits.checkpoint_bytes as u64,
        ];
        for (index, value) in header.into_iter().enumerate() {
            memory.put(1 + index, value);
        }
        memory.put(0, MAGIC);
        Ok(memory)
    }

    /// Memory that another process made.
    ///
    /// # Errors
    /// If it is something else, of another version, or of another size.
    pub fn open(fd: OwnedFd) -> Result<Self, LayoutError> {
        let mut header = [0; 56];
        match rustix::io::pread(&fd, &mut header, 0) {
            Ok(56) => (),
            Ok(_) => return Err(LayoutError::NotOurs),
            Err(error) => return Err(LayoutError::Map(error.into())),
        }
        let word = |index: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[8 * index + byte]));
        if word(0) != MAGIC {
            return Err(LayoutError::NotOurs);
        }
        if word(1) != LAYOUT_VERSION {
            return Err(LayoutError::Version { found: word(1) });
        }
        let size = |index| usize::try_from(word(index)).unwrap_or(usize::MAX);
        let limits = Limits {
            inodes: size(2),
            handles: size(3),
            operations: size(4),
            log_bytes: size(5),
            checkpoint_bytes: size(6),
        };
        let layout = Layout::new(limits).ok_or(LayoutError::NotOurs)?;
        let found = rustix::fs::fstat(&fd).map_err(io::Error::from)?.st_size;
        let (found, wanted) = (u64::try_from(found).unwrap_or(0), 8 * layout.end as u64);
        // Without the seal it could become shorter under the map.
        let sealed = rustix::fs::fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if found != wanted || !sealed {
            return Err(LayoutError::Size { found, wanted });
        }
        Ok(Self::map(fd, layout)?)
    }

    fn map(fd: OwnedFd, layout: Layout) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&fd)?;
        Ok(Self { inner: Arc::new(Inner { fd, map, layout }) })
    }

    /// The same memory.
    pub fn share(&self) -> Self {
        self.clone()
    }

    /// The number of its descriptor.
    pub fn number(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }

    /// Its descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.inner.fd
    }

    /// How much there is room for.
    pub fn limits(&self) -> Limits {
        self.inner.layout.limits
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// One word.
    ///
    /// # Panics
    /// If it lies outside of the memory.
    pub(super) fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.inner.layout.end, "word {index} of {}", self.inner.layout.end);
        // SAFETY: the map is `end` words long (checked when it was made, sealed since), starts at a page and lives as long as
        // `self`; every access by any process is an atomic one of a whole word.
        unsafe { AtomicU64::from_ptr(self.inner.map.as_mut_ptr().cast::<u64>().add(index)) }
    }

    pub(super) fn get(&self, index: usize) -> u64 {
        self.at(index).load(Acquire)
    }

    /// Every store goes through here: after any of them the process may be gone.
    pub(super) fn put(&self, index: usize, value: u64) {
        #[cfg(test)]
        super::tests::crash_point();
        self.at(index).store(value, Release);
    }

    /// Stores bytes from a word on, the last word filled up with zeros.
    pub(super) fn put_bytes(&self, index: usize, bytes: &[u8]) {
        for (offset, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.put(index + offset, u64::from_le_bytes(word));
        }
    }

    pub(super) fn get_bytes(&self, index: usize, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|offset| self.get(index + offset).to_le_bytes());
        words.take(length).collect()
    }

    /// Gives the pages of a range of words back to the kernel; they read as zero then.
    pub(super) fn discard(&self, index: usize, words: usize) {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        // Only memory would be wasted.
        let _ = rustix::fs::fallocate(&self.inner.fd, flags, 8 * index as u64, 8 * words as u64);
    }
}
