//! Files that are not whole yet: `.hoodydb-TAG.partial` beside their final place, locked by flock(2) while their writer lives.
//!
//! Called by backup, restore and vacuum. What a killed writer left has no lock any more, and the next one removes it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::fs::{FlockOperation, flock};

use super::ArchiveError;

const BEGIN: &str = ".hoodydb-";
const END: &str = ".partial";

/// What SQLite may put beside a file.
const SIDE_FILES: [&str; 3] = ["-journal", "-wal", "-shm"];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// An empty file that will have another name, or none.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    is_published: bool,
}

impl Partial {
    /// Makes one in a directory, for its owner only.
    ///
    /// # Errors
    /// Those of making it: `ENOENT`, `EACCES`, `ENOSPC`.
    pub fn new(directory: &Path) -> Result<Self, ArchiveError> {
        // Between its making and its lock nobody may take it for one that was left.
        let _guard = hold(directory)?;
        let tag = format!("{BEGIN}{}-{}{END}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = directory.join(tag);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(ArchiveError::io("make a file in", directory))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .map_err(ArchiveError::io("lock", &path))?;
        Ok(Self { file, path, is_published: false })
    }

    /// Its path while it is not whole.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts everything on the disk.
    ///
    /// # Errors
    /// Those of fsync(2).
    pub fn sync(&self) -> Result<(), ArchiveError> {
        self.file.sync_all().map_err(ArchiveError::io("sync", &self.path))
    }

    /// Gives it its name; `replace` says whether another file may have it so far.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(mut self, name: &Path, replace: bool) -> Result<(), ArchiveError> {
        use rustix::fs::{CWD, RenameFlags};
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(CWD, &self.path, CWD, name, flags)
            .map_err(io::Error::from)
            .map_err(ArchiveError::io("give its name to", name))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_published {
            remove_with_side_files(&self.path);
        }
    }
}

/// Removes what killed writers left in a directory; says how many files that were.
///
/// # Errors
/// If the directory cannot be read.
pub fn clean(directory: &Path) -> Result<usize, ArchiveError> {
    let _guard = hold(directory)?;
    let mut removed = 0;
    for entry in std::fs::read_dir(directory).map_err(ArchiveError::io("list", directory))?.flatten() {
        let name = entry.file_name();
        let is_partial = name.to_str().is_some_and(|name| name.starts_with(BEGIN) && name.ends_with(END));
        if is_partial && is_left(&entry.path()) {
            remove_with_side_files(&entry.path());
            removed += 1;
        }
    }
    Ok(removed + super::publish::remove_lone_manifests(directory)?)
}

/// Whether nobody writes to it any more.
fn is_left(path: &Path) -> bool {
    let opened = File::open(path);
    opened.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
}

fn remove_with_side_files(path: &Path) {
    for ending in SIDE_FILES {
        let mut side = path.as_os_str().to_owned();
        side.push(ending);
        let _ = std::fs::remove_file(side);
    }
    let _ = std::fs::remove_file(path);
}

/// The directory's lock: whoever makes, names or cleans away files in it has it for that moment.
pub(super) fn hold(directory: &Path) -> Result<File, ArchiveError> {
    let opened = File::open(directory).map_err(ArchiveError::io("open", directory))?;
    flock(&opened, FlockOperation::LockExclusive)
        .map_err(io::Error::from)
        .map_err(ArchiveError::io("lock", directory))?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_to_is_cleaned_away() {
        let dir = std::env::temp_dir().join(format!("hoodydb-partial-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let left = dir.join(format!("{BEGIN}1-0{END}"));
        for ending in ["", "-journal"] {
            std::fs::write(format!("{}{ending}", left.display()), b"x").unwrap();
        }
        let at_work = Partial::new(&dir).unwrap();
        std::fs::write(dir.join("other"), b"x").unwrap();
        assert_eq!(clean(&dir).unwrap(), 1);
        assert!(at_work.path().exists() && std::fs::read_dir(&dir).unwrap().count() == 2);
        let name = dir.join("whole");
        at_work.rename(&name, false).unwrap();
        assert!(Partial::new(&dir).unwrap().rename(&name, false).is_err(), "a file has that name");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
