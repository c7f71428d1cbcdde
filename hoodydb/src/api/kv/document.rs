//! JSON documents that are changed in part: numbers keep their text, members are sorted by name, values are compared by value.
//!
//! Called by the endpoints that take a `path`, or work on counters and arrays. It knows no database. Documents that nobody changes
//! never come here: they are stored and given back byte for byte.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};

use super::super::Failure;
use super::json_path::{Path, Step};

mod number;
mod parse;

pub(super) use number::Number;

/// A JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Document>),
    Object(BTreeMap<String, Document>),
}

/// What becomes of the place that a path leads to, given what is there.
type Change<'f> = &'f mut dyn FnMut(Option<Document>) -> Result<Document, Failure>;

impl Document {
    /// Reads one document, with whitespace around it; none if it is no JSON, nests deeper than 512 levels, or has a string that is
    /// no Unicode text.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        parse::document(bytes)
    }

    /// A document without members.
    pub(super) fn empty() -> Self {
        Self::Object(BTreeMap::new())
    }

    /// An integer.
    pub(super) fn integer(value: i64) -> Self {
        Self::Number(Number::from(value))
    }

    /// What a path leads to.
    pub(super) fn get(&self, path: &Path) -> Option<&Self> {
        path.steps().iter().try_fold(self, |at, step| match at {
            Self::Object(members) => step.name().and_then(|name| members.get(name)),
            Self::Array(elements) => step.index().and_then(|index| elements.get(index)),
            _ => None,
        })
    }

    /// What a path leads to, to be changed in place.
    pub(super) fn get_mut(&mut self, path: &Path) -> Option<&mut Self> {
        path.steps().iter().try_fold(self, |at, step| match at {
            Self::Object(members) => step.name().and_then(|name| members.get_mut(name)),
            Self::Array(elements) => step.index().and_then(|index| elements.get_mut(index)),
            _ => None,
        })
    }

    /// Changes what a path leads to; objects that are missing on the way are made. An index may be the length of its array.
    ///
    /// # Errors
    /// 400 if the path leads past the end of an array or into a value that holds no others; those of `change`.
    pub(super) fn changed(document: Option<Self>, steps: &[Step], change: Change<'_>) -> Result<Self, Failure> {
        let Some((step, rest)) = steps.split_first() else { return change(document) };
        match (document.unwrap_or_else(|| step.container()), step.name(), step.index()) {
            (Self::Object(mut members), Some(name), _) => {
                let old = members.remove(name);
                members.insert(name.to_owned(), Self::changed(old, rest, change)?);
                Ok(Self::Object(members))
            }
            (Self::Array(mut elements), _, Some(index)) if index <= elements.len() => {
                if index == elements.len() {
                    elements.push(Self::changed(None, rest, change)?);
                } else {
                    let old = std::mem::replace(&mut elements[index], Self::Null);
                    elements[index] = Self::changed(Some(old), rest, change)?;
                }
                Ok(Self::Array(elements))
            }
            (Self::Array(_), _, Some(_)) => Err(Failure::parameters("the path leads past the end of an array")),
            _ => Err(Failure::parameters("the path leads into a value that has no such place")),
        }
    }

    /// The document as it is stored: compact, members sorted by name.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl Display for Document {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Number(number) => out.write_str(number.text()),
            Self::Text(text) => quoted(out, text),
            Self::Array(elements) => {
                out.write_char('[')?;
                for (at, element) in elements.iter().enumerate() {
                    separate(out, at)?;
                    element.fmt(out)?;
                }
                out.write_char(']')
            }
            Self::Object(members) => {
                out.write_char('{')?;
                for (at, (name, value)) in members.iter().enumerate() {
                    separate(out, at)?;
                    quoted(out, name)?;
                    out.write_char(':')?;
                    value.fmt(out)?;
                }
                out.write_char('}')
            }
        }
    }
}

fn separate(out: &mut Formatter<'_>, at: usize) -> fmt::Result {
    if at == 0 { Ok(()) } else { out.write_char(',') }
}

