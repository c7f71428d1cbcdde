//! What the history and the metrics see once in a while: counts, and nothing that costs more with many processes.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::backing::OWN_DIR;
use super::kept::Kept;
use super::worker::Live;
use crate::handover::Word;
use crate::history::{Historian, KEPT_S, Look};
use crate::model::history::{LongestHold, MountHistory, Seen};
use crate::model::text_of;

/// The history's file in [`OWN_DIR`].
const FILE: &str = "history.db";

/// The history of a mount: made before the worker serves, and looking from then on.
pub(super) fn start(kept: &Kept, live: Weak<Live>) -> std::io::Result<Historian> {
    let file: PathBuf = kept.backing.path().join(OWN_DIR).join(FILE);
    let is_first = kept.memory.word(Word::Restarts).load(Relaxed) == 0;
    let look: Look = Box::new(move || Some(live.upgrade()?.see()));
    Historian::start(file, is_first, look)
}

impl Live {
    /// One look.
    fn see(&self) -> Vec<Seen> {
        let tallies = self.coordinator.tallies();
        let seen = tallies.into_iter().map(|tally| {
            let oldest = tally.oldest.as_ref().map(|holder| {
                let identity = self.names.of(holder.pid.0);
                LongestHold {
                    process: identity.process,
                    container: identity.container,
                    role: holder.role.to_owned(),
                    held_ms: holder.age_ns / 1_000_000,
                }
            });
            Seen {
                inode: tally.file.ino,
                path: self.names.path(tally.file, self.fuse.path_of(tally.file).as_deref()),
                counters: tally.counters,
                oldest,
            }
        });
        seen.collect()
    }

    /// The answer to `hoodydb history`.
    pub(super) fn history(&self, since_s: u64, path: Option<PathBuf>) -> Result<MountHistory, String> {
        let now_unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let historian = self.historian.get().ok_or("the daemon has just begun")?;
        // The minute in which that time lies counts whole.
        let since = now_unix_s.saturating_sub(since_s.min(KEPT_S)) / 60 * 60;
        let answer = historian.read(since, path.map(text_of))?;
        Ok(MountHistory {
            mountpoint: text_of(&self.options().mountpoint),
            pid: self.keeper_pid(),
            now_unix_s,
            missing: answer.missing,
            minutes: answer.rows,
        })
    }

    /// Begins to keep minutes.
    pub(super) fn keep_minutes(self: &Arc<Self>) -> std::io::Result<()> {
        let historian = start(&self.kept, Arc::downgrade(self))?;
        let _ = self.historian.set(historian);
        Ok(())
    }
}
