//! `GET /query`: one statement that only reads, in the URL.
//!
//! Called by [`super::query`]. The words decide nothing but the text of a refusal: the connection only reads, and SQLite says of the
//! statement that it does.

use std::time::Instant;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::{Answer, Body, Failure, Outcome, Session, history::Record};
use super::rows::{self, Format, Rows};
use super::statements::{self, Statement as Text};
use super::values::Values;
use super::{execute, record, run};

/// The answer to a query.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryResult<'q> {
    /// Always true.
    pub success: bool,
    /// The SQL, decoded.
    pub query: &'q str,
    /// The names of the columns, each once.
    pub columns: &'q [String],
    /// The rows as objects; null if there are none.
    pub result_set: Option<&'q RawValue>,
    /// How many rows there are.
    pub row_count: u64,
    /// Whether there were more.
    pub truncated: bool,
}

/// Takes both alphabets, with or without padding.
const ANY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The SQL that a parameter means: base64 of a query, or a query.
pub(super) fn decode(parameter: &str) -> String {
    // A plus sign of the standard alphabet arrives as a space.
    let standard = parameter.replace('-', "+").replace('_', "/").replace(' ', "+");
    let decoded = ANY_BASE64.decode(standard).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.filter(|sql| is_query(sql)).unwrap_or_else(|| parameter.to_owned())
}

fn is_query(sql: &str) -> bool {
    statements::begins_with(sql, &["SELECT", "WITH"])
}

fn only_reads() -> Failure {
    Failure::parameters("GET /query only accepts read-only SELECT/WITH queries; use POST /db for mutating SQL")
}

/// Refuses what its words say is no query.
///
/// # Errors
/// 400 SQL_ERROR for a NUL, INVALID_PARAMETERS for everything else.
pub(super) fn check(sql: &str) -> Result<(), Failure> {
    execute::check_text(sql)?;
    if !is_query(sql) || statements::has_semicolon(sql) {
        return Err(only_reads());
    }
    match statements::split(sql).as_slice() {
        [text] if text.reads() => Ok(()),
        _ => Err(only_reads()),
    }
}

/// Runs a query.
pub(super) fn run(session: &Session<'_>, sql: &str) -> Outcome {
    let began = Instant::now();
    let outcome = rows(session, sql).and_then(|rows| answer(session, sql, &rows).map(|answer| (answer, rows.count)));
    let record = Record { time: began.elapsed(), ..record::new(sql, false) };
    match outcome {
        Ok((answer, row_count)) => Ok(answer.recorded(vec![Record { row_count, ..record }])),
        Err(failure) => {
            let error = Some(failure.text.clone());
            Err(failure.recorded(vec![Record { error, ..record }]))
        }
    }
}

fn rows(session: &Session<'_>, sql: &str) -> Result<Rows, Failure> {
    let has_capture = run::has_capture(session)?;
    session.guard.protect(has_capture);
    if has_capture && statements::names_internal(sql) {
        return Err(run::internal());
    }
    let texts = statements::split(sql);
    let [text] = texts.as_slice() else { return Err(only_reads()) };
    session.as_user(|| read(session, text)).map_err(|failure| match failure.code {
        _ if session.guard.has_refused_internal() => run::internal(),
        // A function that writes although its statement only reads. It must not run again on a connection that writes.
        "DATABASE_READONLY" => only_reads(),
        _ => failure,
    })
}

fn read(session: &Session<'_>, text: &Text<'_>) -> Result<Rows, Failure> {
    execute::prepared(session.connection, text, |statement| {
        if !statement.readonly() || statement.is_explain() != 0 {
            return Err(only_reads());
        }
        Values::Absent.bind(statement, &mut 0, true)?;
        rows::collect(statement, Format::Readable, session.max_response_bytes)
    })
}

fn answer(session: &Session<'_>, sql: &str, rows: &Rows) -> Result<Answer, Failure> {
    let answer = Answer::json(&QueryResult {
        success: true,
        query: sql,
        columns: &rows.headers,
        result_set: (rows.count > 0).then_some(&*rows.json),
        row_count: rows.count,
        truncated: rows.is_truncated,
    })?;
    match answer.response.body() {
        Body::Whole(bytes) if bytes.len() > session.max_response_bytes => Err(rows::too_large()),
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_and_plain_text_are_read() {
        let sql = "SELECT id, n FROM t ORDER BY id LIMIT 1";
        assert_eq!(decode("U0VMRUNUIGlkLCBuIEZST00gdCBPUkRFUiBCWSBpZCBMSU1JVCAx"), sql);
        assert_eq!(decode("U0VMRUNUIDE"), "SELECT 1");
        assert_eq!(decode("U0VMRUNUIDE="), "SELECT 1");
        // The query is SELECT '~~~', '???'
        for encoded in ["U0VMRUNUICd-fn4nLCAnPz8_Jw", "U0VMRUNUICd+fn4nLCAnPz8/Jw==", "U0VMRUNUICd fn4nLCAnPz8/Jw=="] {
            assert_eq!(decode(encoded), "SELECT '~~~', '???'");
        }
        assert_eq!(decode(sql), sql);
        assert_eq!(decode("REVMRVRFIEZST00gdA"), "REVMRVRFIEZST00gdA");
    }

    #[test]
    fn whatever_is_not_one_query_is_refused() {
        assert_eq!(check("SELECT ';' -- ;\n"), Ok(()));
        assert_eq!(check(" /* a */ with a AS (SELECT 1) SELECT * FROM a"), Ok(()));
        for sql in [
            "SELECT 1;",
            "SELECT 1; SELECT 2",
            "DELETE FROM t",
            "WITH a AS (SELECT 1) DELETE FROM t",
            "WITH a AS (SELECT 1) REPLACE INTO t SELECT 1",
            "PRAGMA user_version",
            "EXPLAIN SELECT 1",
            "VALUES (1)",
            "VACUUM",
            "ATTACH 'x' AS x",
            "CREATE TABLE t(a)",
            "REVMRVRFIEZST00gdA",
            "",
        ] {
            let failure = check(sql).unwrap_err();
            assert_eq!(failure.code, "INVALID_PARAMETERS", "{sql}");
            assert!(failure.text.starts_with("GET /query only accepts"), "{sql}");
        }
        assert_eq!(check("SELECT 1\0").unwrap_err().code, "SQL_ERROR");
    }
}
