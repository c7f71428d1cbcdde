//! The items of a transaction, as they stand in the body of a request, and what is wrong with them before anything runs.
//!
//! Called by [`super::transaction`]. All items are checked before the first one runs, so `noFail` softens nothing here.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::value::RawValue;

use super::super::Failure;
use super::values::Values;

/// The most items of a request.
const ITEMS_MAX: usize = 10_000;

/// The most entries of one `valuesBatch`.
const BATCH_MAX: usize = 100_000;

/// The most entries of all `valuesBatch` of a request.
const BATCHES_MAX: usize = 1_000_000;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// In the order in which they run.
    pub(super) items: Vec<Item>,
    /// Whether rows are arrays rather than objects.
    pub(super) is_list: bool,
}

/// One item.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// Its SQL, not empty.
    pub(super) sql: String,
    /// Whether it was sent as a query, which always answers rows.
    pub(super) is_query: bool,
    /// Its values.
    pub(super) values: Values,
    /// The values of each time that it runs; empty if it runs once.
    pub(super) batch: Vec<Values>,
    /// Whether its failure leaves the rest as it is.
    pub(super) no_fail: bool,
}

impl Plan {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 with the first item that is malformed, or -1; 413 if there are too many.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let malformed = |_| Failure::parameters("Invalid JSON body").at(-1);
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(malformed)?;
        let items = members.get("transaction").and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return Err(Failure::parameters("transaction must be an array of at least one item").at(-1));
        };
        if items.len() > ITEMS_MAX {
            return Err(Failure::too_large(format!("a transaction has at most {ITEMS_MAX} items")).at(-1));
        }
        let format = members.get("resultFormat").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let is_list = format.is_some_and(|format| format.eq_ignore_ascii_case("list"));
        let mut entries = 0;
        let items = items.into_iter().zip(0..).map(|(raw, index)| {
            let item = Item::parse(raw).map_err(|failure| failure.at(index))?;
            entries += item.batch.len();
            if entries > BATCHES_MAX {
                return Err(
                    Failure::too_large(format!("a transaction has at most {BATCHES_MAX} entries of batches")).at(-1)
                );
            }
            Ok(item)
        });
        Ok(Self { items: items.collect::<Result<_, _>>()?, is_list })
    }
}

/// The members of an item; one that is null counts as absent, but for values.
struct Members<'b>(BTreeMap<String, &'b RawValue>);

impl<'b> Members<'b> {
    const NAMES: [&'static str; 7] = ["query", "statement", "sql", "values", "params", "valuesBatch", "noFail"];

    fn parse(raw: &'b RawValue) -> Result<Self, Failure> {
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| Failure::parameters("an item must be an object"))?;
        match members.keys().find(|name| !Self::NAMES.contains(&name.as_str())) {
            Some(name) => {
                let text = format!("an item has no member {name:?}");
                Err(Failure::new(StatusCode::BAD_REQUEST, "UNKNOWN_FIELD", text))
            }
            None => Ok(Self(members)),
        }
    }

    fn get<T: serde::Deserialize<'b>>(&self, name: &str, what: &str) -> Result<Option<T>, Failure> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| Failure::parameters(format!("{name} must be {what}")))
    }

    fn values(&self, name: &str) -> Result<Option<Values>, Failure> {
        match self.0.get(name).map(|raw| Values::parse(raw)) {
            Some(Values::Unfit) => Err(Failure::parameters(format!("{name} must be an array or an object"))),
            values => Ok(values),
        }
    }

    /// The SQL, and whether it was sent as a query.
    fn sql(&self) -> Result<(String, bool), Failure> {
        let text = |name| self.get::<String>(name, "a string");
        let (query, statement, alias) = (text("query")?, text("statement")?, text("sql")?);
        if statement.is_some() && alias.is_some() && statement != alias {
            return Err(Failure::parameters("statement and sql are the same member, and differ"));
        }
        let (sql, is_query) = match (query, statement.or(alias)) {
            (Some(query), None) => (query, true),
            (None, Some(statement)) => (statement, false),
            _ => return Err(Failure::parameters("an item has either a query or a statement")),
        };
        if sql.is_empty() {
            return Err(Failure::parameters("the SQL of an item is empty"));
        }
        Ok((sql, is_query))
    }
}

