//! What the kernel's tracer counted of this mount: the one place where the daemon asks for it.

use super::worker::Live;
use crate::model::Sample;

impl Live {
    /// Everything so far.
    ///
    /// # Errors
    /// Why there is no tracer, and how to get it.
    #[expect(clippy::unused_self, reason = "the tracer will be a part of it")]
    pub(super) fn sample(&self) -> Result<Sample, String> {
        Err("this version of hoodydb has no tracer".to_owned())
    }
}
