//! Which files this process has open through SQLite.
//!
//! Called by [`super::connection`], which opens them, and by whoever has to read a file past SQLite. A process that closes any
//! descriptor of a file loses all of its POSIX locks on that file, those of its connections too: so a file is read directly only
//! while no connection has it open, and none is opened meanwhile.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::path::Identity;

/// Connections of each file.
static OPEN: LazyLock<Mutex<HashMap<Identity, usize>>> = LazyLock::new(Mutex::default);

fn open() -> MutexGuard<'static, HashMap<Identity, usize>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that a connection has open, or is about to open. To be dropped behind the connection.
#[derive(Debug)]
pub(super) struct Held(Identity);

impl Held {
    /// From now on the file is not read past SQLite.
    pub(super) fn new(file: Identity) -> Self {
        *open().entry(file).or_default() += 1;
        Self(file)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        }
    }
}

/// Reads a file while no connection has it open; none if one has. What is done must be short: connections wait for it.
pub(super) fn unless_open<T>(file: Identity, read: impl FnOnce() -> T) -> Option<T> {
    let open = open();
    (!open.contains_key(&file)).then(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_only_while_nobody_holds_it() {
        let file = Identity::new(u64::MAX, 1);
        assert_eq!(unless_open(file, || 1), Some(1));
        let (first, second) = (Held::new(file), Held::new(file));
        assert_eq!(unless_open(file, || 1), None);
        assert_eq!(unless_open(Identity::new(u64::MAX, 2), || 1), Some(1));
        drop(first);
        assert_eq!(unless_open(file, || 1), None);
        drop(second);
        assert_eq!(unless_open(file, || 1), Some(1));
    }
}
