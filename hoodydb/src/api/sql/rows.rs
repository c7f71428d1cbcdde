//! Rows of a statement as JSON, written as they come: columns in their order, integers with all their digits.
//!
//! Called by [`super::run`] and [`super::query`]. Of rows that would be too many bytes no more than the limit is ever held.

use std::collections::HashSet;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use rusqlite::Statement;
use rusqlite::types::ValueRef;
use serde_json::value::RawValue;

use super::super::Failure;

/// The most rows that are returned.
pub(super) const ROWS_MAX: u64 = 10_000;

/// How a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// An object.
    Map,
    /// An array.
    List,
    /// An object, in which a BLOB that is UTF-8 is text.
    Readable,
}

/// The rows of a statement.
#[derive(Debug)]
pub(super) struct Rows {
    /// The names of the columns, each once.
    pub(super) headers: Vec<String>,
    /// An array of the rows.
    pub(super) json: Box<RawValue>,
    /// How many there are.
    pub(super) count: u64,
    /// Whether there were more.
    pub(super) is_truncated: bool,
}

/// 413: the rows are too many bytes.
pub(super) fn too_large() -> Failure {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "RESPONSE_TOO_LARGE", "the result is too large")
}

/// The names of a statement's columns; of a name that comes again the second is `name:2`.
fn headers(statement: &Statement<'_>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut unique = |name: &str| {
        let numbered = (2..).map(|number| format!("{name}:{number}"));
        let name =
            std::iter::once(name.to_owned()).chain(numbered).find(|name| !seen.contains(name)).unwrap_or_default();
        seen.insert(name.clone());
        name
    };
    statement.column_names().map(&mut unique).collect()
}

/// Runs a statement that is bound, and takes its rows. One that writes runs to its end, however many rows it returns.
///
/// # Errors
/// SQLite's; 413 RESPONSE_TOO_LARGE if they are more than `left` bytes; 500 if one has an infinite number.
pub(super) fn collect(statement: &mut Statement<'_>, format: Format, left: usize) -> Result<Rows, Failure> {
    let reads = statement.readonly();
    let (mut writer, mut count, mut is_truncated) = (None, 0, false);
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        // A statement that was kept learns of another schema with its first step only.
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(Writer::new(row.as_ref(), format, left)?),
        };
        if count < ROWS_MAX {
            writer.row(row)?;
            count += 1;
            continue;
        }
        is_truncated = true;
        if reads {
            break;
        }
    }
    drop(rows);
    let mut writer = match writer {
        Some(writer) => writer,
        None => Writer::new(statement, format, left)?,
    };
    writer.bytes.push(b']');
    let text = String::from_utf8(writer.bytes).map_err(|error| Failure::internal(&error))?;
    let json = RawValue::from_string(text).map_err(|error| Failure::internal(&error))?;
    Ok(Rows { headers: writer.headers, json, count, is_truncated })
}

