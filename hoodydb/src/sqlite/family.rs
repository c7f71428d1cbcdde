//! The files of one database, by their names: `X`, `X-journal`, `X-wal`, `X-shm`.

/// The first 16 bytes of every database that is not encrypted.
///
/// # Source
/// https://www.sqlite.org/fileformat2.html, 1.3.1
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What a name says a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The rollback journal.
    Journal,
    /// The write-ahead log.
    Wal,
    /// The WAL index.
    WalIndex,
}

/// Splits the name of a side file into the name of its database and what it is to it; `None` for other names.
///
/// # Source
/// pager.c (`sqlite3PagerOpen`: "-journal", "-wal"), os_unix.c (`unixOpenSharedMemory`: "-shm").
pub fn side_file(name: &[u8]) -> Option<(&[u8], Member)> {
    [(&b"-journal"[..], Member::Journal), (b"-wal", Member::Wal), (b"-shm", Member::WalIndex)]
        .into_iter()
        .find_map(|(suffix, member)| name.strip_suffix(suffix).map(|stem| (stem, member)))
        .filter(|(stem, _)| !stem.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_files_name_their_database() {
        assert_eq!(side_file(b"app.db-wal"), Some((&b"app.db"[..], Member::Wal)));
        assert_eq!(side_file(b"app.db-shm"), Some((&b"app.db"[..], Member::WalIndex)));
        assert_eq!(side_file(b"a-journal"), Some((&b"a"[..], Member::Journal)));
        assert_eq!(side_file(b"app.db"), None);
        assert_eq!(side_file(b"-wal"), None);
    }
}
