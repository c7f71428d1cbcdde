//! How answers are shown: as JSON, as they are, or as a table.
//!
//! Called by [`super::Place`]. An answer that is no JSON is shown as it is, whatever was asked for.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::pretty::pretty;
use crate::cli::{print, style};
use crate::render;

/// Lists of an answer that make a table, in the order in which they are looked for.
const LISTS: [&str; 7] = ["items", "databases", "operations", "keys", "changes", "events", "history"];

/// How an answer is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Output {
    /// JSON over several lines
    #[default]
    Json,
    /// The bytes of the answer
    Raw,
    /// A table
    Table,
}

/// Shows an answer.
pub(super) fn answer(response: &Response<Bytes>, output: Output) -> Result<()> {
    let bytes = response.body();
    let text = std::str::from_utf8(bytes).ok().filter(|_| output != Output::Raw);
    let Some(text) = text else { return write(bytes) };
    if output == Output::Table
        && let Ok(value) = serde_json::from_str(text)
    {
        return print(&tables(&value));
    }
    match pretty(text) {
        Some(pretty) => print(&format!("{pretty}\n")),
        None => {
            write(bytes)?;
            // Whoever reads on a terminal gets the prompt on a line of its own.
            if io::stdout().is_terminal() && !text.ends_with('\n') { print("\n") } else { Ok(()) }
        }
    }
}

fn write(bytes: &[u8]) -> Result<()> {
    match io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn tables(value: &Value) -> String {
    if let Some(results) = value.get("results").and_then(Value::as_array) {
        return results.iter().map(result).collect::<Vec<_>>().join("\n");
    }
    if value.get("columns").is_some() {
        return result(value);
    }
    let list = LISTS.iter().find_map(|name| value.get(name));
    match (list, value) {
        (Some(list), _) => {
            let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let mut titles: Vec<String> = Vec::new();
            for name in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
                if !titles.contains(name) {
                    titles.push(name.clone());
                }
            }
            let cells = |row: &Value| titles.iter().map(|title| cell(row.get(title))).collect();
            render::rows(&titles, rows.iter().map(cells).collect(), style())
        }
        (None, Value::Object(members)) => {
            let rows = members.iter().map(|(name, value)| vec![name.clone(), cell(Some(value))]).collect();
            render::rows(&["name".to_owned(), "value".to_owned()], rows, style())
        }
        (None, other) => format!("{}\n", cell(Some(other))),
    }
}

/// The rows of one statement, in the order of its columns; or how many it changed.
fn result(value: &Value) -> String {
    let titles = value.get("resultHeaders").or_else(|| value.get("columns")).and_then(Value::as_array);
    let Some(titles) = titles else { return format!("{value}\n") };
    let titles: Vec<String> = titles.iter().map(|title| cell(Some(title))).collect();
    let rows = value.get("resultSet").or_else(|| value.get("resultSetList")).and_then(Value::as_array);
    let cells = |row: &Value| match row {
        Value::Array(cells) => cells.iter().map(|value| cell(Some(value))).collect(),
        row => titles.iter().map(|title| cell(row.get(title))).collect(),
    };
    render::rows(&titles, rows.map(|rows| rows.iter().map(cells).collect()).unwrap_or_default(), style())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_make_a_table_in_the_order_of_their_columns() {
        let answer = json!({"results": [
            {"success": true, "resultHeaders": ["z", "a"], "resultSet": [{"z": 1, "a": "x"}, {"z": null, "a": 2.5}]},
            {"success": true, "resultHeaders": ["b"], "resultSetList": [[7]]},
            {"success": true, "rowsUpdated": 3},
        ]});
        let text = tables(&answer);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words[..8], ["z", "a", "1", "x", "2.5", "b", "7", r#"{"rowsUpdated":3,"success":true}"#]);
        let list = tables(&json!({"items": [{"key": "a", "size": 1}], "count": 1}));
        assert_eq!(list.split_whitespace().collect::<Vec<_>>(), ["key", "size", "a", "1"]);
        assert!(tables(&json!({"items": null})).trim().is_empty());
        assert!(tables(&json!({"status": "ok"})).contains("status"));
    }
}
