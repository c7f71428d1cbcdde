//! The lock tracer of this mount: taken over from the worker before, or started; its descriptors are handed on.
//!
//! Built by [`super::worker`]. A mount whose tracer cannot be had is a mount all the same: `status` says what is missing.

use std::collections::{HashMap, VecDeque};
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

    /// The path of a file at a time of the monotonic clock, as it was opened.
    pub(super) fn path_at(&self, ino: u64, time_ns: u64) -> Option<PathBuf> {
        self.files.path_at(ino, time_ns)
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

/// Paths of files as they were opened, by the inode number that the mount shows.
///
/// SQLite deletes a WAL index with the last connection, and the next one, perhaps of another database, may get the same inode
/// number: who reads events a tenth of a second later must know whose it was at the time.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<Paths>);

#[derive(Debug, Default)]
struct Paths {
    by_inode: HashMap<u64, Names>,
}

/// When a number came to stand for a path, in nanoseconds of the monotonic clock, oldest first.
type Names = VecDeque<(u64, PathBuf)>;

/// Most inode numbers that are remembered; the older half goes when there are more.
const PATHS_MAX: usize = 16_384;

/// How long a path is remembered that its number stands for no more: events are read within a second.
const OUTDATED_NS: u64 = 2_000_000_000;

/// Most paths that are remembered of one number.
const NAMES_MAX: usize = 256;

impl Files {
    pub(super) fn opened(&self, ino: u64, path: &dyn Fn() -> Option<PathBuf>) {
        if let Some(path) = path() {
            self.opened_at(ino, path, crate::keeper::now_ns());
        }
    }

    fn opened_at(&self, ino: u64, path: PathBuf, now: u64) {
        let mut paths = self.lock();
        let names = paths.by_inode.entry(ino).or_default();
        if names.back().is_some_and(|(_, last)| *last == path) {
            return;
        }
        while names.len() >= NAMES_MAX || names.get(1).is_some_and(|(next, _)| next + OUTDATED_NS < now) {
            names.pop_front();
        }
        names.push_back((now, path));
        if paths.by_inode.len() > PATHS_MAX {
            paths.forget_older_half();
        }
    }

    /// Which path a number stood for at a time; the first that is known if that was later.
    fn path_at(&self, ino: u64, time_ns: u64) -> Option<PathBuf> {
        let paths = self.lock();
        let names = paths.by_inode.get(&ino)?;
        let (_, path) = names.iter().rev().find(|(opened, _)| *opened <= time_ns).or_else(|| names.front())?;
        Some(path.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Paths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paths {
    fn forget_older_half(&mut self) {
        let opened = |names: &Names| names.back().map_or(0, |(opened, _)| *opened);
        let mut times: Vec<u64> = self.by_inode.values().map(opened).collect();
        let (_, middle, _) = times.select_nth_unstable(PATHS_MAX / 2);
        let middle = *middle;
        self.by_inode.retain(|_, names| opened(names) > middle);
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

    fn path(name: impl std::fmt::Display) -> PathBuf {
        name.to_string().into()
    }

    #[test]
    fn the_older_half_of_the_paths_is_forgotten() {
        let files = Files::default();
        let known = |ino| files.path_at(ino, u64::MAX);
        for ino in 0..PATHS_MAX as u64 {
            files.opened_at(ino, path(ino), ino);
        }
        files.opened_at(3, path("again"), PATHS_MAX as u64);
        files.opened_at(PATHS_MAX as u64, path("new"), PATHS_MAX as u64 + 1);
        assert_eq!(known(3), Some(path("again")));
        assert_eq!(known(4), None);
        assert_eq!(known(PATHS_MAX as u64), Some(path("new")));
        assert!(files.lock().by_inode.len() <= PATHS_MAX / 2 + 1);
    }

    #[test]
    fn a_number_stands_for_the_path_of_its_time() {
        let files = Files::default();
        let second = 1_000_000_000;
        for (name, time) in [("a", 10), ("a", 15), ("b", 20), ("c", second)] {
            files.opened_at(7, path(name), time);
        }
        let at = |time| files.path_at(7, time);
        assert_eq!([at(5), at(19), at(20), at(second)], ["a", "a", "b", "c"].map(|name| Some(path(name))));
        files.opened_at(7, path("d"), 3 * second - 1);
        assert_eq!([at(19), at(second - 1), at(4 * second)], ["b", "b", "d"].map(|name| Some(path(name))));
        for time in 0..10_000 {
            files.opened_at(7, path(time), 3 * second + time);
        }
        assert!(files.lock().by_inode[&7].len() <= NAMES_MAX);
    }
}
