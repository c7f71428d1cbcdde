//! Conditions on a key's ETag: `If-Match` and `If-None-Match`, and their twins in batches.
//!
//! Called by the endpoints of keys. Tags are opaque here; a condition that does not hold is 412 with the current one.

use http::StatusCode;

use super::super::{Call, Failure};

/// Which tags a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: any, if the key exists.
    Any,
    /// These.
    List(Vec<Tag>),
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    is_weak: bool,
    /// With its quotes.
    text: String,
}

impl Tags {
    /// The tags of a header, which may come more than once.
    ///
    /// # Errors
    /// 400 if it is malformed.
    pub(super) fn of(call: &Call, header: &str) -> Result<Option<Self>, Failure> {
        let mut values = call.headers.get_all(header).iter();
        let Some(first) = values.next() else { return Ok(None) };
        // One byte, one character: tags may hold any byte above ASCII.
        let text =
            |value: &http::HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect::<String>();
        let joined = values.fold(text(first), |joined, value| joined + "," + &text(value));
        Self::parse(&joined).map(Some).ok_or_else(|| Failure::parameters(format!("the header {header} is malformed")))
    }

    /// Reads `*` or a list of tags.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return if tags.is_empty() { None } else { Some(Self::List(tags)) };
            }
            let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
            let inner = quoted.strip_prefix('"')?;
            let length = inner.find('"')?;
            let is_text = |letter: char| letter == '!' || (letter >= '#' && letter != '\u{7f}');
            if !inner[..length].chars().all(is_text) {
                return None;
            }
            tags.push(Tag { is_weak, text: quoted[..length + 2].to_owned() });
            rest = quoted[length + 2..].trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }

    /// `If-Match`: whether a key that exists has one of the tags, none of them weak.
    pub(super) fn match_strongly(&self, exists: bool, etag: Option<&str>) -> bool {
        match self {
            Self::Any => exists,
            Self::List(tags) => exists && tags.iter().any(|tag| !tag.is_weak && Some(tag.text.as_str()) == etag),
        }
    }

    /// `If-None-Match` of a reader: whether it has what there is already.
    pub(super) fn match_weakly(&self, etag: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| Some(tag.text.as_str()) == etag),
        }
    }
}

/// What a write demands of its key.
#[derive(Clone, Debug, Default)]
pub(super) struct Demands {
    /// That its tag is one of these.
    pub(super) tags: Option<Tags>,
    /// That it does not exist.
    pub(super) is_new: bool,
}

impl Demands {
    /// `If-Match`.
    ///
    /// # Errors
    /// 400 if it is malformed.
    pub(super) fn of(call: &Call) -> Result<Self, Failure> {
        Ok(Self { tags: Tags::of(call, "if-match")?, is_new: false })
    }

    /// `If-Match` and `If-None-Match: *`.
    ///
    /// # Errors
    /// 400 if one is malformed, or the second is another.
    pub(super) fn of_put(call: &Call) -> Result<Self, Failure> {
        let is_new = match Tags::of(call, "if-none-match")? {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::List(_)) => return Err(Failure::parameters("If-None-Match must be * here")),
        };
        Ok(Self { is_new, ..Self::of(call)? })
    }

    /// Whether a key is as demanded.
    pub(super) fn hold(&self, exists: bool, etag: Option<&str>) -> bool {
        let matches = self.tags.as_ref().is_none_or(|tags| tags.match_strongly(exists, etag));
        matches && !(self.is_new && exists)
    }

    /// Whether a key is as demanded.
    ///
    /// # Errors
    /// 412 if not, with the current tag.
    pub(super) fn check(&self, exists: bool, etag: Option<&str>) -> Result<(), Failure> {
        if self.hold(exists, etag) {
            return Ok(());
        }
        let text = if exists { "the key has another ETag, or exists already" } else { "the key does not exist" };
        Err(failed(text).with("current_etag", etag.filter(|_| exists).map(str::to_owned)))
    }
}

/// 412.
pub(super) fn failed(text: &str) -> Failure {
    Failure::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", text)
}

/// Refuses both headers, where they would have no key to speak of.
///
/// # Errors
/// 400 if one is there.
pub(in crate::api) fn refuse(call: &Call) -> Result<(), Failure> {
    match ["if-match", "if-none-match"].iter().find(|name| call.headers.contains_key(**name)) {
        Some(name) => Err(Failure::parameters(format!("the header {name} does not go with this request"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags_are_read() {
        let strong = |text: &str, etag| Tags::parse(text).unwrap().match_strongly(true, Some(etag));
        let weak = |text: &str, etag| Tags::parse(text).unwrap().match_weakly(Some(etag));
        assert!(strong("\"a.1\"", "\"a.1\"") && strong(" \"x\" , \"a.1\",", "\"a.1\"") && strong("*", "\"a.1\""));
        assert!(!strong("W/\"a.1\"", "\"a.1\"") && weak("W/\"a.1\"", "\"a.1\"") && !weak("\"a.2\"", "\"a.1\""));
        assert!(!Tags::Any.match_strongly(false, None));
        assert!(strong("\"a,b\"", "\"a,b\""));
        for text in ["", ",", "a.1", "\"a", "\"a\"\"b\"", "w/\"a\"", "\"a b\"", "*,\"a\"", "\"a\" \"b\""] {
            assert_eq!(Tags::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_demand_that_does_not_hold_tells_the_tag() {
        let new = Demands { tags: None, is_new: true };
        assert_eq!(new.check(false, None), Ok(()));
        let failure = new.check(true, Some("\"a.1\"")).unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.members["current_etag"].as_str()), (412, Some("\"a.1\"")));
        let tagged = Demands { tags: Tags::parse("\"a.1\""), is_new: false };
        assert!(tagged.check(false, None).unwrap_err().members["current_etag"].is_null());
    }
}
