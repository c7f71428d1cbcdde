//! From text to a document: serde_json tells whether it is one, the rest only cuts it up.
//!
//! Called by [`super`]. The depth is bounded, since documents are walked by recursion.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Document, Number};

/// The most levels of arrays and objects.
const DEPTH_MAX: usize = 512;

/// One document and nothing else.
pub(super) fn document(bytes: &[u8]) -> Option<Document> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = serde_json::from_str::<&RawValue>(text).ok()?.get();
    Reader { text, at: 0 }.value(0)
}

/// Where in a text that is valid JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// The next byte that is no whitespace, which stays.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes a byte if it comes next.
    fn pass(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    /// Everything up to what ends a number or a word.
    fn word(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let ends = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}');
        let length = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn string(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let mut is_escaped = false;
        let closes = |byte: u8| {
            let closes = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            closes
        };
        let length = rest.bytes().skip(1).position(closes)? + 2;
        self.at += length;
        serde_json::from_str(&rest[..length]).ok()
    }

    fn value(&mut self, depth: usize) -> Option<Document> {
        match self.peek()? {
            b'[' | b'{' if depth == DEPTH_MAX => None,
            b'[' => self.array(depth + 1),
            b'{' => self.object(depth + 1),
            b'"' => self.string().map(Document::Text),
            _ => Some(match self.word() {
                "null" => Document::Null,
                "true" => Document::Bool(true),
                "false" => Document::Bool(false),
                number => Document::Number(Number::new(number)),
            }),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Document> {
        let mut elements = Vec::new();
        self.pass(b'[');
        while !self.pass(b']') {
            elements.push(self.value(depth)?);
            self.pass(b',');
        }
        Some(Document::Array(elements))
    }

    fn object(&mut self, depth: usize) -> Option<Document> {
        let mut members = BTreeMap::new();
        self.pass(b'{');
        while !self.pass(b'}') {
            self.peek()?;
            let name = self.string()?;
            self.pass(b':');
            members.insert(name, self.value(depth)?);
            self.pass(b',');
        }
        Some(Document::Object(members))
    }
}