/// Runs a statement that is bound, and drops its rows.
///
/// # Errors
/// SQLite's.
pub(super) fn exhaust(statement: &mut Statement<'_>) -> Result<(), Failure> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// Writes rows into an array.
struct Writer {
    bytes: Vec<u8>,
    headers: Vec<String>,
    /// What stands before the value of each column.
    labels: Vec<String>,
    format: Format,
    left: usize,
}

impl Writer {
    fn new(statement: &Statement<'_>, format: Format, left: usize) -> Result<Self, Failure> {
        let headers = headers(statement);
        let label = |name| match format {
            Format::List => Ok(String::new()),
            Format::Map | Format::Readable => serde_json::to_string(name).map(|name| name + ":"),
        };
        let labels: Result<Vec<String>, _> = headers.iter().map(label).collect();
        let labels = labels.map_err(|error| Failure::internal(&error))?;
        Ok(Self { bytes: vec![b'['], headers, labels, format, left })
    }

    fn row(&mut self, row: &rusqlite::Row<'_>) -> Result<(), Failure> {
        let (open, close) = if self.format == Format::List { (b'[', b']') } else { (b'{', b'}') };
        if self.bytes.len() > 1 {
            self.bytes.push(b',');
        }
        self.bytes.push(open);
        for at in 0..self.labels.len() {
            if at > 0 {
                self.bytes.push(b',');
            }
            self.bytes.extend_from_slice(self.labels[at].as_bytes());
            self.value(row.get_ref(at)?)?;
        }
        self.bytes.push(close);
        self.room(0)
    }

    /// Whether there is room for some bytes more.
    fn room(&self, more: usize) -> Result<(), Failure> {
        if self.bytes.len().saturating_add(more) > self.left { Err(too_large()) } else { Ok(()) }
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), Failure> {
        match value {
            ValueRef::Null => self.bytes.extend_from_slice(b"null"),
            ValueRef::Integer(integer) => self.json(&integer)?,
            ValueRef::Real(real) if real.is_finite() => self.json(&real)?,
            ValueRef::Real(real) => return Err(Failure::internal(&format!("a result is {real}"))),
            ValueRef::Text(text) => self.text(&String::from_utf8_lossy(text))?,
            ValueRef::Blob(blob) => match std::str::from_utf8(blob) {
                Ok(text) if self.format == Format::Readable => self.text(text)?,
                _ => self.blob(blob)?,
            },
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.room(text.len())?;
        self.json(&text)
    }

    fn blob(&mut self, blob: &[u8]) -> Result<(), Failure> {
        self.room(blob.len())?;
        let encoded = STANDARD.encode(blob);
        let is_readable = self.format == Format::Readable;
        let written = if is_readable {
            write!(self.bytes, "{{\"value_base64\":\"{encoded}\"}}")
        } else {
            write!(self.bytes, "\"{encoded}\"")
        };
        written.map_err(|error| Failure::internal(&error))
    }

    fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.bytes, value).map_err(|error| Failure::internal(&error))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn run(sql: &str, format: Format, left: usize) -> Result<Rows, Failure> {
        collect(&mut Connection::open_in_memory().unwrap().prepare(sql).unwrap(), format, left)
    }

    fn json(sql: &str, format: Format) -> String {
        run(sql, format, 1 << 20).unwrap().json.get().to_owned()
    }

    #[test]
    fn every_type_is_written_exactly() {
        let sql = "SELECT 9223372036854775807 AS z, -9223372036854775808 AS y, 0.1 AS x, 1e300 AS w, 2.0 AS v, NULL AS u, \
                   'a\"\u{1}é' AS t, x'00ff' AS s, CAST(x'61ff' AS TEXT) AS r";
        let expected = r#"[{"z":9223372036854775807,"y":-9223372036854775808,"x":0.1,"w":1e300,"v":2.0,"u":null,"t":"a\"\u0001é","s":"AP8=","r":"a�"}]"#;
        assert_eq!(json(sql, Format::Map).replace("1e+300", "1e300"), expected);
        assert_eq!(json("SELECT 1, 'b' UNION ALL SELECT 2, x''", Format::List), r#"[[1,"b"],[2,""]]"#);
        assert_eq!(json("SELECT 1 WHERE 0", Format::List), "[]");
        assert_eq!(
            json("SELECT x'61' AS a, x'ff' AS b", Format::Readable),
            r#"[{"a":"a","b":{"value_base64":"/w=="}}]"#
        );
    }

    #[test]
    fn infinity_is_no_number() {
        for sql in ["SELECT 9e999", "SELECT -9e999"] {
            assert_eq!(run(sql, Format::Map, 1 << 20).unwrap_err().code, "INTERNAL_ERROR");
        }
    }

    #[test]
    fn names_that_come_again_are_numbered() {
        let names = |sql| run(sql, Format::Map, 1 << 20).unwrap().headers;
        assert_eq!(names("SELECT 1 AS a, 2 AS b, 3 AS a, 4 AS a"), ["a", "b", "a:2", "a:3"]);
        assert_eq!(names("SELECT 1 AS a, 2 AS [a:2], 3 AS a"), ["a", "a:2", "a:3"]);
    }

    #[test]
    fn rows_end_at_the_cap_and_bytes_at_the_limit() {
        let count = |count| {
            format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n")
        };
        let rows = run(&count(10_000), Format::List, 1 << 20).unwrap();
        assert_eq!((rows.count, rows.is_truncated), (10_000, false));
        let rows = run(&count(10_001), Format::List, 1 << 20).unwrap();
        assert_eq!((rows.count, rows.is_truncated), (10_000, true));
        assert_eq!(run(&count(10_000), Format::List, 1 << 10).unwrap_err().code, "RESPONSE_TOO_LARGE");
        assert_eq!(run("SELECT zeroblob(100000000)", Format::List, 1 << 10).unwrap_err().code, "RESPONSE_TOO_LARGE");
    }

    #[test]
    fn a_statement_that_writes_runs_to_its_end() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t(a)").unwrap();
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) \
                   INSERT INTO t SELECT i FROM n RETURNING a";
        let rows = collect(&mut connection.prepare(sql).unwrap(), Format::List, 1 << 20).unwrap();
        assert_eq!((rows.count, rows.is_truncated), (10_000, true));
        assert_eq!(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)), Ok(12_000));
    }
}
