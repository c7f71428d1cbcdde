//! `hoodydb db maintenance run`.

use anyhow::Result;
use serde_json::json;

use crate::cli::ask::{Ask, Place};

/// Work on a whole database
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("db": "db maintenance run --db app --op quick_check"))]
pub(super) enum Maintenance {
    Run(Args),
}

/// Checkpoints, copies or checks a database
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db":
    "db maintenance run --db app --op quick_check",
    "db maintenance run --db app --op wal_checkpoint_truncate",
    "db maintenance run --db app --op vacuum_into --dest-path /hoody/databases/copy.db"))]
pub(super) struct Args {
    /// The database: a name in the root, or an absolute path
    #[arg(long, value_name = "DB")]
    db: String,
    /// What is done: wal_checkpoint_truncate, vacuum_into, quick_check or reset_changes
    #[arg(long, value_name = "OP")]
    op: String,
    /// Where vacuum_into puts the copy
    #[arg(long, value_name = "PATH")]
    dest_path: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let body = match &args.dest_path {
        Some(path) => json!({ "op": args.op, "dest_path": path }),
        None => json!({ "op": args.op }),
    };
    args.place.run(Ask::post("/maintenance").with("db", &args.db).json(body.to_string()))
}
