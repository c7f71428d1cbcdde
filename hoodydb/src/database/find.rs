//! The databases below a directory, by what they begin with.
//!
//! Called for `--all` and `hoodydb db list`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::DatabaseError;
use crate::sqlite::family::{MAGIC, side_file};

/// Every database below a mount point, in the order of the paths, which are relative to it. No link is followed, and no other
/// file system entered. Encrypted ones are not known by their beginning.
///
/// # Errors
/// If the mount point cannot be read; what goes wrong below it is passed over.
pub fn databases_below(mountpoint: &Path) -> Result<Vec<PathBuf>, DatabaseError> {
    let fault = |source| DatabaseError::Io { action: "list", path: mountpoint.to_owned(), source };
    let device = mountpoint.metadata().map_err(fault)?.dev();
    let mut found = Vec::new();
    let mut directories = vec![mountpoint.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if directory == mountpoint => return Err(fault(error)),
            Err(_) => continue,
            Ok(entries) => entries,
        };
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                if path.symlink_metadata().is_ok_and(|meta| meta.dev() == device) {
                    directories.push(path);
                }
            } else if kind.is_ok_and(|kind| kind.is_file())
                && is_name_of_one(entry.file_name().as_encoded_bytes())
                && begins_as_one(&path).unwrap_or(false)
                && let Ok(below) = path.strip_prefix(mountpoint)
            {
                found.push(below.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Neither a side file nor the file of a restore that is under way.
fn is_name_of_one(name: &[u8]) -> bool {
    side_file(name).is_none() && !name.starts_with(b".hoodydb-")
}

fn begins_as_one(path: &Path) -> io::Result<bool> {
    let mut bytes = [0; MAGIC.len()];
    match File::open(path)?.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| bytes == *MAGIC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_databases_are_found() {
        let dir = std::env::temp_dir().join(format!("hoodydb-find-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        for name in ["z.db", "a/b/c", "a/x.db-journal", ".hoodydb-1-0.partial"] {
            std::fs::write(dir.join(name), [MAGIC.as_slice(), b"rest"].concat()).unwrap();
        }
        std::fs::write(dir.join("notes.txt"), b"SQLite").unwrap();
        std::os::unix::fs::symlink("z.db", dir.join("link.db")).unwrap();
        assert_eq!(databases_below(&dir).unwrap(), [Path::new("a/b/c"), Path::new("z.db")]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
