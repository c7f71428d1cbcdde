//! Arrays: `push`, `pop` and `remove` of a whole value, or of an array within a document.
//!
//! Called by the routes of a key.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::super::{Call, Failure, Outcome, Roots, Session, Work};
use super::Table;
use super::change::{Found, Operation, To};
use super::conditions::Demands;
use super::content;
use super::document::Document;
use super::json_path::Path;
use super::put::document;
use super::request::{Request, records, tagged};

/// What a change of an array answers.
#[derive(Debug, Serialize)]
pub(in crate::api) struct Changed<'a> {
    success: bool,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "raw")]
    value: Option<&'a Document>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "raw")]
    removed: Option<&'a Document>,
    length: usize,
    etag: &'a str,
}

/// A document as its text.
fn raw<S: Serializer>(document: &Option<&Document>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = document.map(ToString::to_string).unwrap_or_default();
    RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// What is done to an array.
enum Action {
    Push(Document),
    Pop,
    RemoveAt(usize),
    Remove(Document),
}

struct Wish {
    key: String,
    action: Action,
    path: Option<Path>,
    demands: Demands,
    is_recorded: bool,
}

impl Action {
    fn op(&self) -> &'static str {
        match self {
            Self::Push(_) => "PUSH",
            Self::Pop => "POP",
            Self::RemoveAt(_) | Self::Remove(_) => "REMOVE",
        }
    }
}

/// `POST /kv/{key}/push`.
pub(super) fn push(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let element = Document::parse(&call.body);
    let element = element.ok_or_else(|| content::invalid_json("the body must be one JSON document"))?;
    change(call, roots, key, Action::Push(element))
}

/// `POST /kv/{key}/pop`.
pub(super) fn pop(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    change(call, roots, key, Action::Pop)
}

/// `POST /kv/{key}/remove`.
pub(super) fn remove(call: &Call, roots: &Roots, key: String) -> Result<Work, Failure> {
    let action = match call.params.integer("index")? {
        Some(index) => {
            let index = usize::try_from(index).map_err(|_| Failure::parameters("index must not be negative"))?;
            Action::RemoveAt(index)
        }
        None => match Document::parse(&call.body) {
            Some(Document::Object(mut members)) => {
                let value = members.remove("value");
                Action::Remove(value.ok_or_else(|| Failure::parameters("index or a value is required"))?)
            }
            _ if call.body.is_empty() => return Err(Failure::parameters("index or a value is required")),
            _ => return Err(Failure::parameters("Invalid JSON body")),
        },
    };
    change(call, roots, key, action)
}

fn change(call: &Call, roots: &Roots, key: String, action: Action) -> Result<Work, Failure> {
    let request = Request::of_key(call, roots, action.op(), &key)?;
    let (path, demands, is_recorded) = (Path::of(&call.params)?, Demands::of(call)?, records(call)?);
    let wish = Wish { key, action, path, demands, is_recorded };
    request.write(call, move |session, table| wish.change(session, table))
}

impl Wish {
    fn change(&self, session: &Session<'_>, table: &Table) -> Outcome {
        let found = Found::load(session, table, &self.key)?;
        self.demands.check(found.entry.is_some(), found.etag())?;
        let whole = Path::whole();
        let path = self.path.as_ref().unwrap_or(&whole);
        let (changed, taken, length) = match &self.action {
            Action::Push(element) => pushed(&found, path, element)?,
            action => taken(&found, path, action)?,
        };
        let old = found.entry.as_ref();
        let content_type = old.map_or(content::JSON, |old| old.content_type.as_str());
        let value = &changed.to_bytes()[..];
        let to = To::Value { value, content_type, expire_at: old.and_then(|old| old.expire_at) };
        let sent = self.path.as_ref().map(Path::text).unwrap_or_default();
        let operation = Operation { op: self.action.op(), path: sent, delta: None, is_recorded: self.is_recorded };
        let etag = found.change(session, table, &self.key, to, operation)?;
        let (value, removed) = match self.action {
            Action::Pop => (taken.as_ref(), None),
            _ => (None, taken.as_ref()),
        };
        tagged(&Changed { success: true, key: &self.key, value, removed, length, etag: &etag }, Some(&etag))
    }
}

/// The document after a change, the element that was taken, and the length of the array.
type Done = (Document, Option<Document>, usize);

/// Adds an element; an array that does not exist is made.
fn pushed(found: &Found, path: &Path, element: &Document) -> Result<Done, Failure> {
    let mut length = 0;
    let changed = Document::changed(document(found, path)?, path.steps(), &mut |old| {
        let mut elements = match old {
            None => Vec::new(),
            Some(Document::Array(elements)) => elements,
            Some(_) => return Err(not_an_array()),
        };
        elements.push(element.clone());
        length = elements.len();
        Ok(Document::Array(elements))
    })?;
    Ok((changed, None, length))
}

/// Takes an element out.
fn taken(found: &Found, path: &Path, action: &Action) -> Result<Done, Failure> {
    let entry = found.existing()?;
    let document = Document::parse(&entry.value);
    let mut document = document.ok_or_else(|| Failure::parameters("the stored value is not JSON"))?;
    let elements = match document.get_mut(path) {
        None => return Err(Failure::not_found("NOT_FOUND", "the path leads to nothing")),
        Some(Document::Array(elements)) => elements,
        Some(_) => return Err(not_an_array()),
    };
    let at = match action {
        Action::RemoveAt(index) if *index < elements.len() => *index,
        Action::RemoveAt(_) => return Err(Failure::parameters("index is past the end of the array")),
        Action::Remove(value) => {
            let at = elements.iter().position(|element| element == value);
            at.ok_or_else(|| Failure::not_found("NOT_FOUND", "no element has that value"))?
        }
        Action::Pop | Action::Push(_) => {
            elements.len().checked_sub(1).ok_or_else(|| Failure::parameters("the array is empty"))?
        }
    };
    let taken = elements.remove(at);
    let length = elements.len();
    Ok((document, Some(taken), length))
}

fn not_an_array() -> Failure {
    Failure::parameters("the value is not an array")
}
