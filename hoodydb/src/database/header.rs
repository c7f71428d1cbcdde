//! The first 100 bytes of a database file.
//!
//! Read where SQLite itself says too little: why a file is none of its databases, or how long it should be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::DatabaseError;
use crate::model::printable;
use crate::sqlite::family::MAGIC;

/// Bytes of the header.
const HEADER_BYTES: u64 = 100;

/// What is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the file; 0 where an old SQLite wrote it, which did not keep this number.
    pub pages: u32,
    /// Whether readers look for a write-ahead log.
    pub is_wal: bool,
}

/// Looks at the header of a file and at its length.
///
/// # Errors
/// [`DatabaseError::Refused`] with the reason why the file is no whole database; the kernel's errors of reading.
pub fn look_at(path: &Path) -> Result<Header, DatabaseError> {
    let fault = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => DatabaseError::Missing(path.to_owned()),
        _ => DatabaseError::Io { action: "read", path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(fault)?;
    let size = file.metadata().map_err(fault)?.len();
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut bytes).map_err(fault)?;
    parse(&bytes, size).map_err(|why| DatabaseError::Refused(format!("{} {why}", printable(path))))
}

/// Parses a header, and compares it with the length of its file.
///
/// # Source
/// https://www.sqlite.org/fileformat2.html, 1.3
pub(super) fn parse(bytes: &[u8], size: u64) -> Result<Header, String> {
    if size == 0 {
        return Err("is empty".to_owned());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("does not begin as a database of SQLite does: it is another kind of file, or encrypted".to_owned());
    }
    if (bytes.len() as u64) < HEADER_BYTES {
        return Err(format!("is cut off: it ends after {size} bytes, within the header"));
    }
    let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let page_size = match u32::from(u16::from_be_bytes([bytes[16], bytes[17]])) {
        1 => 65_536,
        size => size,
    };
    if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return Err(format!("is damaged: its header tells pages of {page_size} bytes"));
    }
    if !(1..=2).contains(&bytes[18]) || !(1..=2).contains(&bytes[19]) {
        return Err(format!("has a file format that is not known (versions {} and {})", bytes[18], bytes[19]));
    }
    if bytes[21..24] != [64, 32, 32] {
        return Err("is damaged: its header has payload fractions that no SQLite writes".to_owned());
    }
    // The number of pages counts only where the same SQLite wrote the change counter.
    let pages = if number(24) == number(92) { number(28) } else { 0 };
    let expected = u64::from(pages) * u64::from(page_size);
    if size < expected {
        return Err(format!("is cut off: it has {size} bytes, its header tells {expected}"));
    }
    Ok(Header { page_size, pages, is_wal: bytes[19] == 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0x10, 0, 2, 2, 0, 64, 32, 32]);
        bytes.extend([0, 0, 0, 7, 0, 0, 0, 3]);
        bytes.resize(100, 0);
        bytes[92..96].copy_from_slice(&[0, 0, 0, 7]);
        bytes
    }

    #[test]
    fn a_whole_one() {
        assert_eq!(parse(&header(), 3 * 4096), Ok(Header { page_size: 4096, pages: 3, is_wal: true }));
        let mut largest = header();
        largest[16..18].copy_from_slice(&[0, 1]);
        assert_eq!(parse(&largest, 3 * 65_536).unwrap().page_size, 65_536);
        let mut old = header();
        old[92] = 1;
        assert_eq!(parse(&old, 4096).unwrap().pages, 0);
    }

    #[test]
    fn each_reason_is_told() {
        let why = |change: &dyn Fn(&mut Vec<u8>), size| {
            let mut bytes = header();
            change(&mut bytes);
            parse(&bytes, size).unwrap_err()
        };
        assert_eq!(why(&|_| (), 0), "is empty");
        assert!(why(&|bytes| bytes[0] = b'X', 12_288).contains("encrypted"));
        assert!(why(&|bytes| bytes.truncate(50), 50).contains("within the header"));
        assert!(why(&|bytes| bytes[17] = 3, 12_288).contains("pages of 4099 bytes"));
        assert!(why(&|bytes| bytes[19] = 9, 12_288).contains("versions 2 and 9"));
        assert!(why(&|bytes| bytes[21] = 1, 12_288).contains("payload"));
        assert_eq!(why(&|_| (), 12_287), "is cut off: it has 12287 bytes, its header tells 12288");
    }
}
