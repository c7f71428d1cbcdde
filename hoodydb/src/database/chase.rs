//! Copies a database with a rollback journal that is written to all the time: once without any lock, then, while writers are kept
//! out, whatever is not the same any more.
//!
//! Called by [`super::copy`]. With a rollback journal the file is the database while nobody can write to it. So the first copy need
//! not make sense, and the writers wait for a comparison, which takes a third of the time of a copy.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::DatabaseError;
use super::pace::Pace;
use super::watch::{Hold, Watch};

/// What is copied or compared at once, in bytes.
const PIECE_BYTES: u64 = 512 * 1024;

/// The most that is asked for at once, in bytes: each thread has two buffers of it.
const PIECE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is written again if a byte of it is another, in bytes.
const BLOCK_BYTES: usize = 32 * 1024;

/// Threads that compare. More than two would take the processors from those who only wait to read.
const THREADS: u64 = 2;

/// The two files.
pub(super) struct Chase<'a> {
    source: &'a Path,
    target: &'a Path,
    from: File,
    into: File,
    /// Bytes of a piece.
    piece: u64,
    watch: &'a dyn Watch,
}

impl<'a> Chase<'a> {
    /// Opens both. On the mount the closing of a descriptor takes no lock from the connections of this process, unlike on other
    /// file systems.
    pub(super) fn new(
        source: &'a Path,
        target: &'a Path,
        piece: Option<u64>,
        watch: &'a dyn Watch,
    ) -> Result<Self, DatabaseError> {
        let from = File::open(source).map_err(|error| DatabaseError::io("open", source, error))?;
        let into = File::options().read(true).write(true).truncate(true).open(target);
        let into = into.map_err(|error| DatabaseError::io("open", target, error))?;
        Ok(Self { source, target, from, into, piece: piece.unwrap_or(PIECE_BYTES).min(PIECE_MAX_BYTES), watch })
    }

    /// Whether the path still leads to the file that was opened.
    pub(super) fn is_the_same_file(&self) -> bool {
        let same =
            |one: &std::fs::Metadata, other: &std::fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        matches!((self.source.metadata(), self.from.metadata()), (Ok(named), Ok(opened)) if same(&named, &opened))
    }

    /// Copies what is there, in no order that makes sense to SQLite, with a rest after each piece.
    pub(super) fn copy(&self, pace: &Pace<'_>) -> Result<(), DatabaseError> {
        let mut bytes = vec![0; usize_of(self.piece)];
        let mut at = 0;
        loop {
            if let Some(stop) = self.watch.stop(Hold::Nobody) {
                return Err(stop.into());
            }
            let begun = Instant::now();
            let size = self.from.metadata().map_err(|error| DatabaseError::io("read", self.source, error))?.len();
            let piece = usize_of(self.piece.min(size.saturating_sub(at)));
            let piece = self.read(&self.from, self.source, &mut bytes[..piece], at)?;
            if piece == 0 {
                return Ok(());
            }
            self.write(&bytes[..piece], at)?;
            at += piece as u64;
            self.watch.progress(at / 512, size / 512);
            pace.copied(piece as u64, begun)?;
        }
    }

    /// Makes the target what the first `size` bytes of the source are. Nobody may write to the source meanwhile.
    pub(super) fn settle(&self, size: u64) -> Result<(), DatabaseError> {
        self.into.set_len(size).map_err(|error| DatabaseError::io("write", self.target, error))?;
        let next = AtomicU64::new(0);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    if let Err(error) = self.settle_pieces(size, &next) {
                        // The others find no further piece.
                        next.store(size, Relaxed);
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn settle_pieces(&self, size: u64, next: &AtomicU64) -> Result<(), DatabaseError> {
        let (mut theirs, mut ours) = (vec![0; usize_of(self.piece)], vec![0; usize_of(self.piece)]);
        loop {
            let at = next.fetch_add(self.piece, Relaxed);
            if at >= size {
                return Ok(());
            }
            if let Some(stop) = self.watch.stop(Hold::Others) {
                return Err(stop.into());
            }
            let length = usize_of(self.piece.min(size - at));
            let (theirs, ours) = (&mut theirs[..length], &mut ours[..length]);
            let fill = |read, path: &Path| match read == length {
                true => Ok(()),
                false => Err(DatabaseError::io("read", path, io::ErrorKind::UnexpectedEof.into())),
            };
            fill(self.read(&self.from, self.source, theirs, at)?, self.source)?;
            fill(self.read(&self.into, self.target, ours, at)?, self.target)?;
            for (index, block) in theirs.chunks(BLOCK_BYTES).enumerate() {
                let begin = index * BLOCK_BYTES;
                if *block != ours[begin..begin + block.len()] {
                    self.write(block, at + begin as u64)?;
                }
            }
            self.watch.progress(at / 512, size / 512);
        }
    }

    /// Reads until the buffer is full or the file ends.
    fn read(&self, file: &File, path: &Path, bytes: &mut [u8], at: u64) -> Result<usize, DatabaseError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(DatabaseError::io("read", path, error)),
            }
        }
        Ok(filled)
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), DatabaseError> {
        self.into.write_all_at(bytes, at).map_err(|error| DatabaseError::io("write", self.target, error))
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Unwatched;

    #[test]
    fn what_changed_after_the_copy_is_made_the_same() {
        let dir = std::env::temp_dir().join(format!("hoodydb-chase-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (source, target) = (dir.join("source"), dir.join("target"));
        let mut content: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 1000) as u8).collect();
        std::fs::write(&source, &content).unwrap();
        std::fs::write(&target, b"what was there").unwrap();
        let huge = Chase::new(&source, &target, Some(u64::MAX), &Unwatched).unwrap();
        assert_eq!(huge.piece, PIECE_MAX_BYTES);
        let chase = Chase::new(&source, &target, None, &Unwatched).unwrap();
        chase.copy(&Pace::new(&target, true, &Unwatched).unwrap()).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), content);
        for at in [0, 700_000, 1_048_575, 1_048_576, 2_999_999] {
            content[at] ^= 1;
        }
        for size in [3_000_000, 3_600_000, 2_000_000] {
            content.resize(size, 7);
            std::fs::write(&source, &content).unwrap();
            chase.settle(size as u64).unwrap();
            assert!(std::fs::read(&target).unwrap() == content, "{size}");
        }
        let longer = chase.settle(4_000_000).unwrap_err().to_string();
        assert!(longer.contains("cannot read") && longer.contains("source"), "{longer}");
        assert!(chase.is_the_same_file());
        std::fs::rename(&source, dir.join("other")).unwrap();
        assert!(!chase.is_the_same_file());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
