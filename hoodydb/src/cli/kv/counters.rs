//! `hoodydb kv incr`, `decr` and `ttl`.

use anyhow::Result;
use http::Method;

use super::Written;

/// Counts a key up or down; a missing one begins at 0
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv incr hits --db app", "kv decr stock --db app --delta 3 --path shirts"))]
pub(super) struct Count {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// By how much
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true)]
    delta: String,
    /// The part of the JSON value that is the number
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    written: Written,
}

pub(super) fn count(args: &Count, verb: &str) -> Result<()> {
    let ask = args.written.key(Method::POST, &args.key, verb).with("delta", &args.delta);
    args.written.run(ask.with_some("path", args.path.as_ref()))
}

/// When keys are gone by themselves
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv": "kv ttl set session --db app --ttl 3600", "kv ttl clear session --db app"))]
pub(super) enum Ttl {
    Set(TtlSet),
    Clear(TtlClear),
}

/// Sets when a key is gone
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv ttl set session --db app --ttl 3600"))]
pub(super) struct TtlSet {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// Seconds from now
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    ttl: i64,
    #[command(flatten)]
    written: Written,
}

/// Lets a key stay for good
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv ttl clear session --db app"))]
pub(super) struct TtlClear {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    written: Written,
}

pub(super) fn ttl(action: &Ttl) -> Result<()> {
    match action {
        Ttl::Set(args) => args.written.run(args.written.key(Method::POST, &args.key, "/expire").with("ttl", args.ttl)),
        Ttl::Clear(args) => args.written.run(args.written.key(Method::POST, &args.key, "/persist")),
    }
}
