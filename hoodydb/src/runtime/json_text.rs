//! Changes to JSON as text: not a byte of the rest is changed, whatever its order, blanks and numbers.
//!
//! Called for specifications of containers by [`super::stand_in`], and for docker's configuration by [`crate::engine`].

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The values of an object, each a part of the text that it was parsed from.
pub type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Bytes of a text, and what takes their place.
pub type Edit = (std::ops::Range<usize>, String);

/// Sets a field of an object that is a part of the text; a new one comes first, after `before` (a line break, blanks).
///
/// # Panics
/// If `object` is no part of `text`.
pub fn set(text: &str, object: &str, fields: &Fields, name: &str, value: &str, before: &str) -> Edit {
    if let Some(old) = fields.get(name) {
        let end = end_of(text, old);
        return (end - old.get().len()..end, value.to_owned());
    }
    let open = offset_of(text, object) + object.find('{').map_or(0, |brace| brace + 1);
    let comma = if fields.is_empty() { "" } else { "," };
    let colon = if before.is_empty() { ":" } else { ": " };
    (open..open, format!("{before}\"{name}\"{colon}{value}{comma}"))
}

/// Takes a field out of an object that is a part of the text, with its comma and the blanks before it; none if the object has no
/// such field, or writes its name with escapes.
///
/// # Panics
/// If `fields` are of another text.
pub fn remove(text: &str, fields: &Fields, name: &str) -> Option<Edit> {
    let value = fields.get(name)?;
    let end = end_of(text, value);
    let before_value = text[..end - value.get().len()].trim_end().strip_suffix(':')?.trim_end();
    let before_key = before_value.strip_suffix(&format!("\"{name}\""))?.trim_end();
    let after = text[end..].trim_start();
    if after.starts_with(',') {
        return Some((before_key.len()..text.len() - after.len() + 1, String::new()));
    }
    Some((before_key.trim_end_matches(',').len()..end, String::new()))
}

/// Makes the changes, which must not overlap.
pub fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    // From the end on, so that the places before stay what they are; of two at one place the first comes first.
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut changed = text.to_owned();
    for (range, new) in edits {
        changed.replace_range(range, &new);
    }
    changed
}

/// Where a value ends in the text that it was parsed from.
pub fn end_of(text: &str, value: &RawValue) -> usize {
    offset_of(text, value.get()) + value.get().len()
}

fn offset_of(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    assert!(offset <= text.len(), "a part lies in its text");
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str, name: &str) -> Option<String> {
        let fields: Fields = serde_json::from_str(text).unwrap();
        remove(text, &fields, name).map(|edit| apply(text, vec![edit]))
    }

    #[test]
    fn a_field_is_set_and_taken_out() {
        for text in ["{}", "{\n}\n", "{\"b\":1}", " { \"b\" : {} }\n"] {
            let fields: Fields = serde_json::from_str(text).unwrap();
            let with = apply(text, vec![set(text, text, &fields, "a", "[2]", "\n  ")]);
            let value: serde_json::Value = serde_json::from_str(&with).unwrap();
            assert_eq!(value["a"], serde_json::json!([2]), "{with}");
            assert_eq!(without(&with, "a").unwrap(), text);
        }
    }

    #[test]
    fn the_last_field_takes_the_comma_before() {
        assert_eq!(without("{ \"b\": 1,\n \"a\" : 2\n}", "a").unwrap(), "{ \"b\": 1\n}");
        assert_eq!(without("{\"a\":\"a\"}", "a").unwrap(), "{}");
        assert_eq!(without("{\"\\u0061\":1}", "a"), None);
        assert_eq!(without("{}", "a"), None);
    }
}