impl Item {
    fn parse(raw: &RawValue) -> Result<Self, Failure> {
        let members = Members::parse(raw)?;
        let (sql, is_query) = members.sql()?;
        let values = match (members.values("values")?, members.values("params")?) {
            (Some(values), Some(params)) if values != params => {
                let text = "values and params are the same member, and differ";
                return Err(Failure::new(StatusCode::BAD_REQUEST, "VALUES_CONFLICT", text));
            }
            (values, params) => values.or(params).unwrap_or(Values::Absent),
        };
        let batch: Option<Vec<&RawValue>> = members.get("valuesBatch", "an array")?;
        if is_query && batch.is_some() {
            return Err(Failure::parameters("a query has no valuesBatch"));
        }
        let batch = batch.unwrap_or_default();
        if !batch.is_empty() && values != Values::Absent {
            return Err(Failure::parameters("an item has either values or a valuesBatch"));
        }
        if batch.len() > BATCH_MAX {
            return Err(Failure::too_large(format!("a valuesBatch has at most {BATCH_MAX} entries")));
        }
        let no_fail = members.get("noFail", "true or false")?.unwrap_or(false);
        Ok(Self { sql, is_query, values, batch: batch.into_iter().map(Values::parse).collect(), no_fail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (&'static str, i64) {
        let failure = Plan::parse(body.as_bytes()).unwrap_err();
        (failure.code, failure.members["reqIdx"].as_i64().unwrap())
    }

    #[test]
    fn aliases_and_nulls_are_read() {
        let body = r#"{"transaction":[{"sql":"a","statement":"a","query":null,"params":[1],"noFail":null,"valuesBatch":[]}],
            "resultFormat":"List","more":1}"#;
        let plan = Plan::parse(body.as_bytes()).unwrap();
        assert!(plan.is_list);
        let values = Values::List(vec![super::super::values::Value::Integer(1)]);
        let item = Item { sql: "a".to_owned(), is_query: false, values, batch: Vec::new(), no_fail: false };
        assert_eq!(plan.items, [item]);
    }

    #[test]
    fn a_body_that_is_none_is_refused() {
        for body in ["", "[]", "7", "{}", r#"{"transaction":[]}"#, r#"{"transaction":{}}"#, r#"{"transaction":[1],}"#] {
            assert_eq!(refusal(body), ("INVALID_PARAMETERS", -1), "{body}");
        }
    }

    #[test]
    fn the_first_item_that_is_malformed_is_told() {
        for (item, code) in [
            ("7", "INVALID_PARAMETERS"),
            (r#"{"query":"a","vals":[]}"#, "UNKNOWN_FIELD"),
            (r#"{"Query":"a"}"#, "UNKNOWN_FIELD"),
            ("{}", "INVALID_PARAMETERS"),
            (r#"{"query":""}"#, "INVALID_PARAMETERS"),
            (r#"{"query":7}"#, "INVALID_PARAMETERS"),
            (r#"{"query":"a","statement":"a"}"#, "INVALID_PARAMETERS"),
            (r#"{"sql":"a","statement":"b"}"#, "INVALID_PARAMETERS"),
            (r#"{"query":"a","values":7}"#, "INVALID_PARAMETERS"),
            (r#"{"query":"a","values":[1],"params":[2]}"#, "VALUES_CONFLICT"),
            (r#"{"query":"a","values":[1],"params":null}"#, "VALUES_CONFLICT"),
            (r#"{"query":"a","valuesBatch":[]}"#, "INVALID_PARAMETERS"),
            (r#"{"statement":"a","valuesBatch":{}}"#, "INVALID_PARAMETERS"),
            (r#"{"statement":"a","valuesBatch":[[1]],"values":[]}"#, "INVALID_PARAMETERS"),
            (r#"{"statement":"a","noFail":"yes"}"#, "INVALID_PARAMETERS"),
        ] {
            let body = format!(r#"{{"transaction":[{{"query":"a"}},{item},{{}}]}}"#);
            assert_eq!(refusal(&body), (code, 1), "{item}");
        }
    }

    #[test]
    fn there_are_limits() {
        let items = |count| format!(r#"{{"transaction":[{}]}}"#, vec![r#"{"query":"a"}"#; count].join(","));
        assert!(Plan::parse(items(ITEMS_MAX).as_bytes()).is_ok());
        assert_eq!(refusal(&items(ITEMS_MAX + 1)), ("PAYLOAD_TOO_LARGE", -1));
        let batch = |count| format!(r#"{{"statement":"a","valuesBatch":[{}]}}"#, vec!["[]"; count].join(","));
        let body = format!(r#"{{"transaction":[{},{}]}}"#, batch(BATCH_MAX), batch(BATCH_MAX + 1));
        assert_eq!(refusal(&body), ("PAYLOAD_TOO_LARGE", 1));
        let body = format!(r#"{{"transaction":[{},{}]}}"#, vec![batch(BATCH_MAX); 10].join(","), batch(1));
        assert_eq!(refusal(&body), ("PAYLOAD_TOO_LARGE", -1));
    }
}
