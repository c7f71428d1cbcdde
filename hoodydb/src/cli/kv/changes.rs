//! `hoodydb kv changes`.

use std::io::{self, Write};

use anyhow::Result;
use http::Method;

use super::Store;
use crate::cli::ask::Output;
use crate::cli::exit::Refused;

/// What changes in a table, whoever changes it
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("kv": "kv changes list --db app --since CURSOR --wait 30", "kv changes stream --db app"))]
pub(super) enum Changes {
    List(List),
    Stream(Stream),
}

/// Which changes
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Those after this cursor; from now on without it
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// Only of keys that begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// With the values
    #[arg(long)]
    include_values: bool,
    #[command(flatten)]
    store: Store,
}

/// Prints a page of changes, or waits for one
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv changes list --db app", "kv changes list --db app --since CURSOR --wait 30"))]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    /// The most changes
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Seconds to wait for the first one
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
}

/// Prints changes as they happen, one line of JSON each
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("kv": "kv changes stream --db app --prefix user: --include-values", "kv changes stream --db app -o raw"))]
pub(super) struct Stream {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(action: &Changes) -> Result<()> {
    match action {
        Changes::List(List { which, limit, wait }) => {
            let ask = which.ask("/changes").with_some("limit", *limit).with_some("wait", *wait);
            which.store.run(ask)
        }
        Changes::Stream(Stream { which }) => stream(which),
    }
}

impl Which {
    fn ask(&self, path: &str) -> crate::cli::ask::Ask {
        let ask = self.store.ask(Method::GET, path).with_flag("include_values", self.include_values);
        ask.with_some("since", self.since.as_ref()).with_some("prefix", self.prefix.as_ref())
    }
}

fn stream(which: &Which) -> Result<()> {
    let is_raw = which.store.place.output() == Output::Raw;
    let (mut events, mut reset) = (Events::default(), None);
    which.store.place.follow(which.ask("/changes/stream"), &mut |piece| {
        if is_raw {
            return put(piece);
        }
        events.feed(piece, &mut |kind, data| match kind {
            "change" => put(format!("{data}\n").as_bytes()),
            "reset" => {
                reset = Some(data.to_owned());
                false
            }
            _ => true,
        })
    })?;
    match reset {
        Some(data) => {
            let reason: serde_json::Value = serde_json::from_str(&data).unwrap_or_default();
            let reason = reason.get("reason").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
            Err(Refused::new(format!("the changes cannot be followed any more: {reason}"), "RESET").into())
        }
        None => Ok(()),
    }
}

/// False once nobody reads any more.
fn put(bytes: &[u8]) -> bool {
    io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()).is_ok()
}

/// Server-sent events, put together from pieces of any length.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    kind: String,
    data: String,
}

impl Events {
    /// Takes a piece; whole events go to `event`, until that says false.
    fn feed(&mut self, piece: &[u8], event: &mut dyn FnMut(&str, &str) -> bool) -> bool {
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            if let Some(kind) = line.strip_prefix("event:") {
                self.kind = kind.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            } else if line.trim_end_matches('\r').is_empty() {
                let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
                if !data.is_empty() && !event(&kind, &data) {
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Events;

    #[test]
    fn events_are_put_together() {
        let text = b"retry: 1000\n\nid: a\nevent: ready\ndata: {\"cursor\":1}\n\nevent: change\ndata: {}\n\nevent: x\ndata: no\n\n";
        let (mut events, mut seen) = (Events::default(), Vec::new());
        let mut goes_on = true;
        for byte in text {
            goes_on = goes_on
                && events.feed(&[*byte], &mut |kind, data| {
                    seen.push(format!("{kind} {data}"));
                    kind != "change"
                });
        }
        assert_eq!(seen, ["ready {\"cursor\":1}", "change {}"]);
    }
}