fn quoted(out: &mut Formatter<'_>, text: &str) -> fmt::Result {
    out.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn members_are_sorted_and_numbers_keep_their_text() {
        let text = " {\"b\" : [1, 2.50, 1e5,\t123456789012345678901234567890], \"a\":{\"\\u00e9\":\"\\n\\\"\"}, \"c\":null , \"b2\":true}\n";
        let sorted =
            "{\"a\":{\"é\":\"\\n\\\"\"},\"b\":[1,2.50,1e5,123456789012345678901234567890],\"b2\":true,\"c\":null}";
        assert_eq!(parse(text).to_string(), sorted);
        assert_eq!(parse("{\"a\":1,\"a\":2}").to_string(), "{\"a\":2}");
        for scalar in ["null", "true", "false", "-0", "\"\"", "[]", "{}"] {
            assert_eq!(parse(scalar).to_string(), scalar);
        }
    }

    #[test]
    fn what_is_no_document_is_told() {
        for text in ["", " ", "hello", "{", "[1,]", "01", "1 2", "\"\u{1}\"", "nul", "{a:1}", "\"\\ud800\"", "'a'"] {
            assert_eq!(Document::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Document::parse(b"\"\xff\""), None);
        let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(Document::parse(&nested(512)).is_some());
        assert!(Document::parse(&nested(513)).is_none());
        assert!(Document::parse(&nested(1_000_000)).is_none());
    }

    #[test]
    fn values_are_compared_by_value() {
        assert_eq!(parse("{\"a\":[1,\"x\"],\"b\":1e1}"), parse("{\"b\":10.0,\"a\":[1.0,\"\\u0078\"]}"));
        assert_ne!(parse("[1,2]"), parse("[2,1]"));
        assert_ne!(parse("1"), parse("\"1\""));
        assert_ne!(parse("9007199254740993"), parse("9007199254740992"));
    }

    #[test]
    fn a_path_is_read() {
        let document = parse("{\"a\":{\"b\":[10,{\"c\":1}]},\"2\":3,\"a.b\":4}");
        let get = |text| document.get(&path(text)).map(ToString::to_string);
        assert_eq!(get("a.b[1].c").as_deref(), Some("1"));
        assert_eq!(get("a.b.0").as_deref(), Some("10"));
        assert_eq!(get("2").as_deref(), Some("3"));
        assert_eq!(get("[\"a.b\"]").as_deref(), Some("4"));
        for missing in ["x", "a.b[2]", "a.b.c", "2.x", "[2]", "a[0]"] {
            assert_eq!(get(missing), None, "{missing}");
        }
    }

    #[test]
    fn a_path_is_written_and_its_objects_are_made() {
        let set = |document: &str, text: &str| {
            let mut leaf = |_| Ok(parse("7"));
            Document::changed(Some(parse(document)), path(text).steps(), &mut leaf).map(|document| document.to_string())
        };
        assert_eq!(set("{\"b\":1}", "a.c").as_deref(), Ok("{\"a\":{\"c\":7},\"b\":1}"));
        assert_eq!(set("{\"a\":[1,2]}", "a[1]").as_deref(), Ok("{\"a\":[1,7]}"));
        assert_eq!(set("{\"a\":[1,2]}", "a.2").as_deref(), Ok("{\"a\":[1,2,7]}"));
        assert_eq!(set("{}", "a[0].x").as_deref(), Ok("{\"a\":[{\"x\":7}]}"));
        assert_eq!(set("{}", "a.0").as_deref(), Ok("{\"a\":{\"0\":7}}"));
        assert_eq!(set("5", "$").as_deref(), Ok("7"));
        for (document, text) in
            [("{\"a\":[1]}", "a[2]"), ("{\"a\":1}", "a.b"), ("{\"a\":[]}", "a.b"), ("{}", "[0]"), ("1", "a")]
        {
            assert_eq!(set(document, text).unwrap_err().code, "INVALID_PARAMETERS", "{document} {text}");
        }
    }
}
