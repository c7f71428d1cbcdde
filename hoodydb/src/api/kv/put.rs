//! Storing and deleting one key.
//!
//! Called by the routes of a key. What is wrong with a request alone is told before the database is asked.

use serde::Serialize;

use super::super::{Answer, Call, Failure, Outcome, Roots, Session, Work};
use super::change::{Found, Operation, To};
use super::conditions::{Demands, failed};
use super::document::Document;
use super::json_path::Path;
use super::request::{Request, expiry, records, tagged};
use super::{Table, content};

/// What PUT answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Put<'a> {
    success: bool,
    key: &'a str,
    size: usize,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

/// A PUT as it was sent.
struct Wish {
    key: String,
    value: bytes::Bytes,
    content_type: String,
    /// Where the value goes, and the value as a document.
    part: Option<(Path, Document)>,
    expire_at: Option<i64>,
    /// Whether the request says when it expires.
    sets_expiry: bool,
    demands: Demands,
    /// The bytes that are expected to be there.
    expected: Option<String>,
    is_recorded: bool,
}

impl Wish {
    fn of(call: &Call, key: String) -> Result<Self, Failure> {
        let ttl = call.params.integer("ttl")?;
        let path = Path::of(&call.params)?;
        let (content_type, part) = match path {
            None => (content::of_request(call)?, None),
            Some(path) => {
                let leaf = Document::parse(&call.body);
                let leaf =
                    leaf.ok_or_else(|| content::invalid_json("the value at a path must be one JSON document"))?;
                (content::JSON.to_owned(), Some((path, leaf)))
            }
        };
        Ok(Self {
            key,
            value: call.body.clone(),
            content_type,
            sets_expiry: ttl.is_some() || part.is_none(),
            part,
            expire_at: expiry(ttl.unwrap_or(0), call.now)?,
            demands: Demands::of_put(call)?,
            expected: call.params.first("if_match").map(str::to_owned),
            is_recorded: records(call)?,
        })
    }

    fn store(&self, session: &Session<'_>, table: &Table) -> Outcome {
        let found = Found::load(session, table, &self.key)?;
        self.demands.check(found.entry.is_some(), found.etag())?;
        self.compare(&found)?;
        let old = found.entry.as_ref();
        let whole = self.part.as_ref().map(|(path, leaf)| patched(&found, path, leaf)).transpose()?;
        let content_type = match old {
            Some(old) if self.part.is_some() => old.content_type.as_str(),
            _ => self.content_type.as_str(),
        };
        let expire_at = if self.sets_expiry { self.expire_at } else { old.and_then(|old| old.expire_at) };
        let value = whole.as_deref().unwrap_or(&self.value);
        let path = self.part.as_ref().map(|(path, _)| path.text());
        let operation =
            Operation { op: "SET", path: path.unwrap_or_default(), delta: None, is_recorded: self.is_recorded };
        let etag = found.change(session, table, &self.key, To::Value { value, content_type, expire_at }, operation)?;
        tagged(&Put { success: true, key: &self.key, size: value.len(), etag: &etag, path }, Some(&etag))
    }

    /// CAS by value.
    fn compare(&self, found: &Found) -> Result<(), Failure> {
        match (&self.expected, &found.entry) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(failed("Key does not exist for CAS")),
            (Some(expected), Some(entry)) if expected.as_bytes() == entry.value => Ok(()),
            (Some(_), Some(_)) => Err(failed("Value mismatch for CAS")),
        }
    }
}

/// The whole document with another leaf.
fn patched(found: &Found, path: &Path, leaf: &Document) -> Result<Vec<u8>, Failure> {
    Ok(Document::changed(document(found, path)?, path.steps(), &mut |_| Ok(leaf.clone()))?.to_bytes())
}

/// The document that a write with a path starts from: a key that does not exist is an empty object, unless the path is all of it.
pub(super) fn document(found: &Found, path: &Path) -> Result<Option<Document>, Failure> {
    match &found.entry {
        None if path.steps().is_empty() => Ok(None),
        None => Ok(Some(Document::empty())),
        Some(entry) => {
            let document = Document::parse(&entry.value);
            document.map(Some).ok_or_else(|| Failure::parameters("the stored value is not JSON"))
        }
    }
}

/// `PUT /kv/{key}`.
pub(in crate::api) fn put(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, "SET", &key)?;
    let wish = Wish::of(call, key)?;
    request.write(call, move |session, table| wish.store(session, table))
}

/// What DELETE answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Deleted {
    success: bool,
    deleted: bool,
}

/// `DELETE /kv/{key}`.
pub(in crate::api) fn delete(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, "DELETE", &key)?;
    let (demands, is_recorded) = (Demands::of(call)?, records(call)?);
    request.write(call, move |session, table| {
        let found = Found::load(session, table, &key)?;
        demands.check(found.entry.is_some(), found.etag())?;
        found.existing()?;
        let operation = Operation { op: "DELETE", path: "", delta: None, is_recorded };
        found.change(session, table, &key, To::Nothing, operation)?;
        Answer::json(&Deleted { success: true, deleted: true })
    })
}
