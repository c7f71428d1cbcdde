//! `hoodydb db health`, `cache` and `open`: the HTTP interface itself.

use anyhow::Result;

use crate::api;
use crate::cli::ask::{Ask, Place};
use crate::cli::print;

/// Where a server is if nobody says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8090";

/// Tells whether the interface answers, and more of it
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db": "db health --url http://127.0.0.1:8090", "db health --verbose"))]
pub(super) struct Health {
    /// All that it says of itself
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn health(args: &Health) -> Result<()> {
    args.place.run(Ask::get("/health").with_flag("verbose", args.verbose))
}

/// The databases that a server has open
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("db": "db cache stats --url http://127.0.0.1:8090"))]
pub(super) enum Cache {
    Stats(CacheStats),
}

/// Counts the databases that are open
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db": "db cache stats --url http://127.0.0.1:8090"))]
pub(super) struct CacheStats {
    #[command(flatten)]
    place: Place,
}

pub(super) fn cache(args: &CacheStats) -> Result<()> {
    args.place.run(Ask::get("/health/cache"))
}

/// Prints the address of the interface
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db": "db open", "db open --url-only --url http://127.0.0.1:9000"))]
pub(super) struct Open {
    /// Taken and left aside: there is one server
    #[arg(value_name = "N")]
    number: Option<u32>,
    /// Print the address alone
    #[arg(long)]
    url_only: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn open(args: &Open) -> Result<()> {
    let url = args.place.server()?.map_or_else(|| DEFAULT_URL.to_owned(), |url| url.to_string());
    let address = format!("{url}{}", api::BASE);
    match args.url_only {
        true => print(&format!("{address}\n")),
        false => print(&format!("The interface is at {address}, its description at {address}/openapi.yaml\n")),
    }
}
