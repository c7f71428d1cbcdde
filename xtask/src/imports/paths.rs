//! The paths that a Rust source names, absolute: tokens in, paths out. Called by the check of imports only.

/// A path and where it is.
pub(super) struct Named {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Every path of at least two steps, and every path of a `use`; `super` and `self` are resolved against `module`.
pub(super) fn named(text: &str, module: &[String]) -> Vec<Named> {
    let tokens = tokens(text);
    let mut reader =
        Reader { tokens: &tokens, at: 0, module: module.to_vec(), inline: Vec::new(), depth: 0, out: vec![] };
    reader.read();
    reader.out
}

struct Token {
    text: String,
    line: usize,
}

/// Words, `::` and single signs; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let skipped = skip_silent(bytes, at);
        if skipped > at {
            line += bytes[at..skipped].iter().filter(|byte| **byte == b'\n').count();
            at = skipped;
            continue;
        }
        let end = match bytes[at] {
            byte if is_word(byte) => at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count(),
            b':' if bytes.get(at + 1) == Some(&b':') => at + 2,
            _ => at + 1,
        };
        if !bytes[at].is_ascii_whitespace() {
            out.push(Token { text: String::from_utf8_lossy(&bytes[at..end]).into_owned(), line });
        }
        line += usize::from(bytes[at] == b'\n');
        at = end;
    }
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The end of the comment, string or character that begins here, or `at`.
fn skip_silent(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + block_comment(rest);
    }
    let word_before = at > 0 && is_word(bytes[at - 1]);
    let prefix = rest.iter().take(2).take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count();
    let raw = rest[..prefix].contains(&b'r');
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if raw && !word_before && rest.get(prefix + hashes) == Some(&b'"') {
        let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
        let body = prefix + hashes + 1;
        let length = rest[body..].windows(close.len()).position(|window| window == close);
        return at + length.map_or(rest.len(), |length| body + length + close.len());
    }
    match rest[0] {
        b'"' => at + quoted(rest),
        b'\'' if rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'') => at + quoted(rest),
        // A lifetime is a sign and a word.
        _ => at,
    }
}

/// Length of a string or character with escapes.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != rest[0] {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    /// Inline modules and the brace depth that each began at.
    inline: Vec<(String, usize)>,
    depth: usize,
    out: Vec<Named>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    fn read(&mut self) {
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "use" => {
                    self.at += 1;
                    self.tree(Vec::new());
                }
                "mod" if self.peek(2) == "{" => {
                    self.inline.push((self.peek(1).to_owned(), self.depth));
                    self.depth += 1;
                    self.at += 3;
                }
                "{" => (self.depth, self.at) = (self.depth + 1, self.at + 1),
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    self.inline.pop_if(|(_, depth)| *depth == self.depth);
                    self.at += 1;
                }
                "::" => self.at += 1,
                word if word.bytes().all(is_word) => self.chain(),
                _ => self.at += 1,
            }
        }
    }

    /// `a::b::c` in code; one word alone names nothing outside.
    fn chain(&mut self) {
        let line = self.tokens[self.at].line;
        let mut path = vec![self.peek(0).to_owned()];
        self.at += 1;
        while self.peek(0) == "::" && !self.peek(1).is_empty() && self.peek(1).bytes().all(is_word) {
            path.push(self.peek(1).to_owned());
            self.at += 2;
        }
        if path.len() > 1 {
            self.push(path, line);
        }
    }

    /// The tree of a `use`, from behind the keyword or inside of a group.
    fn tree(&mut self, prefix: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut path = prefix.clone();
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.peek(0), "}" | "") {
                        self.tree(path.clone());
                        self.at += usize::from(self.peek(0) == ",");
                    }
                    self.at += 1;
                    return;
                }
                "," | "}" | ";" | "" => break,
                "as" => self.at += 2,
                "::" | "*" => self.at += 1,
                // `{self, ..}` names the prefix itself.
                "self" if !path.is_empty() => self.at += 1,
                word => {
                    path.push(word.to_owned());
                    self.at += 1;
                }
            }
        }
        self.push(path, line);
    }

    fn push(&mut self, path: Vec<String>, line: usize) {
        let mut here: Vec<&str> = self.module.iter().map(String::as_str).collect();
        here.extend(self.inline.iter().map(|(name, _)| name.as_str()));
        let relative = path.iter().take_while(|step| matches!(step.as_str(), "super" | "self")).count();
        if relative == 0 {
            self.out.push(Named { path, line });
            return;
        }
        let ups = path.iter().take(relative).filter(|step| *step == "super").count();
        here.truncate(here.len().saturating_sub(ups));
        let absolute = std::iter::once("crate").chain(here).chain(path[relative..].iter().map(String::as_str));
        let path = absolute.map(str::to_owned).collect();
        self.out.push(Named { path, line });
    }
}
