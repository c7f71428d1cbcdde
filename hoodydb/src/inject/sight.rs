//! What a container sees of the mount. Called for `hoodydb containers status`, and before a container is given anything.

use std::io;
use std::path::Path;

use crate::host::parent;
use crate::process::mounts::{self, FS_TYPE, Mount, mounts_of};

/// What a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A mount whose daemon answers.
    Live,
    /// No mount now, but the next one.
    Waiting,
    /// The mount of a dead daemon, or a parent in which no mount will appear.
    Stale,
    /// Nothing.
    None,
}

impl Sight {
    /// The word in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Waiting => "waiting",
            Self::Stale => "stale",
            Self::None => "none",
        }
    }
}

/// The live mounts of this host and their parent, by device.
#[derive(Clone, Debug, Default)]
pub struct Live {
    mounts: Vec<u64>,
    parent: Option<u64>,
}

impl Live {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    /// If the mount table cannot be read.
    pub fn look() -> io::Result<Self> {
        let alive = mounts::own_mounts()?.into_iter().filter(|mount| !mounts::is_dead(&mount.mount_point));
        let parent = mounts::mounted_at(Path::new(parent::PARENT))?.filter(parent::is_parent);
        Ok(Self { mounts: alive.map(|mount| mount.device).collect(), parent: parent.map(|mount| mount.device) })
    }

    /// What the container of a process sees.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn sight_of(&self, pid: u32) -> io::Result<Sight> {
        Ok(self.sight(&mounts_of(&format!("/proc/{pid}/mountinfo"))?))
    }

    fn sight(&self, mounts: &[Mount]) -> Sight {
        let ours = || mounts.iter().filter(|mount| mount.fs_type == FS_TYPE);
        if ours().any(|mount| self.mounts.contains(&mount.device)) {
            return Sight::Live;
        }
        let follows = |mount: &Mount| mount.is_slave && Some(mount.device) == self.parent;
        match mounts.iter().rev().find(|mount| parent::is_parent(mount)) {
            Some(parent) if follows(parent) && ours().next().is_none() => Sight::Waiting,
            Some(_) => Sight::Stale,
            None if ours().next().is_some() => Sight::Stale,
            None => Sight::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fs_type: &str, source: &str, device: u64, is_slave: bool) -> Mount {
        let path = || Path::new("/").to_owned();
        let (fs_type, source) = (fs_type.to_owned(), source.into());
        Mount { device, root: path(), mount_point: path(), fs_type, source, is_slave }
    }

    #[test]
    fn what_containers_see() {
        let live = Live { mounts: vec![7], parent: Some(3) };
        let (parent, old_parent) = (mount("tmpfs", "hoodydb", 3, true), mount("tmpfs", "hoodydb", 2, true));
        let cut_off = mount("tmpfs", "hoodydb", 3, false);
        let (now, dead) = (mount(FS_TYPE, "/data", 7, true), mount(FS_TYPE, "/data", 6, true));
        let other = mount("tmpfs", "tmpfs", 9, false);
        let rows = [
            (vec![&other, &parent, &now], Sight::Live),
            (vec![&now], Sight::Live),
            (vec![&parent], Sight::Waiting),
            (vec![&parent, &dead], Sight::Stale),
            (vec![&dead], Sight::Stale),
            (vec![&old_parent], Sight::Stale),
            (vec![&cut_off], Sight::Stale),
            (vec![&other], Sight::None),
            (vec![], Sight::None),
        ];
        for (mounts, sight) in rows {
            let mounts: Vec<Mount> = mounts.into_iter().cloned().collect();
            assert_eq!(live.sight(&mounts), sight, "{mounts:?}");
        }
    }
}
