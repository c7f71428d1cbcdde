//! Names of the sockets, and of the logs beside them.
//!
//! Called by the server and the client. The name of a socket tells its mount point, so that a directory listing is the list of
//! mounts.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Longest file name of a socket without its ending: with the ending and a directory of 15 characters it still fits the
/// 108 bytes of `sun_path` (unix(7)).
const NAME_MAX_BYTES: usize = 86;

/// The directory of the sockets: `/run/hoodydb`, or what HOODYDB_RUN_DIR says.
pub fn run_dir() -> PathBuf {
    std::env::var_os("HOODYDB_RUN_DIR").filter(|dir| !dir.is_empty()).map_or("/run/hoodydb".into(), PathBuf::from)
}

/// The socket of a mount point.
pub fn socket_path(run_dir: &Path, mountpoint: &Path) -> PathBuf {
    run_dir.join(format!("{}.sock", escaped_name(mountpoint)))
}

/// The log of a daemon that runs in the background.
pub fn log_path(run_dir: &Path, mountpoint: &Path) -> PathBuf {
    run_dir.join(format!("{}.log", escaped_name(mountpoint)))
}

/// The mount point that a socket's file name stands for; `None` for other files and for shortened names.
pub fn mountpoint_of(file_name: &OsStr) -> Option<PathBuf> {
    let name = file_name.as_bytes().strip_suffix(b".sock")?;
    if name.contains(&b'~') {
        return None;
    }
    let mut bytes = vec![b'/'];
    let mut rest = name.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'-' => bytes.push(b'/'),
            b'\\' => {
                let digits = rest.as_slice().strip_prefix(b"x")?.get(..2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest.nth(2);
            }
            other => bytes.push(*other),
        }
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// `/hoody/my-db` as `hoody-my\x2ddb`: systemd's way to make one file name of a path.
fn escaped_name(mountpoint: &Path) -> String {
    let mut name = String::new();
    for byte in mountpoint.as_os_str().as_bytes().iter().skip_while(|byte| **byte == b'/') {
        match byte {
            b'/' => name.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => name.push(char::from(*byte)),
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    if name.len() > NAME_MAX_BYTES {
        let hash = fnv1a(mountpoint.as_os_str().as_bytes());
        name.truncate(NAME_MAX_BYTES - 17);
        name.push_str(&format!("~{hash:016x}"));
    }
    name
}

/// FNV-1a: short, and the same in every version.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> String {
        let path = socket_path(Path::new("/run"), Path::new(path));
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_path_is_one_file_name() {
        assert_eq!(name("/hoody/databases"), "hoody-databases.sock");
        assert_eq!(name("/a-b/c d\n\u{e4}"), r"a\x2db-c\x20d\x0a\xc3\xa4.sock");
        assert_eq!(log_path(Path::new("/run"), Path::new("/m")), Path::new("/run/m.log"));
    }

    #[test]
    fn a_file_name_tells_its_path() {
        for path in ["/hoody/databases", "/a-b/c d\n\u{e4}", r"/back\slash", "/x~y"] {
            assert_eq!(mountpoint_of(OsStr::new(&name(path))), Some(path.into()), "{path}");
        }
        assert_eq!(mountpoint_of(OsStr::new("x.log")), None);
        assert_eq!(mountpoint_of(OsStr::new(r"a\x2.sock")), None);
    }

    #[test]
    fn long_paths_are_cut_and_stay_apart() {
        let long = format!("/{}", "d".repeat(300));
        let (one, two) = (name(&format!("{long}1")), name(&format!("{long}2")));
        assert_eq!(one.len(), NAME_MAX_BYTES + ".sock".len());
        assert_ne!(one, two);
        assert_eq!(mountpoint_of(OsStr::new(&one)), None);
    }
}
