//! Paths into a document, as the parameter `path` writes them: `prefs.theme`, `$.list[2]`, `["a.b"].c`.
//!
//! Called by the endpoints that take one. It knows the text only, not the document.

use std::collections::BTreeMap;

use super::super::{Failure, Params};
use super::document::Document;

/// The most steps of a path.
const STEPS_MAX: usize = 128;

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    steps: Vec<Step>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A member.
    Name(String),
    /// An element, as `[2]`.
    Index(usize),
    /// `.2`: an element of an array, or a member of an object.
    Either(String, usize),
}

impl Step {
    /// The member that it leads to.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) | Self::Either(name, _) => Some(name),
            Self::Index(_) => None,
        }
    }

    /// The element that it leads to.
    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Self::Name(_) => None,
            Self::Index(index) | Self::Either(_, index) => Some(*index),
        }
    }

    /// What is made where the step leads into nothing.
    pub(super) fn container(&self) -> Document {
        match self {
            Self::Name(_) | Self::Either(..) => Document::Object(BTreeMap::new()),
            Self::Index(_) => Document::Array(Vec::new()),
        }
    }
}

impl Path {
    /// The parameter `path`; empty means that it was not sent.
    ///
    /// # Errors
    /// 400 if it is malformed.
    pub(super) fn of(params: &Params) -> Result<Option<Self>, Failure> {
        params.first("path").filter(|text| !text.is_empty()).map(Self::parse).transpose()
    }

    /// Takes a path apart.
    ///
    /// # Errors
    /// 400 if it is malformed.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let malformed = || Failure::parameters("path is malformed");
        let mut rest =
            text.strip_prefix('$').filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])).unwrap_or(text);
        let mut steps = Vec::new();
        if rest == "." {
            rest = "";
        } else if rest.starts_with(".[") {
            rest = &rest[1..];
        }
        while !rest.is_empty() {
            let is_first = steps.is_empty();
            let (step, after) =
                if rest.starts_with('[') { bracket(rest) } else { dot(rest, is_first) }.ok_or_else(malformed)?;
            steps.push(step);
            rest = after;
        }
        if steps.len() > STEPS_MAX {
            return Err(Failure::parameters(format!("path has more than {STEPS_MAX} steps")));
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The path of the whole document.
    pub(super) fn whole() -> Self {
        Self { text: String::new(), steps: Vec::new() }
    }

    /// The path as it was sent.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its steps; none means the whole document.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// `[2]` or `["a.b"]`, and what follows.
fn bracket(text: &str) -> Option<(Step, &str)> {
    let inner = &text[1..];
    if !inner.starts_with('"') {
        let (digits, after) = inner.split_once(']')?;
        return Some((Step::Index(index(digits)?), after));
    }
    let mut strings = serde_json::Deserializer::from_str(inner).into_iter::<String>();
    let name = strings.next()?.ok()?;
    let after = inner[strings.byte_offset()..].strip_prefix(']')?;
    Some((Step::Name(name), after))
}

/// `.name`, and what follows; the first one needs no dot.
fn dot(text: &str, is_first: bool) -> Option<(Step, &str)> {
    let name = match text.strip_prefix('.') {
        Some(name) => name,
        None if is_first => text,
        None => return None,
    };
    let length = name.find(['.', '[']).unwrap_or(name.len());
    let (name, after) = name.split_at(length);
    if name.is_empty() || name.contains([']', '"']) {
        return None;
    }
    let step = index(name).map_or_else(|| Step::Name(name.to_owned()), |index| Step::Either(name.to_owned(), index));
    Some((step, after))
}

/// A decimal number without a sign.
fn index(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Step {
        Step::Name(name.to_owned())
    }

    #[test]
    fn the_same_path_is_written_in_several_ways() {
        let steps = |text| Path::parse(text).unwrap().steps;
        for text in ["prefs.theme", ".prefs.theme", "$.prefs.theme", "[\"prefs\"].theme", "$[\"prefs\"][\"theme\"]"] {
            assert_eq!(steps(text), [name("prefs"), name("theme")], "{text}");
        }
        for text in [".", "$", "$."] {
            assert_eq!(steps(text), [], "{text}");
        }
        assert_eq!(steps("a[2].3"), [name("a"), Step::Index(2), Step::Either("3".to_owned(), 3)]);
        assert_eq!(steps("[\"a.b\\\"]\"]"), [name("a.b\"]")]);
        assert_eq!(steps("[0]"), steps("$.[0]"));
        assert_eq!(steps("$a.-1"), [name("$a"), name("-1")]);
    }

    #[test]
    fn a_malformed_path_is_told() {
        let long = "a.".repeat(STEPS_MAX) + "a";
        for text in [
            "..", "a..b", "a.", "a[", "a[]", "a[-1]", "a[x]", "a]", "[\"a\"", "[\"a\"]b", "a.[0]", "a\"b", "[1e1]",
            &long,
        ] {
            assert_eq!(Path::parse(text).map_err(|failure| failure.code), Err("INVALID_PARAMETERS"), "{text}");
        }
        assert_eq!(Path::of(&Params::parse("path=").unwrap()), Ok(None));
    }
}
