//! SQL.

use super::{Call, Failure, Roots, Work};

pub(super) fn transaction(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn query(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}
