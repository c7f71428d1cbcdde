//! Values of a request, from JSON to what is bound to a statement.
//!
//! Called by [`super::item`], which reads them, and [`super::run`], which binds them. A number never goes through another type: what
//! an int64 can hold stays exact, everything else is rounded once, by the parser of the standard library.

use std::collections::BTreeMap;

use http::StatusCode;
use rusqlite::Statement;
use rusqlite::types::{Null, ToSql, ToSqlOutput};
use serde_json::value::RawValue;

use super::super::Failure;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `null`
    Null,
    /// A number without fraction and exponent that an int64 can hold, or a boolean.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// A string.
    Text(String),
    /// What cannot be bound, and why.
    Unfit(&'static str),
}

/// The values of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// None, or `null`.
    Absent,
    /// By position.
    List(Vec<Value>),
    /// By name.
    Named(BTreeMap<String, Value>),
    /// Neither.
    Unfit,
}

/// 400: the values do not fit the statement.
pub(super) fn unfit(text: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "SQL_BIND_ERROR", text)
}

impl Value {
    fn parse(raw: &RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Integer(1),
            Some(b'f') => Self::Integer(0),
            Some(b'"') => serde_json::from_str(text).map_or(Self::Unfit("a string is malformed"), Self::Text),
            Some(b'[' | b'{') => Self::Unfit("arrays and objects cannot be bound"),
            _ => Self::number(text),
        }
    }

    fn number(text: &str) -> Self {
        if let Ok(integer) = text.parse() {
            return Self::Integer(integer);
        }
        match text.parse::<f64>() {
            Ok(real) if real.is_finite() => Self::Real(real),
            _ => Self::Unfit("a number is out of range"),
        }
    }
}

impl Values {
    /// Reads what stands in the JSON of a request.
    pub(super) fn parse(raw: &RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'n') => Self::Absent,
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(list) => Self::List(list.into_iter().map(Value::parse).collect()),
                Err(_) => Self::Unfit,
            },
            Some(b'{') => match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
                Ok(named) => Self::Named(named.into_iter().map(|(name, raw)| (name, Value::parse(raw))).collect()),
                Err(_) => Self::Unfit,
            },
            _ => Self::Unfit,
        }
    }

    /// Binds the parameters of one statement of an item. Of a list it takes those from `taken` on; behind the last statement none
    /// may be left.
    ///
    /// # Errors
    /// 400 SQL_BIND_ERROR.
    pub(super) fn bind(&self, statement: &mut Statement<'_>, taken: &mut usize, is_last: bool) -> Result<(), Failure> {
        let count = statement.parameter_count();
        match self {
            Self::Unfit => Err(unfit("the values must be an array or an object")),
            Self::Absent if count == 0 => Ok(()),
            Self::Absent => Err(unfit(format!("the statement has {count} parameters, there are no values"))),
            Self::List(list) => {
                let left = &list[(*taken).min(list.len())..];
                if left.len() < count || (is_last && left.len() > count) {
                    let left = left.len();
                    return Err(unfit(format!("the statement has {count} parameters, there are {left} values")));
                }
                *taken += count;
                positional(statement, &left[..count])
            }
            Self::Named(values) => named(statement, values),
        }
    }
}

/// `$2` means the second value, wherever it stands; SQLite itself would number it by where it appears first.
fn positional(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), Failure> {
    for at in 1..=values.len() {
        let number =
            statement.parameter_name(at).and_then(|name| name.strip_prefix('$')).and_then(|name| name.parse().ok());
        let value = values.get(number.unwrap_or(at).wrapping_sub(1));
        bind(statement, at, value.ok_or_else(|| unfit(format!("there is no value number {}", number.unwrap_or(at))))?)?;
    }
    Ok(())
}

