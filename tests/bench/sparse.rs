//! Large databases that take no room: real SQLite files whose middle is a hole of free pages. Called by [`crate::growth`].
//!
//! # Layout
//! ```text
//! page 1        header and schema
//! trunk pages   the freelist: each names up to 1,014 free pages
//! hole          free pages; SQLite never reads what it knows to be free
//! last pages    the table `items`, so that every SELECT reads beyond the hole
//! ```
//! # Source
//! <https://www.sqlite.org/fileformat2.html>, sections 1.3 (header) and 1.5 (freelist).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;

use crate::cases::Journal;
use crate::sqlite_client;

const PAGE_BYTES: u64 = 4096;
/// The page at 1 GiB that carries SQLite's locks and is never used.
const LOCK_PAGE: u64 = 0x4000_0000 / PAGE_BYTES + 1;
/// The last six entries of a trunk stay empty for SQLite before 3.6.0.
const LEAVES_PER_TRUNK: usize = PAGE_BYTES as usize / 4 - 8;

/// Makes a database of about `bytes`, or as large as its rows make it.
///
/// # Errors
/// If a file cannot be written, or SQLite finds the result unsound.
pub fn create(path: &Path, bytes: u64, journal: Journal) -> Result<()> {
    sqlite_client::remove(path)?;
    let connection = Connection::open(path).with_context(|| path.display().to_string())?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = delete;
        CREATE TABLE events(id INTEGER PRIMARY KEY, body TEXT);"
    ))?;
    connection.close().map_err(|(_, error)| error)?;
    let file = File::options().read(true).write(true).open(path)?;
    let used = file.metadata()?.len() / PAGE_BYTES;
    // The rows come behind; they take about 300 pages.
    let pages = (bytes / PAGE_BYTES).saturating_sub(300).max(used);
    file.set_len(pages * PAGE_BYTES)?;
    write_number(&file, 28, pages)?;
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    sqlite_client::fill_items(&transaction)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    write_freelist(&file, used + 1, pages)?;
    drop(file);
    let connection = Connection::open(path)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(verdict == "ok", "{}: {verdict}", path.display());
    connection.pragma_update(None, "journal_mode", journal.mode())?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Makes the pages `first..=last` free; the trunks are the first of them.
fn write_freelist(file: &File, first: u64, last: u64) -> Result<()> {
    let free: Vec<u64> = (first..=last).filter(|page| *page != LOCK_PAGE).collect();
    let trunks = free.len().div_ceil(LEAVES_PER_TRUNK + 1);
    let (trunks, leaves) = free.split_at(trunks);
    let mut rest = leaves.chunks(LEAVES_PER_TRUNK);
    for (index, trunk) in trunks.iter().enumerate() {
        let named = rest.next().unwrap_or_default();
        let next = trunks.get(index + 1).copied().unwrap_or(0);
        let mut page = Vec::with_capacity(PAGE_BYTES as usize);
        for number in [next, named.len() as u64].iter().chain(named) {
            page.extend(u32::try_from(*number)?.to_be_bytes());
        }
        file.write_all_at(&page, (trunk - 1) * PAGE_BYTES)?;
    }
    write_number(file, 32, trunks.first().copied().unwrap_or(0))?;
    write_number(file, 36, free.len() as u64)
}

/// Writes a field of the header.
fn write_number(file: &File, offset: u64, number: u64) -> Result<()> {
    let number = u32::try_from(number).context("SQLite has page numbers of 32 bits")?;
    Ok(file.write_all_at(&number.to_be_bytes(), offset)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use hoodydb_tests::Place;

    use super::*;

    #[test]
    fn a_sparse_database_is_sound_and_takes_no_room() -> Result<()> {
        let place = Place::new();
        let path = place.path().join("sparse.db");
        // Beyond the page that carries the locks, with more than one trunk.
        let bytes = 1_100_000_000;
        create(&path, bytes, Journal::DeleteFull)?;
        let metadata = std::fs::metadata(&path)?;
        assert!(metadata.len().abs_diff(bytes) < 1_000_000, "{} bytes", metadata.len());
        assert!(metadata.blocks() * 512 < 10_000_000, "{} blocks", metadata.blocks());
        let connection = Connection::open(&path)?;
        // What is free can be used.
        connection.execute("INSERT INTO events SELECT id, body FROM items", [])?;
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        assert_eq!(verdict, "ok");
        Ok(())
    }
}
