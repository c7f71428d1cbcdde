//! O.

use super::{Failure, Work};

pub(super) fn yaml() -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn redirect() -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}
