//! hoodydb: SQLite databases shared by many programs on one host.
//!
//! The map of the rooms; docs/ARCHITECTURE.md draws them. Rooms of one layer never import one another.
//!
//! | layer | rooms |
//! |---|---|
//! | 1, pure: no clock, no threads, no I/O | [`lock`], [`sqlite`], [`manager`], [`model`], [`render`] |
//! | 2, one owner of all lock state | [`coordinator`] |
//! | 3, one outside world each | [`fuse`], [`control`], [`process`], [`container`], [`engine`], [`host`], [`inject`], [`runtime`], [`history`], [`metrics`], [`telemetry`], [`tracer`], [`database`], [`archive`], [`api`] |
//! | 4, builds the rooms | [`daemon`], [`serve`] |
//! | 5, what a user types | [`cli`] |

pub mod api;
pub mod archive;
pub mod cli;
pub mod container;
pub mod control;
pub mod coordinator;
pub mod daemon;
pub mod database;
pub mod engine;
pub mod fault;
pub mod fuse;
pub mod handover;
pub mod history;
pub mod host;
pub mod inject;
pub mod keeper;
pub mod lock;
pub mod manager;
pub mod metrics;
pub mod model;
pub mod process;
pub mod render;
pub mod runtime;
pub mod serve;
pub mod sqlite;
pub mod telemetry;
pub mod tracer;
