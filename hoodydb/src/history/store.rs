//! The file: opened or made, put aside if it is broken, bounded.
//!
//! Called by the history's thread only; the file has one user, so it needs no locks that others could see.
//!
//! # Layout
//! `minutes(minute, path, part, ...)`: one row per minute, database and worker; parts of a minute are added up when they are
//! read. `holder` is JSON. `PRAGMA user_version` is the version of the layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};

use crate::model::Counters;
use crate::model::history::{LongestHold, Minute};
use crate::model::printable;

/// The version of the layout.
const VERSION: i64 = 1;

/// Largest file, in pages of 4 KiB: 64 MiB hold a day of 100 contended databases.
const PAGES_MAX: u32 = 16_384;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS minutes(
        minute INTEGER, path TEXT, part INTEGER, granted INTEGER, waited INTEGER,
        conflict INTEGER, deadline INTEGER, deadlock INTEGER, upgrade INTEGER, full INTEGER, interrupted INTEGER,
        wait_us_log2 TEXT, wait_max_ns INTEGER, wait_ns_total INTEGER, holder TEXT,
        PRIMARY KEY(minute, path, part)) WITHOUT ROWID;";

/// What can go wrong with the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// SQLite's answer.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A broken file cannot be put aside.
    #[error("it is broken, and cannot be put aside: {0}")]
    Aside(std::io::Error),
    /// Another version of hoodydb made it.
    #[error("it has version {0}, this hoodydb knows version {VERSION}")]
    Version(i64),
}

impl StoreError {
    /// Whether the file itself is bad, rather than the disk.
    fn is_broken(&self) -> bool {
        match self {
            // A table or a column is missing: another program's file.
            Self::Sqlite(rusqlite::Error::SqlInputError { .. }) => true,
            Self::Sqlite(error) => {
                let broken = [ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt];
                error.sqlite_error_code().is_some_and(|code| broken.contains(&code))
            }
            Self::Version(_) => true,
            Self::Aside(_) => false,
        }
    }
}

