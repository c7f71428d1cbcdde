//! From what a request calls a database to the file that may be opened, never out of the root.
//!
//! Called by [`super::Api`] and the endpoints that name files. [`lexical`] looks at text only; [`resolve`] looks at the disk, each
//! time anew, and what it gives has no symlink in it, so that SQLite can refuse any that appears later.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::Failure;

/// The root as requests may always spell it.
pub const PUBLIC_ROOT: &str = "/hoody/databases";

/// Where databases may lie.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The directory of the databases, without symlinks.
    real: PathBuf,
    /// Whether absolute paths outside of it are served too.
    any_absolute: bool,
}

impl Roots {
    /// Resolves the root once.
    ///
    /// # Errors
    /// Those of resolving it.
    pub fn new(root: &Path, any_absolute: bool) -> io::Result<Self> {
        Ok(Self { real: root.canonicalize()?, any_absolute })
    }

    /// The directory of the databases.
    pub fn root(&self) -> &Path {
        &self.real
    }

    /// The absolute path that a request's `db`, `path` or `dest_path` means; looks at its text only.
    ///
    /// # Errors
    /// 400 INVALID_DB_PATH, or PATH_IS_DIRECTORY for the root itself.
    pub fn lexical(&self, name: &str) -> Result<PathBuf, Failure> {
        if name.is_empty() {
            return Err(Failure::path("the path of the database is empty"));
        }
        if name.contains(['?', '#', '\0']) {
            return Err(Failure::path("a path must not contain '?', '#' or NUL"));
        }
        if name.starts_with('/') { self.absolute(name) } else { self.bare(name) }
    }

    fn bare(&self, name: &str) -> Result<PathBuf, Failure> {
        let name = name.strip_prefix("./").unwrap_or(name);
        if name == ":memory:" {
            return Err(Failure::path("in-memory databases are not supported"));
        }
        if name.contains(['/', '\\']) {
            return Err(Failure::path("relative paths are not supported: use a name, or an absolute path"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(Failure::path("invalid database name; allowed: letters, numbers, dot, dash, underscore"));
        }
        let has_extension = Path::new(name).extension().is_some_and(|extension| !extension.is_empty());
        let file = if has_extension { name.to_owned() } else { format!("{name}.db") };
        Ok(self.real.join(file))
    }

    fn absolute(&self, name: &str) -> Result<PathBuf, Failure> {
        let cleaned = clean(Path::new(name));
        if cleaned.file_name() == Some(OsStr::new(":memory:")) {
            return Err(Failure::path("in-memory databases are not supported"));
        }
        let path = match cleaned.strip_prefix(PUBLIC_ROOT) {
            Ok(below) if !cleaned.starts_with(&self.real) => self.real.join(below),
            _ => cleaned,
        };
        if path == self.real || path == Path::new("/") {
            return Err(is_directory());
        }
        if !self.any_absolute && !path.starts_with(&self.real) {
            return Err(outside());
        }
        Ok(path)
    }

    /// As a client calls it: below the root that it knows.
    pub fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.real).map_or_else(|_| path.to_owned(), |below| Path::new(PUBLIC_ROOT).join(below))
    }

    /// Whether a directory without symlinks in its path is the root or lies below it.
    pub fn contains(&self, real: &Path) -> bool {
        self.any_absolute || real.starts_with(&self.real)
    }

    /// Looks at the disk: resolves the parent directory, and tells what lies under the name.
    ///
    /// # Errors
    /// 400 INVALID_DB_PATH if the parent leads out of the root or the name is a symlink or no regular file, PATH_IS_DIRECTORY,
    /// 400 DATABASE_NOT_FOUND if the parent does not exist, 500 if the disk fails.
    pub fn resolve(&self, path: &Path) -> Result<Place, Failure> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(is_directory()) };
        let parent = if parent == self.real {
            self.real.clone()
        } else {
            let real = parent.canonicalize().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => no_database(),
                io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
                    Failure::path("a parent of the path is no directory")
                }
                io::ErrorKind::PermissionDenied => Failure::path("a parent of the path is not accessible"),
                _ if error.raw_os_error() == Some(40) => Failure::path("a parent of the path is a loop of symlinks"),
                _ => Failure::internal(&error),
            })?;
            if !self.contains(&real) {
                return Err(outside());
            }
            real
        };
        let path = parent.join(name);
        let identity = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                return Err(Failure::path("the name is too long"));
            }
            Err(error) => return Err(Failure::internal(&error)),
            Ok(meta) => Some(identity(&meta)?),
        };
        Ok(Place { path, identity })
    }
}

