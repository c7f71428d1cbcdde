//! Up to a hundred keys at a time, in one transaction.
//!
//! Called by the routes of batches. All conditions are checked before anything is written.

use std::collections::{HashMap, HashSet};

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::super::{Answer, Call, Failure, Outcome, Roots, Session, Work};
use super::change::{Found, Operation, To};
use super::conditions::{self, Demands, Tags, failed};
use super::request::{Request, check_key, expiry, records};
use super::{Entry, Table, content};

/// The most keys.
const KEYS_MAX: usize = 100;

/// The body of a request, which is JSON whatever its content type says.
fn body<'b, T: Deserialize<'b>>(call: &'b Call) -> Result<T, Failure> {
    serde_json::from_slice(&call.body).map_err(|_| Failure::parameters("Invalid JSON body"))
}

/// Whether a batch has keys, and not too many.
fn check<'k>(keys: impl ExactSizeIterator<Item = &'k str>) -> Result<(), Failure> {
    if keys.len() == 0 || keys.len() > KEYS_MAX {
        return Err(Failure::parameters(format!("a batch must have 1 to {KEYS_MAX} keys")));
    }
    for key in keys {
        check_key(key)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

/// A key of a batch that is read.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Got<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    content_type: &'a str,
    etag: Option<&'a str>,
}

/// Keys and what they are, in the order they were asked for.
struct Results<'a>(Vec<(&'a str, Option<Got<'a>>)>);

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, got) in &self.0 {
            map.serialize_entry(key, got)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct GotAll<'a> {
    success: bool,
    results: Results<'a>,
}

/// `POST /kv/batch/get`.
pub(super) fn get(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    conditions::refuse(call)?;
    let Keys { mut keys } = body(call)?;
    check(keys.iter().map(String::as_str))?;
    let request = Request::of(call, roots, "BATCH GET", &keys.join(","))?;
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    Ok(request.read(move |session, table| {
        let (mut entries, mut size) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let entry = Entry::read(session.connection, table, key)?.filter(|entry| entry.is_live(session.now));
            size += entry.as_ref().map_or(0, |entry| entry.value.len());
            if size > session.max_response_bytes {
                return Err(Failure { code: "RESPONSE_TOO_LARGE", ..Failure::too_large("the answer is too large") });
            }
            entries.push(entry);
        }
        let got = entries.iter().map(|entry| entry.as_ref().map(got));
        let results = keys.iter().map(String::as_str).zip(got).collect();
        Answer::json(&GotAll { success: true, results: Results(results) })
    }))
}

fn got(entry: &Entry) -> Got<'_> {
    let (value, value_base64) = content::inline(&entry.value, &entry.content_type);
    Got { value, value_base64, content_type: &entry.content_type, etag: entry.etag.as_deref() }
}

#[derive(Deserialize)]
struct SetBody {
    items: Vec<SetItem>,
}

#[derive(Deserialize)]
struct SetItem {
    key: String,
    #[serde(default)]
    value: String,
    content_type: Option<String>,
    ttl: Option<i64>,
    if_match: Option<String>,
    if_none_match: Option<String>,
}

/// A key that is to be stored.
struct Set {
    key: String,
    value: String,
    content_type: String,
    expire_at: Option<i64>,
    demands: Demands,
}

impl Set {
    fn of(item: SetItem, now: i64) -> Result<Self, Failure> {
        let is_new = match item.if_none_match.as_deref().map(str::trim) {
            None => false,
            Some("*") => true,
            Some(_) => return Err(Failure::parameters("if_none_match must be *")),
        };
        let content_type = item
            .content_type
            .filter(|content_type| !content_type.is_empty())
            .unwrap_or_else(|| content::UNKNOWN.to_owned());
        content::check(&content_type)?;
        Ok(Self {
            key: item.key,
            value: item.value,
            content_type,
            expire_at: expiry(item.ttl.unwrap_or(0), now)?,
            demands: Demands { is_new, ..demands(item.if_match.as_deref())? },
        })
    }
}

fn demands(if_match: Option<&str>) -> Result<Demands, Failure> {
    let tags = if_match.map(|text| Tags::parse(text).ok_or_else(|| Failure::parameters("if_match is malformed")));
    Ok(Demands { tags: tags.transpose()?, is_new: false })
}

#[derive(Serialize)]
struct SetAll<'a> {
    success: bool,
    count: usize,
    items: Vec<SetOne<'a>>,
}

