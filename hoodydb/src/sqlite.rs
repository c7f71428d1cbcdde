//! What SQLite means by its lock bytes: pure translation from (range, kind) to SQLite's words, and names to families.
//!
//! Called by [`crate::manager`] and by tables that print roles. It holds no state but the [`domain::Domains`] of a
//! database: which descriptors of a process belong to one copy of SQLite.

pub mod domain;
pub mod family;
pub mod lock_bytes;

pub use domain::Domains;
pub use lock_bytes::{DatabaseCall, LockBytes, WalIndexCall};