/// A name in a directory, both without symlinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path.
    pub path: PathBuf,
    /// The file there, if there is one.
    pub identity: Option<Identity>,
}

/// Which file it is: a name may be given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    dev: u64,
    ino: u64,
}

impl Identity {
    /// By the numbers that stat(2) gives.
    pub(super) fn new(dev: u64, ino: u64) -> Self {
        Self { dev, ino }
    }
}

fn identity(meta: &std::fs::Metadata) -> Result<Identity, Failure> {
    let kind = meta.file_type();
    if kind.is_symlink() {
        return Err(Failure::path("the database is a symlink"));
    }
    if kind.is_dir() {
        return Err(is_directory());
    }
    if !kind.is_file() || kind.is_fifo() || kind.is_socket() {
        return Err(Failure::path("the path is no regular file"));
    }
    if meta.len() == 0 {
        return Err(no_header());
    }
    Ok(Identity { dev: meta.dev(), ino: meta.ino() })
}

/// Removes `.`, `..` and doubled slashes, as text.
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => _ = cleaned.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => (),
        }
    }
    cleaned
}

fn outside() -> Failure {
    Failure::path("absolute database paths outside /hoody/databases are disallowed")
}

fn is_directory() -> Failure {
    Failure { code: "PATH_IS_DIRECTORY", ..Failure::path("the path is a directory") }
}

/// 400: there is no file, and the request may not make one.
pub fn no_database() -> Failure {
    Failure { code: "DATABASE_NOT_FOUND", ..Failure::path("the database does not exist") }
}

/// 400: there is a file, and it is no SQLite database.
pub fn no_header() -> Failure {
    Failure { code: "INVALID_SQLITE_HEADER", ..Failure::path("the file is not a SQLite database") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(any_absolute: bool) -> Roots {
        Roots { real: "/srv/db".into(), any_absolute }
    }

    #[test]
    fn names_and_absolute_paths_lead_below_the_root() {
        let path = |name| roots(false).lexical(name).unwrap();
        assert_eq!(path("app"), Path::new("/srv/db/app.db"));
        assert_eq!(path("./app"), Path::new("/srv/db/app.db"));
        assert_eq!(path("app.sqlite"), Path::new("/srv/db/app.sqlite"));
        assert_eq!(path("/hoody/databases/sub/x"), Path::new("/srv/db/sub/x"));
        assert_eq!(path("/srv/db//sub/../x.db"), Path::new("/srv/db/x.db"));
        assert_eq!(roots(true).lexical("/etc/x.db"), Ok("/etc/x.db".into()));
    }

    #[test]
    fn whatever_leads_elsewhere_is_refused() {
        let refused = |name: &str| roots(false).lexical(name).unwrap_err();
        for name in
            ["data/app.db", "../x", "./dir/x.db", "a\\b", ":memory:", "file:x", "a b", "é", ".", "..", ".hidden", "./"]
        {
            assert_eq!(refused(name).code, "INVALID_DB_PATH", "{name}");
        }
        for name in
            ["", "/x/:memory:", "/etc/passwd", "/srv/db/../x", "/srv/dbx", "a?b", "a#b", "a\0b", "/srv/db/a?mode=ro"]
        {
            assert_eq!(refused(name).code, "INVALID_DB_PATH", "{name}");
        }
        assert_eq!(refused("/hoody/databases/..").code, "INVALID_DB_PATH");
        for name in ["/srv/db", "/srv/db/", "/hoody/databases", "/srv/db/x/.."] {
            assert_eq!(refused(name).code, "PATH_IS_DIRECTORY", "{name}");
        }
    }
}
