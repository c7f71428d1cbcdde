//! provisional
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

#[derive(Clone, Copy, Debug)]
pub enum Word { Generation, Serving, WorkerPid, KeeperPid, Ready, EndedAt, Restarts, Heartbeat, Wish, Request, Binary, MountDevice, StartedAt, Phase, StallNs, Passthrough }

#[derive(Debug, Default)]
pub struct Limits;
#[derive(Debug, Clone)]
pub struct Memory { inner: Arc<(OwnedFd, memmap2::MmapRaw)> }
#[derive(Debug, thiserror::Error)]
#[error("layout")]
pub struct LayoutError;
impl Memory {
    pub fn create(_: Limits) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("hoodydb", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, 1 << 20)?;
        Ok(Self::open(fd).unwrap())
    }
    pub fn open(fd: OwnedFd) -> Result<Self, LayoutError> {
        let map = memmap2::MmapRaw::map_raw(&fd).map_err(|_| LayoutError)?;
        Ok(Self { inner: Arc::new((fd, map)) })
    }
    pub fn share(&self) -> Self { self.clone() }
    pub fn number(&self) -> RawFd { self.inner.0.as_raw_fd() }
    pub fn word(&self, w: Word) -> &AtomicU64 { unsafe { AtomicU64::from_ptr(self.inner.1.as_mut_ptr().cast::<u64>().add(w as usize)) } }
    fn set(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.inner.1.as_mut_ptr().add(at + 8), bytes.len());
        AtomicU64::from_ptr(self.inner.1.as_mut_ptr().add(at).cast()).store(bytes.len() as u64, SeqCst) }
        Ok(())
    }
    fn get(&self, at: usize) -> Vec<u8> {
        unsafe { let len = AtomicU64::from_ptr(self.inner.1.as_mut_ptr().add(at).cast()).load(SeqCst);
        std::slice::from_raw_parts(self.inner.1.as_mut_ptr().add(at + 8), len as usize).to_vec() }
    }
    pub fn set_reason(&self, s: &str) { let _ = self.set(4096, s.as_bytes()); }
    pub fn reason(&self) -> String { String::from_utf8_lossy(&self.get(4096)).into_owned() }
    pub fn set_context(&self, s: &[u8]) -> io::Result<()> { self.set(8192, s) }
    pub fn context(&self) -> Vec<u8> { self.get(8192) }
    pub fn set_init_request(&self, s: &[u8]) -> io::Result<()> { self.set(100_000, s) }
    pub fn init_request(&self) -> Vec<u8> { self.get(100_000) }
    pub fn set_init_reply(&self, s: &[u8]) -> io::Result<()> { self.set(120_000, s) }
    pub fn init_reply(&self) -> Vec<u8> { self.get(120_000) }
    pub fn table_descriptors(&self) -> Vec<RawFd> { vec![] }
}
