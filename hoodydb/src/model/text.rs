//! Names from hostile places as text: lossless for the JSON, harmless for terminals and logs.
//!
//! Called wherever a file name or a command is shown; no name reaches a terminal or a log without [`printable`].

use std::ffi::OsStr;
use std::fmt::Write as _;

/// The name as UTF-8, with the bytes that are not written as `\xNN`.
pub fn text_of(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The name on one line, with everything that a terminal could obey written as an escape: control characters, and the
/// invisible ones that reorder text.
pub fn printable(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for character in text_of(name).chars() {
        if is_harmless(character) {
            text.push(character);
        } else {
            text.extend(character.escape_default());
        }
    }
    text
}

fn is_harmless(character: char) -> bool {
    let reorders =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_utf8() {
        assert_eq!(text_of("a\n\u{e4}"), "a\n\u{e4}");
    }

    #[test]
    fn printable_escapes_what_a_terminal_obeys() {
        assert_eq!(printable("a\nb\u{1b}[31m\u{9b}\u{202e}"), "a\\nb\\u{1b}[31m\\u{9b}\\u{202e}");
        assert_eq!(printable("plain name.db"), "plain name.db");
    }
}
