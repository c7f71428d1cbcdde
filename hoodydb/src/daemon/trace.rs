//! The lock tracer of this mount: taken over from the worker before, or started; its descriptors are handed on.
//!
//! Built by [`super::worker`]. A mount whose tracer cannot be had is a mount all the same: `status` says what is missing.

use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::kept::Kept;
use crate::handover::{Memory, TRACER_DESCRIPTORS, Word};
use crate::model::{LockEvents, Sample, printable};
use crate::tracer::{Handed, Missing, Sizes, Tracer, Watched};

/// How often single events are taken out of the kernel while somebody wants them.
const DRAIN: Duration = Duration::from_millis(100);

/// How often rows of ended processes are folded together, in [`DRAIN`]s.
const FOLD_EVERY: u32 = 50;

const _: () = assert!(Handed::DESCRIPTORS == TRACER_DESCRIPTORS);

/// The tracer, or why there is none; unset while it starts.
pub(super) struct Tracing(OnceLock<Result<Tracer, Missing>>);

impl Tracing {
    /// Goes on with the programs of the worker before this one. New ones are loaded by [`Self::keep_up`]: the kernel takes a
    /// while to check them, and no mount should wait for that.
    pub(super) fn adopt(kept: &Kept) -> Self {
        let memory = &kept.memory;
        // SAFETY: the worker before this one is dead, and its descriptors were kept for this.
        let adopted = handed(memory).and_then(|handed| unsafe { Tracer::adopt(&watched(kept), &handed) });
        let tracing = Self(OnceLock::new());
        match adopted {
            _ if !kept.options.trace => _ = tracing.0.set(Err(Missing::LeftOut)),
            Some(tracer) => _ = tracing.0.set(Ok(tracer)),
            None => memory.word(Word::TracerVersion).store(0, SeqCst),
        }
        tracing
    }

    fn start(&self, kept: &Kept) -> &Result<Tracer, Missing> {
        self.0.get_or_init(|| {
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
        match self.0.get() {
            None => "starting",
            Some(Ok(tracer)) if tracer.limits().is_none() => "on",
            Some(Ok(_)) => "limited",
            Some(Err(_)) => "off",
        }
    }

    /// What is missing, and how to get it.
    pub(super) fn missing(&self) -> Option<String> {
        match self.0.get()? {
            Ok(tracer) => tracer.limits().map(str::to_owned),
            Err(missing) => Some(missing.to_string()),
        }
    }

    pub(super) fn sample(&self) -> Result<Sample, String> {
        self.tracer().and_then(|tracer| tracer.sample().map_err(|error| error.to_string()))
    }

    pub(super) fn events(&self, cursor: Option<u64>) -> Result<LockEvents, String> {
        self.tracer().map(|tracer| tracer.events(cursor))
    }

    fn tracer(&self) -> Result<&Tracer, String> {
        // Who asks waits for less than a second after the mount came up.
        self.0.wait().as_ref().map_err(|missing| format!("lock calls are not traced: {missing}"))
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

fn watched(kept: &Kept) -> Watched {
    Watched { device: kept.mount_device(), sizes: Sizes::default() }
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
