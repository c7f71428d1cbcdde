//! SQL as SQLite's own tokenizer cuts it, for the questions that are asked before anything is prepared.
//!
//! Called by the files of this room. It never decides what is allowed: that is the authorizer's part. Where it disagrees with SQLite a
//! statement is refused, or takes the write lock for nothing.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in `"`, `` ` `` or brackets.
    Name,
    /// Text in single quotes, which SQLite takes for a name where it expects one.
    Text,
    /// `;`
    Semicolon,
    /// A number, a parameter or an operator.
    Other,
}

/// A piece of SQL that is neither blank nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'s> {
    /// What it is.
    pub(super) kind: Kind,
    /// Its text, with its quotes.
    pub(super) text: &'s str,
    /// Where it begins, in bytes.
    pub(super) start: usize,
}

impl Token<'_> {
    /// Whether it is a keyword, whatever its case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Where it ends, in bytes.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The name without its quotes.
    pub(super) fn name(&self) -> String {
        let Some(quote) = self.text.chars().next().filter(|_| matches!(self.kind, Kind::Name | Kind::Text)) else {
            return self.text.to_owned();
        };
        let close = if quote == '[' { ']' } else { quote };
        let inner = &self.text[1..];
        let inner = inner.strip_suffix(close).unwrap_or(inner);
        if quote == '[' { inner.to_owned() } else { inner.replace(&format!("{quote}{quote}"), &quote.to_string()) }
    }
}

/// The tokens of a text.
pub(super) fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = skip(sql, at);
        let (kind, length) = token(&sql.as_bytes()[start..])?;
        at = start + length;
        Some(Token { kind, text: &sql[start..at], start })
    })
}

/// SQLite takes every character that is not ASCII for a letter.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The end of what is blank or a comment.
fn skip(sql: &str, mut at: usize) -> usize {
    loop {
        let rest = &sql[at..];
        at += match rest.as_bytes() {
            [b' ' | b'\t' | b'\n' | b'\r' | 0x0c, ..] => 1,
            [0xef, 0xbb, 0xbf, ..] => 3,
            [b'-', b'-', ..] => rest.find('\n').map_or(rest.len(), |end| end + 1),
            [b'/', b'*', ..] => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            _ => return at,
        };
    }
}

/// What begins here, and its length; it ends before or behind an ASCII character, so never within another.
fn token(rest: &[u8]) -> Option<(Kind, usize)> {
    let letters = |from: usize| from + rest[from..].iter().take_while(|byte| is_letter(**byte)).count();
    let first = *rest.first()?;
    Some(match first {
        b';' => (Kind::Semicolon, 1),
        b'\'' => (Kind::Text, quoted(rest, first)),
        b'"' | b'`' => (Kind::Name, quoted(rest, first)),
        b'[' => (Kind::Name, rest.iter().position(|byte| *byte == b']').map_or(rest.len(), |end| end + 1)),
        b'?' | b':' | b'@' | b'#' | b'$' | b'0'..=b'9' => (Kind::Other, letters(1)),
        _ if is_letter(first) => (Kind::Word, letters(0)),
        _ => (Kind::Other, 1),
    })
}

/// The length of what stands in quotes, where a doubled quote stands for one.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(found) = rest[at..].iter().position(|byte| *byte == quote) {
        at += found + 1;
        if rest.get(at) != Some(&quote) {
            return at;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<(Kind, &str)> {
        tokens(sql).map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        let sql = "\u{feff}SELECT 'a;''b' /* ; */, \"c;\"\"d\", [e;f], `g;` -- ;\n FROM x;";
        let kinds: Vec<_> = texts(sql).into_iter().filter(|(kind, _)| *kind != Kind::Other).collect();
        let expected = [
            (Kind::Word, "SELECT"),
            (Kind::Text, "'a;''b'"),
            (Kind::Name, "\"c;\"\"d\""),
            (Kind::Name, "[e;f]"),
            (Kind::Name, "`g;`"),
            (Kind::Word, "FROM"),
            (Kind::Word, "x"),
            (Kind::Semicolon, ";"),
        ];
        assert_eq!(kinds, expected);
        let names: Vec<_> = tokens(sql).map(|token| token.name()).collect();
        assert!(
            names.contains(&"c;\"d".to_owned())
                && names.contains(&"e;f".to_owned())
                && names.contains(&"a;'b".to_owned())
        );
    }

    #[test]
    fn what_is_not_ended_reaches_to_the_end() {
        assert_eq!(texts("'abc; "), [(Kind::Text, "'abc; ")]);
        assert_eq!(texts("a /* b; "), [(Kind::Word, "a")]);
        assert_eq!(texts("a -- b; "), [(Kind::Word, "a")]);
        assert_eq!(texts("[b; "), [(Kind::Name, "[b; ")]);
        assert_eq!(texts("\""), [(Kind::Name, "\"")]);
        assert_eq!(tokens("\"").next().unwrap().name(), "");
    }

    #[test]
    fn letters_of_any_script_are_letters() {
        assert_eq!(
            texts("é$1 :über ?12 1e5"),
            [(Kind::Word, "é$1"), (Kind::Other, ":über"), (Kind::Other, "?12"), (Kind::Other, "1e5"),]
        );
    }
}
