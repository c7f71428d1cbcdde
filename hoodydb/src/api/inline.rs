//! A stored value as members of an answer that outlives the row: as JSON where it is, else as base64.
//!
//! Called wherever a value stands beside other members. The value's own text is kept, so that no digit is lost.

use serde::Serialize;
use serde_json::value::RawValue;

use super::kv;

/// A value; exactly one of the two is there.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Inline {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl Inline {
    /// How bytes of a content type are shown.
    pub(super) fn of(bytes: &[u8], content_type: &str) -> Self {
        let (value, value_base64) = kv::inline(bytes, content_type);
        Self { value: value.map(RawValue::to_owned), value_base64 }
    }

    /// The JSON, or else the base64.
    pub(super) fn parts(self) -> (Option<Box<RawValue>>, Option<String>) {
        (self.value, self.value_base64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], content_type: &str) -> String {
        serde_json::to_string(&Inline::of(bytes, content_type)).unwrap()
    }

    #[test]
    fn json_is_shown_as_it_was_written_and_all_else_as_base64() {
        assert_eq!(shown(b" 12345678901234567890123 ", "application/json"), r#"{"value":12345678901234567890123}"#);
        assert_eq!(shown(b"null", "application/problem+JSON; charset=utf-8"), r#"{"value":null}"#);
        assert_eq!(shown(b"1", "text/plain"), r#"{"value_base64":"MQ=="}"#);
        assert_eq!(shown(b"{", "application/json"), r#"{"value_base64":"ew=="}"#);
        assert_eq!(shown(b"\"\xff\"", "application/json"), r#"{"value_base64":"Iv8i"}"#);
    }
}
