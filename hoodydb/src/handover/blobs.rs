//! Small texts that are replaced as a whole: two copies each, and a word that says which one counts.
//!
//! # Layout
//! Per blob: the word (0: nothing, 1: the first copy, 2: the second), then twice length and bytes.

use std::io;

use super::Memory;
use super::layout::BLOB_BYTES;

#[derive(Clone, Copy)]
enum Blob {
    InitRequest,
    InitReply,
    Context,
    Reason,
}

impl Memory {
    fn blob(&self, blob: Blob) -> (usize, usize) {
        let before: usize = BLOB_BYTES[..blob as usize].iter().map(|bytes| 1 + 2 * (1 + bytes / 8)).sum();
        (self.layout().blobs + before, BLOB_BYTES[blob as usize])
    }

    fn replace(&self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        let (start, room) = self.blob(blob);
        if bytes.len() > room {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} bytes, room for {room}", bytes.len())));
        }
        let next = if self.get(start) == 1 { 2 } else { 1 };
        let copy = start + 1 + (next - 1) * (1 + room / 8);
        self.put(copy, bytes.len() as u64);
        self.put_bytes(copy + 1, bytes);
        self.put(start, next as u64);
        Ok(())
    }

    fn read(&self, blob: Blob) -> Vec<u8> {
        let (start, room) = self.blob(blob);
        let copy = match self.get(start) {
            1 => start + 1,
            2 => start + 2 + room / 8,
            _ => return Vec::new(),
        };
        let length = usize::try_from(self.get(copy)).unwrap_or(0).min(room);
        self.get_bytes(copy + 1, length)
    }

    /// The kernel's INIT request.
    pub fn init_request(&self) -> Vec<u8> {
        self.read(Blob::InitRequest)
    }

    /// Keeps the kernel's INIT request.
    ///
    /// # Errors
    /// FileTooLarge beyond 512 bytes.
    pub fn set_init_request(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace(Blob::InitRequest, bytes)
    }

    /// The answer that the kernel got to INIT; empty until it did.
    pub fn init_reply(&self) -> Vec<u8> {
        self.read(Blob::InitReply)
    }

    /// Keeps the answer that the kernel got to INIT.
    ///
    /// # Errors
    /// FileTooLarge beyond 512 bytes.
    pub fn set_init_reply(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace(Blob::InitReply, bytes)
    }

    /// What a program must know that takes over.
    pub fn context(&self) -> Vec<u8> {
        self.read(Blob::Context)
    }

    /// Keeps what a program must know that takes over.
    ///
    /// # Errors
    /// FileTooLarge beyond 64 KiB.
    pub fn set_context(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace(Blob::Context, bytes)
    }

    /// Why the last worker ended.
    pub fn reason(&self) -> String {
        String::from_utf8_lossy(&self.read(Blob::Reason)).into_owned()
    }

    /// Keeps why a worker ended, cut off after 512 bytes.
    pub fn set_reason(&self, text: &str) {
        let (_, room) = self.blob(Blob::Reason);
        let end = text.floor_char_boundary(room);
        // It fits: it was cut off.
        let _ = self.replace(Blob::Reason, &text.as_bytes()[..end]);
    }
}
