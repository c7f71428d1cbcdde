//! Keys and their values: contract section 6.

use super::{Call, Failure, Roots, Work};

mod prune;
pub(in crate::api) mod schema;
mod table;
mod usable;

pub(in crate::api) use table::Table;

pub(super) fn list(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn get(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn head(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn entry(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn put(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn delete(_call: &Call, _roots: &Roots, _key: String) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn verb(_call: &Call, _roots: &Roots, _key: String, _verb: super::route::Verb) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn batch(_call: &Call, _roots: &Roots, _batch: super::route::Batch) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}
