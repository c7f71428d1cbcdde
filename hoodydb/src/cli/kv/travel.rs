//! `hoodydb kv history`, `rollback`, `rollback-table` and `snapshots`: what keys were, and back to it.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::{Store, Written};
use crate::cli::ask::usage;

/// Lists what was done to a key, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv history user:1 --db app --limit 10"))]
pub(super) struct History {
    /// The key; the word list before it is taken and left aside
    #[arg(value_name = "KEY", num_args = 1..=2, required = true)]
    key: Vec<String>,
    /// The most operations
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    store: Store,
}

pub(super) fn history(args: &History) -> Result<()> {
    let key = match args.key.as_slice() {
        [key] => key,
        [word, key] if word == "list" => key,
        _ => return Err(usage("name one key")),
    };
    args.store.run(args.store.key(Method::GET, key, "/history").with("limit", args.limit))
}

/// Undoes the last operations on a key
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv rollback user:1 --db app --steps 2"))]
pub(super) struct Rollback {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    steps: u32,
    #[command(flatten)]
    written: Written,
}

pub(super) fn rollback(args: &Rollback) -> Result<()> {
    args.written.run(args.written.key(Method::POST, &args.key, "/rollback").with("steps", args.steps))
}

/// Takes a table back to what it was
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv":
    "kv rollback-table --db app --to-timestamp 1795341600 --dry-run",
    "kv rollback-table --db app --to-timestamp 1795341600 --confirm yes --exclude-keys hits"))]
pub(super) struct RollbackTable {
    /// When, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    to_timestamp: i64,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// yes, to do it
    #[arg(long, value_name = "yes")]
    confirm: Option<String>,
    /// Only these keys
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',')]
    keys: Vec<String>,
    /// Not these keys
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',')]
    exclude_keys: Vec<String>,
    #[command(flatten)]
    written: Written,
}

pub(super) fn rollback_table(args: &RollbackTable) -> Result<()> {
    let mut body = serde_json::Map::new();
    for (name, keys) in [("keys", &args.keys), ("exclude_keys", &args.exclude_keys)] {
        if !keys.is_empty() {
            body.insert(name.to_owned(), json!(keys));
        }
    }
    let ask = args.written.options(args.written.store.ask(Method::POST, "/kv/rollback"));
    let ask = ask.with("to_timestamp", args.to_timestamp).with_flag("dry_run", args.dry_run);
    let ask = ask.with_some("confirm", args.confirm.as_ref());
    args.written.run(ask.json(serde_json::Value::Object(body).to_string()))
}

/// What keys were
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv":
    "kv snapshots get-key user:1 --db app --op-number 3", "kv snapshots get-table --db app --timestamp 1795341600"))]
pub(super) enum Snapshots {
    #[command(visible_alias = "get")]
    GetKey(GetKey),
    GetTable(GetTable),
    CompareTable(CompareTable),
}

/// Prints a value as an operation left it
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv snapshots get-key user:1 --db app --op-number 3"))]
pub(super) struct GetKey {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// The number of the operation, as history tells it
    #[arg(long, value_name = "N")]
    op_number: i64,
    #[command(flatten)]
    store: Store,
}

/// Prints all keys as they were
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv snapshots get-table --db app --timestamp 1795341600 --prefix user:"))]
pub(super) struct GetTable {
    /// When, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    timestamp: i64,
    /// The most keys; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    #[command(flatten)]
    store: Store,
}

/// Tells what changed between two times
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv snapshots compare-table --db app --from 1795341600 --to 1795345200"))]
pub(super) struct CompareTable {
    /// From when, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    from: i64,
    /// To when
    #[arg(long, value_name = "SECONDS")]
    to: i64,
    /// Only these keys
    #[arg(long, value_name = "KEY,KEY")]
    keys: Option<String>,
    #[command(flatten)]
    store: Store,
}

pub(super) fn snapshots(action: &Snapshots) -> Result<()> {
    match action {
        Snapshots::GetKey(args) => {
            let ask = args.store.key(Method::GET, &args.key, "/snapshot");
            args.store.run(ask.with("op_number", args.op_number))
        }
        Snapshots::GetTable(args) => get_table(args),
        Snapshots::CompareTable(args) => compare_table(args),
    }
}

fn get_table(args: &GetTable) -> Result<()> {
    let ask = args.store.ask(Method::GET, "/kv/snapshot").with("timestamp", args.timestamp);
    args.store.run(ask.with("limit", args.limit).with_some("prefix", args.prefix.as_ref()))
}

fn compare_table(args: &CompareTable) -> Result<()> {
    let ask = args.store.ask(Method::GET, "/kv/diff").with("from", args.from).with("to", args.to);
    args.store.run(ask.with_some("keys", args.keys.as_ref()))
}

/// A table as a whole
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv": "kv table rollback --db app --to-timestamp 1795341600 --dry-run"))]
pub(super) enum Table {
    Rollback(RollbackTable),
    #[command(subcommand)]
    Snapshots(TableSnapshots),
}

/// What a table was
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv": "kv table snapshots get --db app --timestamp 1795341600"))]
pub(super) enum TableSnapshots {
    Get(GetTable),
    Compare(CompareTable),
}

pub(super) fn table(action: &Table) -> Result<()> {
    match action {
        Table::Rollback(args) => rollback_table(args),
        Table::Snapshots(TableSnapshots::Get(args)) => get_table(args),
        Table::Snapshots(TableSnapshots::Compare(args)) => compare_table(args),
    }
}
