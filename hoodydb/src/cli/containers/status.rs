//! `hoodydb containers status`. Called by [`super::run`].

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::super::{print, style, target};
use crate::container::Containers as Names;
use crate::control::{Answer, Command, socket};
use crate::engine::{self, Engine};
use crate::inject::{self, Live, Running, Sight};
use crate::model::{Container, ContainerStatus, Containers};
use crate::process::started_at;
use crate::render;

pub(super) fn run(json: bool) -> Result<()> {
    let names = Names::of_host();
    let live = Live::look()?;
    let mounts = Mounts::ask(&names);
    let mut containers: Vec<ContainerStatus> =
        inject::running(&names).into_iter().map(|one| status_of(one, &live, &mounts)).collect();
    containers.sort_by(|one, other| {
        let key = |status: &ContainerStatus| (status.container.engine.clone(), status.container.name.clone());
        key(one).cmp(&key(other)).then_with(|| one.container.cmp(&other.container))
    });
    let status = Containers { engines: Engine::ALL.map(engine::status).to_vec(), containers };
    print(&if json { render::json(&status)? } else { render::containers(&status, now_s(), style()) })
}

fn status_of(one: Running, live: &Live, mounts: &Mounts) -> ContainerStatus {
    let sight = live.sight_of(one.pid).unwrap_or(Sight::None);
    let started = started_at(one.started_ticks);
    let since = (sight == Sight::Live).then(|| {
        let given = inject::given_at(&socket::run_dir(), one.namespace, started).unwrap_or(started);
        mounts.live_since.map_or(given, |mounted| mounted.max(given))
    });
    ContainerStatus {
        pid: one.pid,
        mount: sight.name().to_owned(),
        since_s: since.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs()),
        locks: mounts.locks.get(&one.container).copied().unwrap_or(0),
        container: one.container,
    }
}

/// What the daemons say; nothing where none runs.
#[derive(Default)]
struct Mounts {
    /// When the youngest mount became live.
    live_since: Option<SystemTime>,
    locks: BTreeMap<Container, u64>,
}

impl Mounts {
    fn ask(names: &Names) -> Self {
        let mut mounts = Self::default();
        for daemon in target::daemons(None).unwrap_or_default() {
            if let Ok(status) = target::status(&daemon) {
                let since = SystemTime::now() - Duration::from_secs(status.uptime_s);
                mounts.live_since = mounts.live_since.max(Some(since));
            }
            let Ok(Answer::Locks(locks)) = daemon.ask(Command::Locks { db: None }) else { continue };
            for holder in locks.databases.iter().flat_map(|database| &database.holders) {
                let pid = holder.process.pid;
                let groups = std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                if let Some(container) = names.of(pid, &groups) {
                    *mounts.locks.entry(container).or_default() += 1;
                }
            }
        }
        mounts
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