/// The open file.
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens or makes the file; one that is broken is put aside, and a new one made.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        match Self::try_open(path) {
            Err(error) if error.is_broken() => {
                put_aside(path).map_err(StoreError::Aside)?;
                tracing::warn!(file = printable(path), %error, "the history begins anew: its file was broken, and is put aside");
                Self::try_open(path)
            }
            opened => opened,
        }
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags)?;
        // One user: no WAL index is needed, and what a worker that was killed left is taken in by the next one.
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             PRAGMA journal_size_limit = 1048576; PRAGMA cache_size = -512; PRAGMA trusted_schema = OFF;",
        )?;
        connection.pragma_update(None, "max_page_count", PAGES_MAX)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let has_tables: bool = connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))?;
        if version != VERSION && has_tables {
            return Err(StoreError::Version(version));
        }
        connection.execute_batch(TABLE)?;
        connection.pragma_update(None, "user_version", VERSION)?;
        // Finds out now whether the columns are there.
        connection.prepare(SELECT)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Writes minutes, or writes them again as they are by now.
    pub(super) fn write(&mut self, minutes: &[Minute], part: u64) -> Result<(), StoreError> {
        match self.try_write(minutes, part) {
            Err(StoreError::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                // Its own bound, perhaps: the oldest quarter makes room.
                self.forget_quarter()?;
                self.try_write(minutes, part)
            }
            Err(error) if error.is_broken() => {
                *self = Self::start_anew(&self.path, &error)?;
                self.try_write(minutes, part)
            }
            written => written,
        }
    }

    fn start_anew(path: &Path, error: &StoreError) -> Result<Self, StoreError> {
        put_aside(path).map_err(StoreError::Aside)?;
        tracing::warn!(file = printable(path), %error, "the history begins anew: its file was broken, and is put aside");
        Self::try_open(path)
    }

    fn try_write(&mut self, minutes: &[Minute], part: u64) -> Result<(), StoreError> {
        if minutes.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO minutes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?;
            for minute in minutes {
                let counters = &minute.counters;
                let holder = minute.longest.as_ref().and_then(|hold| serde_json::to_string(hold).ok());
                insert.execute(params![
                    signed(minute.minute_unix_s),
                    minute.path,
                    signed(part),
                    signed(counters.granted),
                    signed(counters.waited),
                    signed(counters.refused_conflict),
                    signed(counters.refused_deadline),
                    signed(counters.refused_deadlock),
                    signed(counters.refused_upgrade),
                    signed(counters.refused_limit),
                    signed(counters.interrupted),
                    buckets_as_text(&counters.wait_us_log2),
                    signed(counters.wait_max_ns),
                    signed(counters.wait_ns_total),
                    holder,
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Forgets what is older.
    pub(super) fn forget_before(&mut self, unix_s: u64) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM minutes WHERE minute < ?1", [signed(unix_s)])?;
        Ok(())
    }

    fn forget_quarter(&mut self) -> Result<(), StoreError> {
        let quarter =
            "DELETE FROM minutes WHERE minute <= (SELECT min(minute) + (max(minute) - min(minute)) / 4 FROM minutes)";
        self.connection.execute(quarter, [])?;
        Ok(())
    }

    /// Minutes since a time, the oldest first.
    pub(super) fn read(&self, since_unix_s: u64, path: Option<&str>) -> Result<Vec<Minute>, StoreError> {
        let mut select = self.connection.prepare_cached(SELECT)?;
        let rows = select.query_map(params![signed(since_unix_s), path], minute_of)?;
        let mut minutes: BTreeMap<(u64, String), Minute> = BTreeMap::new();
        for row in rows {
            let part = row?;
            let minute = minutes.entry((part.minute_unix_s, part.path.clone())).or_insert_with(|| Minute {
                minute_unix_s: part.minute_unix_s,
                path: part.path.clone(),
                ..Minute::default()
            });
            minute.add(&part.counters, part.longest);
        }
        Ok(minutes.into_values().collect())
    }
}

const SELECT: &str = "SELECT minute, path, granted, waited, conflict, deadline, deadlock, upgrade, full, interrupted,
    wait_us_log2, wait_max_ns, wait_ns_total, holder, part
    FROM minutes WHERE minute >= ?1 AND (?2 IS NULL OR path = ?2) ORDER BY minute, path, part";

fn minute_of(row: &Row<'_>) -> rusqlite::Result<Minute> {
    let number = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let holder: Option<String> = row.get(13)?;
    Ok(Minute {
        minute_unix_s: number(0)?,
        path: row.get(1)?,
        counters: Counters {
            granted: number(2)?,
            waited: number(3)?,
            refused_conflict: number(4)?,
            refused_deadline: number(5)?,
            refused_deadlock: number(6)?,
            refused_upgrade: number(7)?,
            refused_limit: number(8)?,
            interrupted: number(9)?,
            wait_us_log2: buckets_of_text(&row.get::<_, String>(10)?),
            wait_max_ns: number(11)?,
            wait_ns_total: number(12)?,
        },
        longest: holder.and_then(|holder| serde_json::from_str::<LongestHold>(&holder).ok()),
    })
}

/// SQLite's integers have a sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Without the zeros at the end: most waits are short.
fn buckets_as_text(buckets: &[u64; 32]) -> String {
    let used = buckets.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    let words: Vec<String> = buckets[..used].iter().map(u64::to_string).collect();
    words.join(",")
}

fn buckets_of_text(text: &str) -> [u64; 32] {
    let mut buckets = [0; 32];
    for (bucket, word) in buckets.iter_mut().zip(text.split(',')) {
        *bucket = word.parse().unwrap_or(0);
    }
    buckets
}

/// One broken file is kept for whoever wants to know why.
fn put_aside(path: &Path) -> std::io::Result<()> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    for side in ["-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(with(side));
    }
    std::fs::rename(path, with(".broken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcessName;

    /// A file in a directory of its own, removed with the value.
    struct File(PathBuf);

    impl File {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("hoodydb-history-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&directory);
            std::fs::create_dir_all(&directory).unwrap();
            Self(directory.join("history.db"))
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    fn minute(at: u64, path: &str, granted: u64) -> Minute {
        let mut counters = Counters { granted, waited: 2, refused_deadline: 1, ..Counters::default() };
        counters.wait_us_log2[4] = 2;
        let process = ProcessName { pid: 7, command: "a\u{1b}b".to_owned() };
        let longest = LongestHold { process, role: "WRITE".to_owned(), held_ms: granted, container: None };
        Minute { minute_unix_s: at, path: path.to_owned(), counters, longest: Some(longest) }
    }

    #[test]
    fn what_was_written_is_read_after_a_restart() {
        let file = File::new("restart");
        let minutes = [minute(60, "a.db", 5), minute(120, "b.db", 6)];
        Store::open(&file.0).unwrap().write(&minutes, 1).unwrap();
        let store = Store::open(&file.0).unwrap();
        assert_eq!(store.read(0, None).unwrap(), minutes);
        assert_eq!(store.read(61, None).unwrap(), minutes[1..]);
        assert_eq!(store.read(0, Some("a.db")).unwrap(), minutes[..1]);
        assert_eq!(store.read(0, Some("' OR 1")).unwrap(), []);
    }

    #[test]
    fn a_minute_is_written_again_and_its_parts_add_up() {
        let file = File::new("parts");
        let mut store = Store::open(&file.0).unwrap();
        store.write(&[minute(60, "a.db", 5)], 1).unwrap();
        store.write(&[minute(60, "a.db", 8)], 1).unwrap();
        store.write(&[minute(60, "a.db", 3)], 2).unwrap();
        let read = store.read(0, None).unwrap();
        assert_eq!((read.len(), read[0].counters.granted, read[0].counters.wait_us_log2[4]), (1, 11, 4));
        assert_eq!(read[0].longest.as_ref().map(|hold| hold.held_ms), Some(8));
    }

    #[test]
    fn the_old_is_forgotten() {
        let file = File::new("old");
        let mut store = Store::open(&file.0).unwrap();
        store.write(&[minute(60, "a", 1), minute(120, "a", 1), minute(180, "a", 1), minute(300, "a", 1)], 1).unwrap();
        store.forget_before(100).unwrap();
        assert_eq!(store.read(0, None).unwrap().len(), 3);
        store.forget_quarter().unwrap();
        assert_eq!(store.read(0, None).unwrap()[0].minute_unix_s, 180);
    }

    #[test]
    fn a_full_file_makes_room_for_the_new() {
        let file = File::new("full");
        let mut store = Store::open(&file.0).unwrap();
        store.connection.pragma_update(None, "max_page_count", 40).unwrap();
        for at in 0..2_000_u64 {
            store.write(&[minute(at * 60, "a/long/path/of/a/database.db", at)], 1).unwrap();
        }
        let kept = store.read(0, None).unwrap();
        assert!(kept.len() < 2_000, "{}", kept.len());
        assert_eq!(kept.last().unwrap().minute_unix_s, 1_999 * 60);
    }

    #[test]
    fn a_broken_file_is_put_aside() {
        for garbage in [&b"no database, but long enough to have a header of its own"[..], &[0xff; 8192]] {
            let file = File::new("broken");
            std::fs::write(&file.0, garbage).unwrap();
            let mut store = Store::open(&file.0).unwrap();
            store.write(&[minute(60, "a.db", 5)], 1).unwrap();
            assert_eq!(store.read(0, None).unwrap().len(), 1);
            assert_eq!(std::fs::read(file.0.with_extension("db.broken")).unwrap(), garbage);
        }
    }

    #[test]
    fn a_file_of_another_program_or_version_is_put_aside() {
        let file = File::new("foreign");
        for table in ["CREATE TABLE other(x)", "CREATE TABLE minutes(x); PRAGMA user_version = 1"] {
            Connection::open(&file.0).unwrap().execute_batch(table).unwrap();
            let mut store = Store::open(&file.0).unwrap();
            store.write(&[minute(60, "a.db", 5)], 1).unwrap();
            drop(store);
            std::fs::remove_file(&file.0).unwrap();
        }
    }

    #[test]
    fn no_directory_is_an_error_and_no_panic() {
        assert!(Store::open(Path::new("/nonexistent/history.db")).is_err());
    }

    #[test]
    fn buckets_are_text_and_back() {
        let mut buckets = [0; 32];
        (buckets[0], buckets[31]) = (3, 9);
        assert_eq!(buckets_of_text(&buckets_as_text(&buckets)), buckets);
        assert_eq!(buckets_as_text(&[0; 32]), "");
        assert_eq!(buckets_of_text("x,,9")[2], 9);
    }
}
