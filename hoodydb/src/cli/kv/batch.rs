//! `hoodydb kv batch`.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::{Store, Written};

/// Up to 100 keys at a time
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv":
    "kv batch get --db app --keys a,b", "kv batch set --db app --items '[{\"key\":\"a\",\"value\":\"1\"}]'"))]
pub(super) enum Batch {
    Get(Get),
    Set(Set),
    Delete(Delete),
}

/// The keys
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Keys {
    /// Keys; can be given more than once
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',')]
    keys: Vec<String>,
    /// The whole body instead
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
}

/// Prints several values, all of the same moment
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv batch get --db app --keys a,b --keys c"))]
pub(super) struct Get {
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    store: Store,
}

/// Stores several values, all or none
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv":
    "kv batch set --db app --items '[{\"key\":\"a\",\"value\":\"1\",\"content_type\":\"application/json\",\"ttl\":60}]'"))]
pub(super) struct Set {
    /// An array of {"key": .., "value": "..", "content_type": .., "ttl": .., "if_match": .., "if_none_match": ..}
    #[arg(long, value_name = "JSON", required_unless_present = "body", conflicts_with = "body")]
    items: Option<String>,
    /// The whole body instead
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    #[command(flatten)]
    written: Written,
}

/// Removes several keys, all or none; missing ones are skipped
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv batch delete --db app --keys a,b -y"))]
pub(super) struct Delete {
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    written: Written,
}

impl Keys {
    fn body(self) -> String {
        self.body.unwrap_or_else(|| json!({ "keys": self.keys }).to_string())
    }
}

pub(super) fn run(action: Batch) -> Result<()> {
    match action {
        Batch::Get(Get { keys, store }) => store.run(store.ask(Method::POST, "/kv/batch/get").json(keys.body())),
        Batch::Set(Set { items, body, written }) => {
            let body = body.unwrap_or_else(|| format!("{{\"items\":{}}}", items.unwrap_or_default()));
            let ask = written.options(written.store.ask(Method::POST, "/kv/batch/set"));
            written.run(ask.json(body))
        }
        Batch::Delete(Delete { keys, written }) => {
            written.store.place.confirm("remove these keys")?;
            let ask = written.options(written.store.ask(Method::POST, "/kv/batch/delete"));
            written.run(ask.json(keys.body()))
        }
    }
}
