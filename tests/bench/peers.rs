//! The peers: the mount, the plain disk below it, and PostgreSQL, all on one file system. Called by [`crate::run`].

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use hoodydb_tests::{Mount, Place};
use serde::{Deserialize, Serialize};

use crate::cases::{Case, Journal, Work};
use crate::client::Target;
use crate::cluster::Cluster;
use crate::results::Memory;
use crate::{daemon, postgres_client, sqlite_client};

/// Who does a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    /// SQLite on the mount, busy timeout 5 s.
    Mount,
    /// SQLite on the mount, no busy timeout.
    MountAtOnce,
    /// SQLite on the disk, busy timeout 5 s.
    Disk,
    /// SQLite on the disk, no busy timeout.
    DiskAtOnce,
    /// PostgreSQL with the same durability.
    Postgres,
}

impl Peer {
    /// Whether its database is on the mount.
    pub fn is_mount(self) -> bool {
        matches!(self, Self::Mount | Self::MountAtOnce)
    }

    /// `sqlite3_busy_timeout`.
    pub fn busy_timeout_ms(self) -> u64 {
        if matches!(self, Self::Mount | Self::Disk) { 5_000 } else { 0 }
    }
}

/// All peers, alive; they and their files are gone with the value.
pub struct Peers {
    mount: Mount,
    disk: Place,
    cluster: Option<Cluster>,
    servers: Servers,
}

/// The processes of the daemon.
#[derive(Clone, Copy, Debug)]
struct Servers {
    worker: u32,
    keeper: u32,
}

impl Peers {
    /// Mounts, and starts PostgreSQL if it takes part.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start(hoodydb: PathBuf, with_postgres: bool) -> Result<Self> {
        let cluster = if with_postgres { Some(Cluster::start()?) } else { None };
        // As below /hoody, where the mount is by default.
        let options = ["--access", "shared"];
        let mount =
            Mount::attempt(hoodydb, &[], &options).map_err(|why| anyhow!("the mount does not come up: {why}"))?;
        let disk = Place::new();
        let status = mount.status_now().context("the daemon does not answer")?;
        let pid = |role: &str| {
            let pid = status[role].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pid.with_context(|| format!("status does not tell {role}"))
        };
        let servers = Servers { worker: pid("worker_pid")?, keeper: pid("keeper_pid")? };
        let device = |path: &Path| Ok::<_, anyhow::Error>(rustix::fs::stat(path)?.st_dev);
        ensure!(device(&mount.backing())? == device(disk.path())?, "mount and disk are on two file systems");
        Ok(Self { mount, disk, cluster, servers })
    }

    /// The mount.
    pub fn mount(&self) -> &Mount {
        &self.mount
    }

    /// Whether a peer takes part in this run.
    pub fn has(&self, peer: Peer) -> bool {
        peer != Peer::Postgres || self.cluster.is_some()
    }

    /// PostgreSQL's version.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn postgres_version(&self) -> Result<Option<String>> {
        self.cluster.as_ref().map(Cluster::version).transpose()
    }

    /// Whether the mount's reads and writes pass the daemon by.
    pub fn has_passthrough(&self) -> bool {
        self.mount.status_now().is_some_and(|status| status["passthrough"] == true)
    }

    /// The directory of all files.
    pub fn directory(&self) -> &Path {
        self.disk.path()
    }

    /// The path of a peer's file.
    pub fn path(&self, peer: Peer, name: &str) -> PathBuf {
        if peer.is_mount() { self.mount.path(name) } else { self.disk.path().join(name) }
    }

    /// The database of a case.
    ///
    /// # Errors
    /// If the peer does not take part.
    pub fn target(&self, peer: Peer, name: &str, journal: Journal) -> Result<Target> {
        if peer != Peer::Postgres {
            let path = self.path(peer, name);
            return Ok(Target::Sqlite { path, journal, busy_timeout_ms: peer.busy_timeout_ms() });
        }
        let cluster = self.cluster()?;
        let programs = cluster.programs().to_owned();
        Ok(Target::Postgres { socket: cluster.socket(), programs, is_durable: journal.is_durable() })
    }

    /// Makes the database of a case anew.
    ///
    /// # Errors
    /// If the peer cannot.
    pub fn create(&self, peer: Peer, case: &Case) -> Result<()> {
        let is_scan = case.work == Work::Scan;
        if peer == Peer::Postgres {
            return postgres_client::create(&self.cluster()?.socket(), is_scan);
        }
        let path = self.path(peer, case.name);
        sqlite_client::remove(&path)?;
        sqlite_client::create(&path, case.journal)?;
        if is_scan { sqlite_client::create_wide(&path) } else { Ok(()) }
    }

    /// Removes it.
    ///
    /// # Errors
    /// If the peer cannot.
    pub fn remove(&self, peer: Peer, case: &Case) -> Result<()> {
        if peer == Peer::Postgres {
            return postgres_client::remove_wide(&self.cluster()?.socket());
        }
        sqlite_client::remove(&self.path(peer, case.name))
    }

    /// Drops a file of the disk or the mount from the page cache.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn evict(&self, peer: Peer, name: &str) -> Result<()> {
        // With passthrough the cache is that of the file below; reading it there past the mount changes nothing.
        let path = if peer.is_mount() { self.mount.backing().join(name) } else { self.path(peer, name) };
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    /// Processor time that the peer's servers have used so far.
    ///
    /// # Errors
    /// If one is gone.
    pub fn server_cpu_s(&self, peer: Peer) -> Result<f64> {
        match peer {
            Peer::Mount | Peer::MountAtOnce => {
                Ok(daemon::cpu_s(self.servers.worker)? + daemon::cpu_s(self.servers.keeper)?)
            }
            Peer::Disk | Peer::DiskAtOnce => Ok(0.0),
            Peer::Postgres => {
                let postmaster = self.cluster()?.pid();
                // A child that ended meanwhile counts with its parent.
                let children: f64 =
                    daemon::children(postmaster).into_iter().filter_map(|pid| daemon::cpu_s(pid).ok()).sum();
                Ok(daemon::cpu_s(postmaster)? + children)
            }
        }
    }

    /// The daemon's memory.
    ///
    /// # Errors
    /// If it was replaced meanwhile.
    pub fn memory(&self) -> Result<Memory> {
        daemon::memory(self.servers.worker, self.servers.keeper)
    }

    /// One number of `hoodydb status`.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn status(&self, field: &str) -> Result<u64> {
        let status = self.mount.status_now().context("the daemon does not answer")?;
        status[field].as_u64().with_context(|| format!("status does not tell {field}"))
    }

    fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("PostgreSQL takes no part in this run")
    }
}