#[derive(Serialize)]
struct SetOne<'a> {
    key: &'a str,
    etag: &'a str,
}

/// `POST /kv/batch/set`.
pub(super) fn set(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    conditions::refuse(call)?;
    let SetBody { items } = body(call)?;
    check(items.iter().map(|item| item.key.as_str()))?;
    let items = items.into_iter().map(|item| Set::of(item, call.now)).collect::<Result<Vec<_>, _>>()?;
    let is_recorded = records(call)?;
    let told = items.iter().map(|item| item.key.as_str()).collect::<Vec<_>>().join(",");
    let request = Request::of(call, roots, "BATCH SET", &told)?;
    request.write(call, move |session, table| store(session, table, &items, is_recorded))
}

fn store(session: &Session<'_>, table: &Table, items: &[Set], is_recorded: bool) -> Outcome {
    let found = load(session, table, items.iter().map(|item| (item.key.as_str(), &item.demands)))?;
    // Of a key that is given twice the last one counts.
    let last: HashMap<&str, &Set> = items.iter().map(|item| (item.key.as_str(), item)).collect();
    let mut etags: HashMap<&str, String> = HashMap::with_capacity(last.len());
    for (item, found) in items.iter().zip(found) {
        if etags.contains_key(item.key.as_str()) {
            continue;
        }
        let Set { key, value, content_type, expire_at, .. } = last[item.key.as_str()];
        let to = To::Value { value: value.as_bytes(), content_type, expire_at: *expire_at };
        let operation = Operation { op: "SET", path: "", delta: None, is_recorded };
        etags.insert(key, found.change(session, table, key, to, operation)?);
    }
    let items: Vec<SetOne<'_>> =
        items.iter().map(|item| SetOne { key: &item.key, etag: &etags[item.key.as_str()] }).collect();
    Answer::json(&SetAll { success: true, count: items.len(), items })
}

/// Reads keys for a write, and checks what is demanded of them.
fn load<'i>(
    session: &Session<'_>,
    table: &Table,
    items: impl Iterator<Item = (&'i str, &'i Demands)>,
) -> Result<Vec<Found>, Failure> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (key, demands) in items {
        let found = Found::load(session, table, key)?;
        if !demands.hold(found.entry.is_some(), found.etag()) {
            wrong.push(serde_json::json!({ "key": key, "current_etag": found.etag() }));
        }
        all.push(found);
    }
    if wrong.is_empty() { Ok(all) } else { Err(failed("a condition of the batch does not hold").with("failed", wrong)) }
}

#[derive(Deserialize)]
struct DeleteBody {
    keys: Option<Vec<String>>,
    items: Option<Vec<DeleteItem>>,
}

#[derive(Deserialize)]
struct DeleteItem {
    key: String,
    if_match: Option<String>,
}

#[derive(Serialize)]
struct DeletedAll {
    success: bool,
    deleted: usize,
}

/// `POST /kv/batch/delete`.
pub(super) fn delete(call: &Call, roots: &Roots) -> Result<Work, Failure> {
    conditions::refuse(call)?;
    let items = match body(call)? {
        DeleteBody { keys: Some(keys), items: None } => {
            keys.into_iter().map(|key| DeleteItem { key, if_match: None }).collect::<Vec<_>>()
        }
        DeleteBody { keys: None, items: Some(items) } => items,
        DeleteBody { .. } => return Err(Failure::parameters("either keys or items is required")),
    };
    check(items.iter().map(|item| item.key.as_str()))?;
    let demands = items.into_iter().map(|item| Ok((item.key, demands(item.if_match.as_deref())?)));
    let items = demands.collect::<Result<Vec<_>, Failure>>()?;
    let is_recorded = records(call)?;
    let told = items.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(",");
    let request = Request::of(call, roots, "BATCH DELETE", &told)?;
    request.write(call, move |session, table| {
        let found = load(session, table, items.iter().map(|(key, demands)| (key.as_str(), demands)))?;
        let mut gone = HashSet::new();
        for ((key, _), found) in items.iter().zip(found) {
            if found.entry.is_some() && gone.insert(key) {
                let operation = Operation { op: "DELETE", path: "", delta: None, is_recorded };
                found.change(session, table, key, To::Nothing, operation)?;
            }
        }
        Answer::json(&DeletedAll { success: true, deleted: gone.len() })
    })
}
