//! `GET /db/list`: the databases of one directory.
//!
//! Called by [`super::super::Api`] on a thread that may block. It opens no database.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::io::Errno;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::{Answer, Call, Failure, Outcome, Roots, Work, path};
use super::directory::{Directory, Entry};

/// What the names of databases end with.
const EXTENSIONS: [&str; 3] = ["db", "sqlite", "sqlite3"];

/// The databases of a directory.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// Always true.
    pub success: bool,
    /// The directory, as clients call it.
    pub dir: String,
    /// How many databases there are.
    pub count: usize,
    /// The databases, newest first; null if there are none.
    pub databases: Option<Vec<Listed>>,
}

/// A database of a directory.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The name of the file.
    pub name: String,
    /// Its path, as clients call it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The same for people.
    pub size_str: String,
    /// When it was changed, as RFC 3339.
    pub modified: String,
    /// The same in seconds since 1970.
    pub mod_unix: i64,
    /// Whether it begins as a database does.
    pub is_valid: bool,
}

/// `GET /db/list`.
///
/// # Errors
/// 400 if the directory is not absolute, 403 if it lies outside of the root.
pub(in crate::api) fn list(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    let dir = match call.params.first("dir") {
        None => roots.root().to_owned(),
        Some(dir) => lexical(roots, dir)?,
    };
    let roots = roots.clone();
    Ok(Work::Aside(Box::new(move || listing(&roots, &dir))))
}

/// What a directory's path means, by its text.
fn lexical(roots: &Roots, dir: &str) -> Result<PathBuf, Failure> {
    if !dir.starts_with('/') || dir.contains('\0') {
        return Err(Failure::parameters("dir must be an absolute path"));
    }
    let cleaned = path::clean(Path::new(dir));
    let dir = match cleaned.strip_prefix(path::PUBLIC_ROOT) {
        Ok(below) if !cleaned.starts_with(roots.root()) => roots.root().join(below),
        _ => cleaned,
    };
    if roots.contains(&dir) { Ok(dir) } else { Err(forbidden()) }
}

fn forbidden() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "FORBIDDEN", "the directory lies outside of the root")
}

fn no_directory() -> Failure {
    Failure::parameters("dir is not a directory")
}

fn listing(roots: &Roots, dir: &Path) -> Outcome {
    let real = dir.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => no_directory(),
        io::ErrorKind::PermissionDenied => no_directory(),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => no_directory(),
        _ => Failure::internal(&error),
    })?;
    if !roots.contains(&real) {
        return Err(forbidden());
    }
    let directory = Directory::open(&real).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS => no_directory(),
        _ => Failure::internal(&error),
    })?;
    let mut entries = directory.files(is_wanted).map_err(|error| Failure::internal(&error))?;
    entries.sort_by(|one, other| (other.modified(), &one.name).cmp(&(one.modified(), &other.name)));
    let shown = roots.shown(&real);
    let listed: Vec<Listed> = entries.iter().map(|entry| listed(&directory, &shown, entry)).collect();
    let dir = shown.to_string_lossy().into_owned();
    let dir = dir.strip_suffix('/').filter(|dir| !dir.is_empty()).unwrap_or(&dir).to_owned();
    let databases = Some(listed).filter(|listed| !listed.is_empty());
    Answer::json(&Listing { success: true, dir, count: entries.len(), databases })
}

/// Whether a name can be sent back as one: other names could not be asked for.
fn is_wanted(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    name.to_str().is_some() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

fn listed(directory: &Directory, dir: &Path, entry: &Entry) -> Listed {
    let (mod_unix, _) = entry.modified();
    let modified = OffsetDateTime::from_unix_timestamp(mod_unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Listed {
        name: entry.name.to_string_lossy().into_owned(),
        path: dir.join(&entry.name).to_string_lossy().into_owned(),
        size: entry.size(),
        size_str: size_text(entry.size()),
        modified: modified.format(&Rfc3339).unwrap_or_default(),
        mod_unix,
        is_valid: directory.is_database(entry),
    }
}

/// `16.0 KB`; the steps are of 1024.
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    // Tenths of the unit, in whole numbers.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_of_1024() {
        let sizes = [0, 1023, 1024, 16384, 1_500_000, 5 << 30, u64::MAX].map(size_text);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KB", "16.0 KB", "1.4 MB", "5.0 GB", "15.9 EB"]);
    }
}
