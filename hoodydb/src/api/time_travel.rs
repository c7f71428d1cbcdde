//! T.

use super::{Call, Failure, Roots, Work};

pub(super) fn history(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn snapshot(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn get_at(_call: &Call, _roots: &Roots, _key: String, _timestamp: i64) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn list_at(_call: &Call, _roots: &Roots, _timestamp: i64) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn rollback(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn table_snapshot(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn table_diff(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn table_rollback(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}
