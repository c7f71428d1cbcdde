//! Keys and their values: any bytes under any name, with a time to live, a history, and an ETag that changes with every write.
//!
//! Called by [`super::Api`]. Keys live in ordinary tables that native programs read and write too, so nothing about a key is kept
//! outside of its database.
//!
//! ```text
//! request -> read                      -> entry ----------.
//!         -> put, counter, array, ttl  -> change -> entry  -> schema: tables, triggers, change log
//!         -> list, batch               -> both ----------'
//! ```

use super::route::{Batch, Verb};
use super::{Call, Failure, Roots, Work};

mod array;
mod batch;
mod change;
mod conditions;
mod content;
mod counter;
mod document;
mod entry;
mod json_path;
mod list;
mod once;
mod prune;
mod put;
mod read;
mod request;
pub(in crate::api) mod schema;
mod table;
#[cfg(test)]
mod tests;
mod ttl;
mod usable;

pub(in crate::api) use content::inline;
pub(in crate::api) use entry::{Entry, etag};
pub(in crate::api) use list::list;
pub(in crate::api) use once::Once;
pub(in crate::api) use put::{delete, put};
pub(in crate::api) use read::{entry, get, head};
pub(in crate::api) use request::Request;
pub(in crate::api) use table::Table;
pub(in crate::api) use ttl::sweep;

/// `POST /kv/{key}/…`.
pub(super) fn verb(call: &Call, roots: &Roots, key: String, verb: Verb) -> Result<Work, Failure> {
    match verb {
        Verb::Incr => counter::count(call, roots, key, true),
        Verb::Decr => counter::count(call, roots, key, false),
        Verb::Push => array::push(call, roots, key),
        Verb::Pop => array::pop(call, roots, key),
        Verb::Remove => array::remove(call, roots, key),
        Verb::Expire => ttl::expire(call, roots, key),
        Verb::Persist => ttl::persist(call, roots, key),
    }
}

/// `POST /kv/batch/…`.
pub(super) fn batch(call: &Call, roots: &Roots, batch: Batch) -> Result<Work, Failure> {
    match batch {
        Batch::Get => batch::get(call, roots),
        Batch::Set => batch::set(call, roots),
        Batch::Delete => batch::delete(call, roots),
    }
}
