//! `hoodydb kv arrays`.

use anyhow::Result;
use http::Method;

use super::Written;

/// Values that are JSON arrays
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv": "kv arrays push queue --db app --body '\"job\"'", "kv arrays pop queue --db app"))]
pub(super) enum Arrays {
    Push(Push),
    Pop(Pop),
    #[command(visible_alias = "remove")]
    Delete(Delete),
}

/// The array
#[derive(Debug, clap::Args)]
pub(super) struct Array {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// The part of the JSON value that is the array
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    written: Written,
}

/// Adds an element at the end
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv arrays push queue --db app --body '{\"job\":7}'"))]
pub(super) struct Push {
    #[command(flatten)]
    array: Array,
    /// The element, in JSON
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    body: String,
}

/// Takes the last element
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv arrays pop queue --db app"))]
pub(super) struct Pop {
    #[command(flatten)]
    array: Array,
}

/// Removes an element by its place or its value
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv":
    "kv arrays delete queue --db app --index 0 -y", "kv arrays delete queue --db app --body '{\"value\":\"job\"}' -y"))]
pub(super) struct Delete {
    #[command(flatten)]
    array: Array,
    /// Its place, from 0
    #[arg(long, value_name = "N", required_unless_present = "body", allow_hyphen_values = true)]
    index: Option<i64>,
    /// {"value": ..}
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
}

pub(super) fn run(action: Arrays) -> Result<()> {
    let (array, ask) = match action {
        Arrays::Push(Push { array, body }) => {
            let ask = array.written.key(Method::POST, &array.key, "/push").json(body);
            (array, ask)
        }
        Arrays::Pop(Pop { array }) => {
            let ask = array.written.key(Method::POST, &array.key, "/pop");
            (array, ask)
        }
        Arrays::Delete(Delete { array, index, body }) => {
            array.written.store.place.confirm(&format!("remove an element of {}", array.key))?;
            let ask = array.written.key(Method::POST, &array.key, "/remove").with_some("index", index);
            let ask = match body {
                Some(body) => ask.json(body),
                None => ask,
            };
            (array, ask)
        }
    };
    array.written.run(ask.with_some("path", array.path.as_ref()))
}
