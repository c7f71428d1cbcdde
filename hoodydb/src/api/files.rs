//! Files.

use super::{Call, Failure, Roots, Work};

pub(super) fn create(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn delete(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn list(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn maintenance(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}
