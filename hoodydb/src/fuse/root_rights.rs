//! Mode and owner that the root of the mount shows with [`super::Access::Unix`].
//!
//! The backing directory itself stays private (0700), or users would reach the files past the mount and its locks; so the
//! root's rights are kept beside it, in an extended attribute of the backing directory: `MODE UID GID`, octal and decimal.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Stat, XattrFlags};
use rustix::io::Errno;

const NAME: &str = "trusted.hoodydb.root";

/// What a root directory usually has, until somebody changes it.
const DEFAULT: Rights = Rights { mode: 0o755, uid: 0, gid: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// The root's rights.
#[derive(Debug)]
pub(super) struct RootRights(Mutex<Rights>);

impl RootRights {
    /// Reads what was set before on this backing directory.
    pub(super) fn load(root: impl AsFd) -> Self {
        let mut text = [0; 64];
        let read = rustix::fs::fgetxattr(root, NAME, &mut text).ok();
        let kept = read.and_then(|length| parse(std::str::from_utf8(text.get(..length)?).ok()?));
        Self(Mutex::new(kept.unwrap_or(DEFAULT)))
    }

    fn now(&self) -> Rights {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the rights into attributes of the backing directory.
    pub(super) fn show(&self, stat: &mut Stat) {
        let rights = self.now();
        stat.st_mode = stat.st_mode & !0o7777 | rights.mode;
        (stat.st_uid, stat.st_gid) = (rights.uid, rights.gid);
    }

    /// chmod and chown of the root.
    ///
    /// # Errors
    /// Those of fsetxattr(2): what cannot be kept is not changed.
    pub(super) fn change(
        &self,
        root: impl AsFd,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> io::Result<()> {
        let now = self.now();
        let rights = Rights {
            mode: mode.map_or(now.mode, |mode| mode & 0o7777),
            uid: uid.unwrap_or(now.uid),
            gid: gid.unwrap_or(now.gid),
        };
        let text = format!("{:o} {} {}", rights.mode, rights.uid, rights.gid);
        rustix::fs::fsetxattr(root, NAME, text.as_bytes(), XattrFlags::empty()).map_err(|error| match error {
            Errno::OPNOTSUPP => Errno::PERM,
            error => error,
        })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rights;
        Ok(())
    }
}

fn parse(text: &str) -> Option<Rights> {
    let mut fields = text.split(' ');
    let mode = u32::from_str_radix(fields.next()?, 8).ok()? & 0o7777;
    let rights = Rights { mode, uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? };
    fields.next().is_none().then_some(rights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_as_they_are_written() {
        assert_eq!(parse("1777 5 6"), Some(Rights { mode: 0o1777, uid: 5, gid: 6 }));
        for wrong in ["", "755", "755 0", "9 0 0", "755 0 0 0", "755 -1 0"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
