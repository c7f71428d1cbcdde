//! C.

use super::{Call, Failure, Roots, Work};

pub(super) fn page(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn stream(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

/// A page of changes to come, or a stream of them.
#[derive(Debug)]
pub struct Follow {}

/// Server-sent events.
#[derive(Debug)]
pub struct Stream {}

impl super::Api {
    pub(super) fn follow(self: &std::sync::Arc<Self>, _follow: Follow, _slot: &super::Slot, _deadline: std::time::Instant) {}
}
