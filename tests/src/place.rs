//! A temporary directory of one test. Called by [`crate::Mount`] and by tests that need a plain disk to compare with.
//!
//! It never removes what lies below a mount: whatever is still mounted inside is detached first.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::UnmountFlags;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A directory that is removed with the value.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// Makes one in the system's temporary directory (or `HOODYDB_TEST_DIR`).
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        let base = std::env::var_os("HOODYDB_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self::within(&base)
    }

    /// Makes one inside `base`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn within(base: &Path) -> Self {
        let name = format!("hoodydb-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(name);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A new directory inside.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for below in mounts_below(&self.0) {
            let _ = rustix::mount::unmount(&below, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
        if mounts_below(&self.0).is_empty() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Mount points below a directory, the innermost first.
fn mounts_below(top: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<_> = points.filter(|point| point.starts_with(top)).collect();
    below.reverse();
    below
}
