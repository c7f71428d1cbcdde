//! The lock tracer of this mount: taken over from the worker before, or started; its descriptors are handed on.
//!
//! Built by [`super::worker`]. A mount whose tracer cannot be had is a mount all the same: `status` says what is missing.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::kept::Kept;
use crate::handover::{Memory, TRACER_DESCRIPTORS, Word};
use crate::model::{LockEvents, Sample, printable};
use crate::tracer::{Handed, Missing, Sizes, Tracer, Watched};

/// How often single events are taken out of the kernel while somebody wants them.
const DRAIN: Duration = Duration::from_millis(100);

/// How often rows of ended processes are folded together, in [`DRAIN`]s.
const FOLD_EVERY: u32 = 25;

const _: () = assert!(Handed::DESCRIPTORS == TRACER_DESCRIPTORS);

/// The tracer of this mount.
pub(super) struct Tracing {
    /// The tracer, or why there is none; unset while it starts.
    tracer: OnceLock<Result<Tracer, Missing>>,
    files: Arc<Files>,
}

impl Tracing {
    /// Goes on with the programs of the worker before this one. New ones are loaded by [`Self::keep_up`]: the kernel takes a
    /// while to check them, and no mount should wait for that.
    pub(super) fn adopt(kept: &Kept) -> Self {
        let memory = &kept.memory;
        // SAFETY: the worker before this one is dead, and its descriptors were kept for this.
        let adopted = handed(memory).and_then(|handed| unsafe { Tracer::adopt(&watched(kept), &handed) });
        let tracing = Self { tracer: OnceLock::new(), files: Arc::default() };
        match adopted {
            _ if !kept.options.trace => _ = tracing.tracer.set(Err(Missing::LeftOut)),
            Some(tracer) => _ = tracing.tracer.set(Ok(tracer)),
            None => memory.word(Word::TracerVersion).store(0, SeqCst),
        }
        tracing
    }

    fn start(&self, kept: &Kept) -> &Result<Tracer, Missing> {
        self.tracer.get_or_init(|| {
            let tracer = Tracer::start(&watched(kept));
            match &tracer {
                Ok(tracer) => {
                    hand_on(&kept.memory, &tracer.handed());
                    tracing::info!("lock calls are traced");
                }
                Err(missing) => tracing::warn!(reason = printable(missing.to_string()), "lock calls are not traced"),
            }
            tracer
        })
    }

    /// `starting`, `on`, `limited` or `off`.
    pub(super) fn state(&self) -> &'static str {
        match self.tracer.get() {
            None => "starting",
            Some(Ok(tracer)) if tracer.limits().is_none() => "on",
            Some(Ok(_)) => "limited",
            Some(Err(_)) => "off",
        }
    }

    /// What is missing, and how to get it.
    pub(super) fn missing(&self) -> Option<String> {
        match self.tracer.get()? {
            Ok(tracer) => tracer.limits().map(str::to_owned),
            Err(missing) => Some(missing.to_string()),
        }
    }

    /// Who remembers the paths of files that are opened; none where nothing is traced.
    pub(super) fn files(&self) -> Option<Arc<Files>> {
        (!matches!(self.tracer.get(), Some(Err(_)))).then(|| Arc::clone(&self.files))
    }

    /// The path of a file when it was opened last; one that is deleted by now has no other.
    pub(super) fn last_path(&self, ino: u64) -> Option<PathBuf> {
        self.files.path_of(ino)
    }

    pub(super) fn sample(&self) -> Result<Sample, String> {
        self.tracer().and_then(|tracer| tracer.sample().map_err(|error| error.to_string()))
    }

    pub(super) fn events(&self, cursor: Option<u64>) -> Result<LockEvents, String> {
        self.tracer().map(|tracer| tracer.events(cursor))
    }

    fn tracer(&self) -> Result<&Tracer, String> {
        // Who asks waits for less than a second after the mount came up.
        self.tracer.wait().as_ref().map_err(|missing| format!("lock calls are not traced: {missing}"))
    }

    /// Starts what was not taken over, and does what has to be done from time to time; never returns while there is a tracer.
    pub(super) fn keep_up(&self, kept: &Kept) {
        let Ok(tracer) = self.start(kept) else { return };
        let mut until_fold = FOLD_EVERY;
        loop {
            let steps = if tracer.drain() { 1 } else { 5 };
            std::thread::sleep(DRAIN * steps);
            until_fold = until_fold.saturating_sub(steps);
            if until_fold == 0 {
                until_fold = FOLD_EVERY;
                if let Err(error) = tracer.fold() {
                    tracing::warn!(%error, "the tracer's tables cannot be tidied");
                }
            }
        }
    }
}

/// Paths of files as they were opened last, by the inode number that the mount shows.
///
/// SQLite deletes a WAL index with the last connection, and the next one may get the same inode number: who reads events a tenth
/// of a second later finds neither by asking the file system.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<Paths>);

#[derive(Debug, Default)]
struct Paths {
    by_inode: HashMap<u64, (u64, PathBuf)>,
    opened: u64,
}

/// Most paths that are remembered; the older half goes when there are more.
const PATHS_MAX: usize = 16_384;

impl Files {
    pub(super) fn opened(&self, ino: u64, path: &dyn Fn() -> Option<PathBuf>) {
        let Some(path) = path() else { return };
        let mut paths = self.lock();
        paths.opened += 1;
        let opened = paths.opened;
        paths.by_inode.insert(ino, (opened, path));
        if paths.by_inode.len() > PATHS_MAX {
            let mut times: Vec<u64> = paths.by_inode.values().map(|(opened, _)| *opened).collect();
            let (_, middle, _) = times.select_nth_unstable(PATHS_MAX / 2);
            let middle = *middle;
            paths.by_inode.retain(|_, (opened, _)| *opened > middle);
        }
    }

    fn path_of(&self, ino: u64) -> Option<PathBuf> {
        self.lock().by_inode.get(&ino).map(|(_, path)| path.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Paths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watched(kept: &Kept) -> Watched {
    Watched { device: kept.mount_device(), sizes: Sizes::default(), by_system_call: false }
}

/// What the worker before this one left.
fn handed(memory: &Memory) -> Option<Handed> {
    let version = memory.word(Word::TracerVersion).load(SeqCst);
    let number = |index| RawFd::try_from(memory.tracer_descriptor(index).load(SeqCst).cast_signed()).unwrap_or(-1);
    (version != 0).then(|| Handed { version, descriptors: std::array::from_fn(number) })
}

/// Writes down what the next worker needs; the version last, as it makes the numbers good.
fn hand_on(memory: &Memory, handed: &Handed) {
    for (index, fd) in handed.descriptors.iter().enumerate() {
        memory.tracer_descriptor(index).store(i64::from(*fd).cast_unsigned(), SeqCst);
    }
    memory.word(Word::TracerVersion).store(handed.version, SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_of_the_paths_is_forgotten() {
        let files = Files::default();
        let open = |ino: u64| files.opened(ino, &|| Some(format!("{ino}.db").into()));
        (0..PATHS_MAX as u64).for_each(open);
        open(3);
        open(PATHS_MAX as u64);
        assert_eq!(files.path_of(3), Some("3.db".into()));
        assert_eq!(files.path_of(4), None);
        assert_eq!(files.path_of(PATHS_MAX as u64), Some(format!("{PATHS_MAX}.db").into()));
        assert!(files.lock().by_inode.len() <= PATHS_MAX / 2 + 1);
    }
}
