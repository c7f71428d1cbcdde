//! SHA-256 and Zstandard over whole files, in pieces: the memory does not grow with the file.
//!
//! Called by `hoodydb backup` and `hoodydb restore`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::ArchiveError;

/// What is read at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Level of compression: Zstandard's default.
const LEVEL: i32 = 3;

/// Told the bytes of each piece; false ends the work.
pub type Counter<'a> = &'a dyn Fn(u64) -> bool;

/// The SHA-256 of a file in hexadecimal digits, and its size.
///
/// # Errors
/// Those of reading.
pub fn sha256_of(path: &Path, go_on: Counter<'_>) -> Result<(String, u64), ArchiveError> {
    let mut file = File::open(path).map_err(ArchiveError::io("open", path))?;
    let mut sum = Sha256::new();
    let bytes = pump(&mut file, path, go_on, |piece| {
        sum.update(piece);
        Ok(())
    })?;
    Ok((sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}

/// Compresses a file into another, which is empty.
///
/// # Errors
/// Those of reading and writing.
pub fn compress(from: &Path, into: &Path, go_on: Counter<'_>) -> Result<(), ArchiveError> {
    let mut source = File::open(from).map_err(ArchiveError::io("open", from))?;
    let target = File::options().write(true).open(into).map_err(ArchiveError::io("open", into))?;
    let mut encoder = zstd::Encoder::new(target, LEVEL).map_err(ArchiveError::io("compress into", into))?;
    // So that a damaged file is found out even without its manifest.
    encoder.include_checksum(true).map_err(ArchiveError::io("compress into", into))?;
    pump(&mut source, from, go_on, |piece| encoder.write_all(piece).map_err(ArchiveError::io("write", into)))?;
    encoder.finish().map_err(ArchiveError::io("write", into))?;
    Ok(())
}

/// Decompresses a file into another, which is empty.
///
/// # Errors
/// Those of reading and writing; a file that is damaged is one that cannot be read.
pub fn decompress(from: &Path, into: &Path, go_on: Counter<'_>) -> Result<(), ArchiveError> {
    let source = File::open(from).map_err(ArchiveError::io("open", from))?;
    let mut decoder = zstd::Decoder::new(source).map_err(ArchiveError::io("decompress", from))?;
    let mut target = File::options().write(true).open(into).map_err(ArchiveError::io("open", into))?;
    let unpacked =
        pump(&mut decoder, from, go_on, |piece| target.write_all(piece).map_err(ArchiveError::io("write", into)));
    match unpacked {
        // Not the kernel's words: the decoder's.
        Err(ArchiveError::Io { action: "read", path, source }) if source.raw_os_error().is_none() => {
            Err(ArchiveError::Packed { path, reason: source.to_string() })
        }
        unpacked => unpacked.map(|_| ()),
    }
}

fn pump(
    source: &mut impl Read,
    from: &Path,
    go_on: Counter<'_>,
    mut sink: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
) -> Result<u64, ArchiveError> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let read = match source.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(ArchiveError::io("read", from))?,
        };
        if read == 0 {
            return Ok(bytes);
        }
        sink(&piece[..read])?;
        bytes += read as u64;
        if !go_on(read as u64) {
            return Err(ArchiveError::Interrupted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_out_again() {
        let dir = std::env::temp_dir().join(format!("hoodydb-hash-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let [plain, packed, again] = ["plain", "packed", "again"].map(|name| dir.join(name));
        let text: Vec<u8> = (0..1_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        std::fs::write(&plain, &text).unwrap();
        std::fs::write(&packed, b"").unwrap();
        std::fs::write(&again, b"").unwrap();
        compress(&plain, &packed, &|_| true).unwrap();
        assert!(packed.metadata().unwrap().len() < 1_000_000);
        decompress(&packed, &again, &|_| true).unwrap();
        assert_eq!(std::fs::read(&again).unwrap(), text);
        assert!(matches!(compress(&plain, &packed, &|_| false), Err(ArchiveError::Interrupted)));
        std::fs::write(&plain, b"abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&plain, &|_| true).unwrap(), (sum.to_owned(), 3));
        assert!(decompress(&plain, &again, &|_| true).unwrap_err().to_string().contains("is no whole Zstandard file"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