fn named(statement: &mut Statement<'_>, values: &BTreeMap<String, Value>) -> Result<(), Failure> {
    if let Some(name) = values.keys().find(|name| !name.starts_with(char::is_alphabetic)) {
        return Err(unfit(format!("the name of a value must start with a letter: {name:?}")));
    }
    for at in 1..=statement.parameter_count() {
        let name = statement.parameter_name(at).and_then(|name| name.strip_prefix([':', '@', '$'])).map(str::to_owned);
        let Some(name) = name else {
            return Err(unfit(format!("the parameter number {at} has no name, the values have")));
        };
        let value = values.get(&name).ok_or_else(|| unfit(format!("there is no value for the parameter {name}")))?;
        bind(statement, at, value)?;
    }
    Ok(())
}

fn bind(statement: &mut Statement<'_>, at: usize, value: &Value) -> Result<(), Failure> {
    if let Value::Unfit(why) = value {
        return Err(unfit(format!("value number {at}: {why}")));
    }
    statement.raw_bind_parameter(at, value).map_err(|error| match Failure::from(error) {
        failure if failure.status.is_server_error() => failure,
        failure => unfit(failure.text),
    })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null | Self::Unfit(_) => Ok(ToSqlOutput::from(Null)),
            Self::Integer(integer) => integer.to_sql(),
            Self::Real(real) => real.to_sql(),
            Self::Text(text) => text.to_sql(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn values(json: &str) -> Values {
        Values::parse(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn numbers_keep_what_they_are() {
        let json =
            "[9223372036854775807, -9223372036854775808, 9223372036854775808, 1.0, 1e2, -0, 0.1, 1e400, true, null]";
        let expected = [
            Value::Integer(i64::MAX),
            Value::Integer(i64::MIN),
            Value::Real(9_223_372_036_854_775_808.0),
            Value::Real(1.0),
            Value::Real(100.0),
            Value::Integer(0),
            Value::Real(0.1),
            Value::Unfit("a number is out of range"),
            Value::Integer(1),
            Value::Null,
        ];
        assert_eq!(values(json), Values::List(expected.into()));
        assert_eq!(
            values("[5.1e-324, 2.2250738585072011e-308]"),
            Values::List(vec![Value::Real(f64::from_bits(1)), Value::Real(2.225_073_858_507_201e-308),])
        );
        assert_eq!(values("7"), Values::Unfit);
        assert_eq!(values("null"), Values::Absent);
    }

    fn select(sql: &str, json: &str) -> Result<Vec<i64>, String> {
        let connection = Connection::open_in_memory().unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        values(json).bind(&mut statement, &mut 0, true).map_err(|failure| {
            assert_eq!(failure.code, "SQL_BIND_ERROR");
            failure.text
        })?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let row = rows.next().unwrap().unwrap();
        Ok((0..columns).map(|at| row.get(at).unwrap()).collect())
    }

    #[test]
    fn positions_and_names_reach_their_parameters() {
        assert_eq!(select("SELECT ?, ?", "[1, 2]"), Ok(vec![1, 2]));
        assert_eq!(select("SELECT ?2, ?1", "[1, 2]"), Ok(vec![2, 1]));
        assert_eq!(select("SELECT $2, $1", "[1, 2]"), Ok(vec![2, 1]));
        assert_eq!(select("SELECT :a, @b, $c, :a", r#"{"a": 1, "b": 2, "c": 3, "d": 4}"#), Ok(vec![1, 2, 3, 1]));
        assert_eq!(select("SELECT 1", "[]"), Ok(vec![1]));
        assert_eq!(select("SELECT 1", "{}"), Ok(vec![1]));
    }

    #[test]
    fn whatever_does_not_fit_is_refused() {
        for (sql, json) in [
            ("SELECT ?", "null"),
            ("SELECT ?", "[]"),
            ("SELECT ?", "[1, 2]"),
            ("SELECT 1", "[1]"),
            ("SELECT ?", r#"{"a": 1}"#),
            ("SELECT :b", r#"{"a": 1}"#),
            ("SELECT :_b", r#"{"_b": 1}"#),
            ("SELECT :b", r#"{":b": 1}"#),
            ("SELECT ?", "[[1]]"),
            ("SELECT ?", "[{}]"),
            ("SELECT :a", r#"{"a": []}"#),
            ("SELECT ?", "[1e400]"),
            ("SELECT ?", "7"),
        ] {
            assert!(select(sql, json).is_err(), "{sql} {json}");
        }
    }
}
