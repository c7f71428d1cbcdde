//! `hoodydb kv get`, `set`, `delete`, `exists`, `list` and `entry`.

use anyhow::Result;
use http::{Method, header};

use super::{Store, Written};
use crate::cli::exit::No;
use crate::cli::print;

/// Prints a value: JSON over several lines, anything else as it is
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv":
    "kv get user:1 --db app", "kv get user:1 --db app --path prefs.theme", "kv get photo --db app -o raw > photo.png"))]
pub(super) struct Get {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// A part of the JSON value, such as prefs.theme or items[2]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The value as it was then, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    at_timestamp: Option<i64>,
    #[command(flatten)]
    store: Store,
}

pub(super) fn get(args: &Get) -> Result<()> {
    let ask = args.store.key(Method::GET, &args.key, "");
    args.store.run(ask.with_some("path", args.path.as_ref()).with_some("at_timestamp", args.at_timestamp))
}

/// Stores a value
///
/// What is valid JSON is stored as application/json, anything else as text/plain.
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv":
    "kv set user:1 --db app --body '{\"name\":\"Alice\"}'", "kv set session --db app --body x --ttl 3600 --if-absent",
    "kv set user:1 --db app --path prefs.theme --body '\"dark\"'"))]
pub(super) struct Set {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// The value
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    body: String,
    /// Its kind
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The part of the JSON value that is replaced
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Seconds after which it is gone
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<i64>,
    /// Only if the value is this one
    #[arg(long, value_name = "TEXT", visible_alias = "if-value", allow_hyphen_values = true)]
    if_match: Option<String>,
    /// Only if the value has this tag, or * if there is one
    #[arg(long, value_name = "ETAG")]
    if_etag: Option<String>,
    /// Only if the key does not exist
    #[arg(long)]
    if_absent: bool,
    #[command(flatten)]
    written: Written,
}

pub(super) fn set(args: Set) -> Result<()> {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&args.body).is_ok();
    let kind = args.content_type.as_deref().unwrap_or(if is_json { "application/json" } else { "text/plain" });
    let ask = args.written.key(Method::PUT, &args.key, "").body(kind, args.body);
    let mut ask = ask.with_some("path", args.path).with_some("ttl", args.ttl).with_some("if_match", args.if_match);
    if let Some(etag) = args.if_etag {
        ask = ask.header(header::IF_MATCH, etag);
    }
    if args.if_absent {
        ask = ask.header(header::IF_NONE_MATCH, "*");
    }
    args.written.run(ask)
}

/// Removes a key
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv delete user:1 --db app -y"))]
pub(super) struct Delete {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    written: Written,
}

pub(super) fn delete(args: &Delete) -> Result<()> {
    args.written.store.place.confirm(&format!("remove the key {}", args.key))?;
    args.written.run(args.written.key(Method::DELETE, &args.key, ""))
}

/// Tells whether a key exists
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb kv exists user:1 --db app

Exit codes:
  0  it exists
  1  it does not, or it failed; then a line on standard error says why
  2  the command line is wrong")]
pub(super) struct Exists {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    store: Store,
}

pub(super) fn exists(args: &Exists) -> Result<()> {
    match args.store.place.ask(args.store.key(Method::HEAD, &args.key, "")) {
        Ok(_) => print("true\n"),
        Err(error)
            if error.to_string().ends_with("(KEY_NOT_FOUND)") || error.to_string().ends_with("(KEY_EXPIRED)") =>
        {
            print("false\n")?;
            Err(No.into())
        }
        Err(error) => Err(error),
    }
}

/// Lists keys in the order of their bytes
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv":
    "kv list --db app --prefix user:", "kv list --db app --limit 1000 --after user:9 -o table"))]
pub(super) struct List {
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// The most keys
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Keys to leave out
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Only keys that come after this one
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// The keys as they were then, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    at_timestamp: Option<i64>,
    #[command(flatten)]
    store: Store,
}

pub(super) fn list(args: &List) -> Result<()> {
    let ask = args.store.ask(Method::GET, "/kv").with("limit", args.limit).with("offset", args.offset);
    let ask = ask.with_some("prefix", args.prefix.as_ref()).with_some("after", args.after.as_ref());
    args.store.run(ask.with_some("at_timestamp", args.at_timestamp))
}

/// A value with what is known of it
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv": "kv entry get user:1 --db app"))]
pub(super) enum Entry {
    Get(EntryGet),
}

/// Prints a value with its kind, its tag and its times
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv entry get user:1 --db app"))]
pub(super) struct EntryGet {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    store: Store,
}

pub(super) fn entry(args: &EntryGet) -> Result<()> {
    args.store.run(args.store.key(Method::GET, &args.key, "/entry"))
}
