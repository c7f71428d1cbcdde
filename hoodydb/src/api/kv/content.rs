//! Content types of values, and how values stand inside of JSON answers.
//!
//! Called by the endpoints of keys. A value is bytes; only its content type says that it is a document.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header;
use serde_json::value::RawValue;

use super::super::{Call, Failure};

/// Of a value of which nobody said one.
pub(super) const UNKNOWN: &str = "application/octet-stream";

/// Of documents.
pub(super) const JSON: &str = "application/json";

/// The most bytes of one.
const LENGTH_MAX: usize = 255;

/// Whether values of a type are documents.
pub(in crate::api) fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.eq_ignore_ascii_case(JSON)
        || (essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"))
}

/// Without parameters; a type of a client may hold any byte of Latin-1, so it is cut at characters only.
fn essence(content_type: &str) -> &str {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.is_ascii() { essence } else { "" }
}

/// Whether bytes are exactly one document.
pub(super) fn is_document(bytes: &[u8]) -> bool {
    document(bytes).is_some()
}

/// The document that bytes are, as it was written.
fn document(bytes: &[u8]) -> Option<&RawValue> {
    std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str(text).ok())
}

/// The type that a request's value is stored with.
///
/// # Errors
/// 400 if it is too long or no text, 400 INVALID_JSON_VALUE if it says JSON and the value is none.
pub(super) fn of_request(call: &Call) -> Result<String, Failure> {
    let sent = call.header(header::CONTENT_TYPE.as_str())?.map(str::trim).filter(|sent| !sent.is_empty());
    let content_type = match sent {
        None => UNKNOWN,
        // What curl says of itself, whatever it sends.
        Some(sent) if essence(sent).eq_ignore_ascii_case("application/x-www-form-urlencoded") => {
            if is_document(&call.body) { JSON } else { UNKNOWN }
        }
        Some(sent) => sent,
    };
    check(content_type)?;
    if is_json(content_type) && !is_document(&call.body) {
        return Err(invalid_json("the value is not one JSON document"));
    }
    Ok(content_type.to_owned())
}

/// Whether a type may be stored.
///
/// # Errors
/// 400 if it is too long, or cannot stand in a header.
pub(super) fn check(content_type: &str) -> Result<(), Failure> {
    if content_type.len() > LENGTH_MAX || http::HeaderValue::from_str(content_type).is_err() {
        return Err(Failure::parameters(format!(
            "a content type must be a header's text of at most {LENGTH_MAX} bytes"
        )));
    }
    Ok(())
}

/// 400 INVALID_JSON_VALUE.
pub(super) fn invalid_json(text: &str) -> Failure {
    Failure { code: "INVALID_JSON_VALUE", ..Failure::parameters(text) }
}

/// How a value stands in an answer: the document itself, or its bytes in base64; exactly one of the two.
pub(in crate::api) fn inline<'v>(value: &'v [u8], content_type: &str) -> (Option<&'v RawValue>, Option<String>) {
    match is_json(content_type).then(|| document(value)).flatten() {
        Some(document) => (Some(document), None),
        None => (None, Some(STANDARD.encode(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_type() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "x/y+JSON;a=b"]
        {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "application/jsonp", "+json", "application/json5", "é+json", "text/é"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn a_value_is_inlined_once() {
        let shown = |value: &'static [u8], content_type| {
            let (value, base64) = inline(value, content_type);
            (value.map(RawValue::get), base64)
        };
        assert_eq!(shown(b" null ", JSON), (Some("null"), None));
        assert_eq!(shown(b"{\"n\": 12345678901234567890}", JSON), (Some("{\"n\": 12345678901234567890}"), None));
        assert_eq!(shown(b"{", JSON), (None, Some("ew==".to_owned())));
        assert_eq!(shown(b"1", "text/plain"), (None, Some("MQ==".to_owned())));
    }
}
