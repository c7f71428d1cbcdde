//! The harness of the tests that mount: real daemons, real clients, one temporary directory each.
//!
//! Every test builds a [`Mount`], runs [`Client`]s or [`Crowd`]s on it and looks at the files with [`database`]. Nothing
//! here waits by sleeping for a fixed time: clients say that they are ready, and conditions are polled with a limit.

pub mod bank;
pub mod clients;
pub mod containers;
pub mod crowd;
pub mod database;
pub mod host;
pub mod ledger;
pub mod mount;
pub mod place;
pub mod rootfs;
pub mod server;
pub mod skip;
pub mod terminal;
pub mod traced;

pub use clients::{Client, clients_directory, gated};
pub use crowd::{Crowd, Report};
pub use host::Host;
pub use ledger::{Inserter, Ledger};
pub use mount::{Mount, amid, eventually};
pub use place::Place;
pub use server::Server;
pub use skip::{is_long, runs, skip};
pub use terminal::Terminal;
