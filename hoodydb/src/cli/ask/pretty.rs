//! JSON over several lines, with every number and string as it was written.
//!
//! Called by [`super::show`]. Values are not read, since reading could change them: a whole number may have any length.

/// What may stand between tokens.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The text with a member or element a line; none if it is not JSON.
pub(super) fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let mut characters = text.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(character) = characters.next() {
        if in_string {
            push(&mut out, character);
            in_string = escaped || character != '"';
            escaped = character == '\\' && !escaped;
            continue;
        }
        match character {
            '"' => {
                in_string = true;
                out.push('"');
            }
            '[' | '{' => {
                out.push(character);
                while characters.next_if(|next| BLANKS.contains(next)).is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, ']' | '}')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            blank if BLANKS.contains(&blank) => (),
            other => out.push(other),
        }
    }
    Some(out)
}

/// What a terminal obeys, and what turns the direction of text, is escaped, as JSON may.
fn push(out: &mut String, character: char) {
    match character {
        '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
        other => out.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn every_token_stays_as_it_is() {
        let text = "{\"b\":[1.0,12345678901234567890123,{}, [ ]],\n \"a\" : \"x, \\\"{y}\\\\\",\"c\":null}";
        let expected = "{\n  \"b\": [\n    1.0,\n    12345678901234567890123,\n    {},\n    []\n  ],\n  \
            \"a\": \"x, \\\"{y}\\\\\",\n  \"c\": null\n}";
        assert_eq!(pretty(text).as_deref(), Some(expected));
        assert_eq!(pretty("7").as_deref(), Some("7"));
        assert_eq!(pretty("\"\u{202e}\"").as_deref(), Some("\"\\u202e\""));
        assert_eq!(pretty("\"\u{9b}\"").as_deref(), Some("\"\\u009b\""));
        assert_eq!(pretty("hello"), None);
        assert_eq!(pretty("{} x"), None);
    }
}
