//! hoodydb: SQLite databases shared by many programs on one host.
//!
//! The map of the rooms; docs/ARCHITECTURE.md draws them. Rooms of one layer never import one another.
//!
//! | layer | rooms |
//! |---|---|
//! | 1, pure: no clock, no threads, no I/O | [`lock`], [`sqlite`], [`manager`] |
//! | 2, one owner of all lock state | [`coordinator`] |
//! | 3, one outside world each | [`fuse`] |

pub mod coordinator;
pub mod fuse;
pub mod lock;
pub mod manager;
pub mod sqlite;
