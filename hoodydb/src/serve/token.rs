//! Who may ask, and for what: tokens with scopes.
//!
//! Read by [`crate::cli`]'s `serve`, asked by [`super::answer`]. A token's text is compared in constant time and never logged.
//!
//! ```text
//! # one token a line:  TOKEN [ro] [prefix=/hoody/databases/app]
//! ```

use std::path::{Path, PathBuf};

use http::{HeaderMap, Method, header};
use subtle::{Choice, ConstantTimeEq};

use super::ServeError;
use crate::api::{self, Call, Failure, Roots};

/// A token.
#[derive(Clone)]
pub struct Token {
    text: String,
    scope: Scope,
}

/// What a token is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    reads_only: bool,
    /// Only databases that are this path or lie below it.
    prefix: Option<PathBuf>,
}

/// The tokens that a server knows.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<Token>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Token {
    /// Takes a line of a file of tokens apart.
    ///
    /// # Errors
    /// What is wrong with it, without the token itself.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (text, mut rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token is visible ASCII without blanks".to_owned());
        }
        let mut scope = Scope::default();
        loop {
            rest = rest.trim_start();
            // A path may have blanks in it: it is the rest of the line.
            if let Some(path) = rest.strip_prefix("prefix=") {
                if !path.starts_with('/') {
                    return Err("prefix= is followed by an absolute path".to_owned());
                }
                scope.prefix = Some(PathBuf::from(path));
                break;
            }
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word {
                "" => break,
                "ro" => scope.reads_only = true,
                other => return Err(format!("'{other}' is no scope: write ro, or prefix=/PATH as the last")),
            }
            rest = after;
        }
        Ok(Self { text: text.to_owned(), scope })
    }
}

impl Tokens {
    /// Adds one.
    pub fn add(&mut self, token: Token) {
        self.0.push(token);
    }

    /// Adds those of a file: one a line; blank lines and those that begin with # are left out.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, or a line is wrong.
    pub fn read(&mut self, path: &Path) -> Result<(), ServeError> {
        use std::io::Read;
        use std::os::unix::fs::MetadataExt;
        let failed = |error: std::io::Error| ServeError::file(path, error);
        let mut file = std::fs::File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o007 != 0 {
            return Err(ServeError::file(path, "everybody may open the file of tokens: chmod o= it"));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let token =
                    Token::parse(line).map_err(|why| ServeError::file(path, format!("line {}: {why}", number + 1)))?;
                self.add(token);
            }
        }
        if self.0.is_empty() {
            // Without a token everybody may ask, which nobody who names a file means.
            return Err(ServeError::file(path, "there is no token in it"));
        }
        Ok(())
    }

    /// Whether everybody may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the one who asks may do; none if the request has no token that is known.
    pub(super) fn scope(&self, headers: &HeaderMap) -> Option<Scope> {
        if self.0.is_empty() {
            return Some(Scope::default());
        }
        let given = bearer(headers)?;
        // All are compared, so that the time tells neither which one it was nor how far it was right.
        let mut found: Option<&Scope> = None;
        for token in &self.0 {
            let same: Choice = token.text.as_bytes().ct_eq(given);
            if bool::from(same) {
                found = Some(&token.scope);
            }
        }
        found.cloned()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

impl Scope {
    /// Whether it covers everything.
    pub(super) fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the scope covers a request.
    ///
    /// # Errors
    /// 403 FORBIDDEN if it does not. What is no path at all is left to the endpoint to refuse.
    pub(super) fn check(&self, call: &Call, roots: &Roots) -> Result<(), Failure> {
        let reads = matches!(call.method, Method::GET | Method::HEAD) || call.path == "/kv/batch/get";
        if self.reads_only && !reads {
            return Err(forbidden("the token is for reading only"));
        }
        let Some(prefix) = &self.prefix else { return Ok(()) };
        if matches!(call.path.as_str(), "/health" | "/openapi.yaml" | "/openapi.json") {
            return Ok(());
        }
        let prefix = mapped(prefix, roots);
        if call.path == "/db/list" {
            let dir = call.params.first("dir").unwrap_or(api::PUBLIC_ROOT);
            return covers(&prefix, &mapped(Path::new(dir), roots));
        }
        let mut named =
            vec![call.params.first(if call.path == "/db/create" { "path" } else { "db" }).map(str::to_owned)];
        if call.path == "/maintenance" {
            let body: Result<serde_json::Value, _> = serde_json::from_slice(&call.body);
            let dest = body.ok().and_then(|body| Some(body.get("dest_path")?.as_str()?.to_owned()));
            named.extend(dest.map(Some));
        }
        for name in named {
            let name = name.ok_or_else(|| forbidden("the token is for some databases only: name one"))?;
            if let Ok(path) = roots.lexical(&name) {
                covers(&prefix, &path)?;
            }
        }
        Ok(())
    }
}

/// The path on this host of one that a client may spell below the root that it knows.
fn mapped(path: &Path, roots: &Roots) -> PathBuf {
    let cleaned = api::clean(path);
    match cleaned.strip_prefix(api::PUBLIC_ROOT) {
        Ok(below) if !cleaned.starts_with(roots.root()) => roots.root().join(below),
        _ => cleaned,
    }
}

/// Both as they are written and as they are on the disk: a symlink below the prefix leads nowhere else.
fn covers(prefix: &Path, path: &Path) -> Result<(), Failure> {
    let is_below = path.starts_with(prefix) && real(path).starts_with(real(prefix));
    if is_below { Ok(()) } else { Err(forbidden("the token is for other databases")) }
}

/// Without symlinks, as far as it exists.
fn real(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            // Joining nothing would add a slash.
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

fn forbidden(text: &str) -> Failure {
    Failure::new(http::StatusCode::FORBIDDEN, "FORBIDDEN", text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn tokens(lines: &[&str]) -> Tokens {
        Tokens(lines.iter().map(|line| Token::parse(line).unwrap()).collect())
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn allows(line: &str, method: &str, uri: &str, body: &'static str) -> bool {
        let root = std::env::temp_dir();
        let roots = Roots::new(&root, false).unwrap();
        let request =
            Request::builder().method(method).uri(format!("{}{uri}", api::BASE)).body(Bytes::from(body)).unwrap();
        Token::parse(line).unwrap().scope.check(&Call::new(request, String::new()).unwrap(), &roots).is_ok()
    }

    #[test]
    fn lines_have_a_token_and_scopes() {
        let scope = |line: &str| Token::parse(line).unwrap().scope;
        assert_eq!(scope(" t0ken "), Scope::default());
        assert_eq!(scope("t\tro  prefix=/a b"), Scope { reads_only: true, prefix: Some("/a b".into()) });
        for wrong in ["", "t rw", "t prefix=a", "t prefix=", "t\u{e9}"] {
            let why = Token::parse(wrong).unwrap_err();
            assert!(!why.contains("t\u{e9}"), "{why}");
        }
        assert!(!format!("{:?}", tokens(&["secret ro"])).contains("secret"));
    }

    #[test]
    fn only_known_tokens_are_let_in() {
        let tokens = tokens(&["one", "two ro"]);
        assert_eq!(tokens.scope(&headers("Bearer one")), Some(Scope::default()));
        assert!(tokens.scope(&headers("bearer two")).unwrap().reads_only);
        for wrong in ["Bearer on", "Bearer onee", "Bearer ", "Bearer", "Basic one", "one"] {
            assert_eq!(tokens.scope(&headers(wrong)), None, "{wrong}");
        }
        assert_eq!(tokens.scope(&HeaderMap::new()), None);
        assert_eq!(Tokens::default().scope(&HeaderMap::new()), Some(Scope::default()));
    }

    #[test]
    fn a_reading_token_does_not_write() {
        for (method, uri) in
            [("GET", "/kv/a?db=x"), ("HEAD", "/kv/a?db=x"), ("POST", "/kv/batch/get?db=x"), ("GET", "/query")]
        {
            assert!(allows("t ro", method, uri, ""), "{method} {uri}");
        }
        for (method, uri) in
            [("POST", "/db?db=x"), ("PUT", "/kv/a?db=x"), ("DELETE", "/db?db=x"), ("POST", "/kv/batch%2Fget")]
        {
            assert!(!allows("t ro", method, uri, ""), "{method} {uri}");
        }
    }

    #[test]
    fn a_prefix_is_whole_names() {
        let line = "t prefix=/hoody/databases/app";
        for db in ["/hoody/databases/app/x.db", "/hoody/databases/a/../app/x.db", "%2Fhoody/databases/app%2Fx.db"] {
            assert!(allows(line, "POST", &format!("/db?db={db}"), ""), "{db}");
        }
        for db in
            ["x", "app", "/hoody/databases/app2/x.db", "/hoody/databases/app/../x.db", "/hoody/databases/app/%2E./x.db"]
        {
            assert!(!allows(line, "POST", &format!("/db?db={db}"), ""), "{db}");
        }
        assert!(
            !allows(line, "POST", "/db", "") && allows("t prefix=/hoody/databases/app.db", "POST", "/db?db=app", "")
        );
        assert!(!allows(line, "GET", "/db/list", "") && allows(line, "GET", "/db/list?dir=/hoody/databases/app", ""));
        let into = |body| allows(line, "POST", "/maintenance?db=/hoody/databases/app/x.db", body);
        assert!(into(r#"{"op":"vacuum_into","dest_path":"/hoody/databases/app/y.db"}"#));
        assert!(!into(r#"{"op":"vacuum_into","dest_path":"y"}"#));
    }

    #[test]
    fn a_symlink_does_not_lead_out_of_a_prefix() {
        let directory = std::env::temp_dir().join(format!("hoodydb-scope-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("app")).unwrap();
        std::os::unix::fs::symlink(&directory, directory.join("app/out")).unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap();
        let line = format!("t prefix=/hoody/databases/{name}/app");
        let inside = format!("/db?db=/hoody/databases/{name}/app/new/x.db");
        let outside = format!("/db?db=/hoody/databases/{name}/app/out/x.db");
        let allowed = [allows(&line, "POST", &inside, ""), allows(&line, "POST", &outside, "")];
        std::fs::remove_dir_all(directory).unwrap();
        assert_eq!(allowed, [true, false]);
    }

    #[test]
    fn a_file_of_tokens_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("hoodydb-tokens-{}", std::process::id()));
        let read = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut tokens = Tokens::default();
            tokens.read(&path).map(|()| tokens.0.len()).map_err(|error| error.to_string())
        };
        assert_eq!(read("# all\n\none\ntwo ro\n", 0o640), Ok(2));
        assert!(read("one", 0o644).unwrap_err().contains("chmod o="));
        assert!(read("# none\n", 0o600).unwrap_err().contains("no token"));
        assert!(read("one\ntwo rw\n", 0o600).unwrap_err().contains("line 2: 'rw'"));
        std::fs::remove_file(path).unwrap();
    }
}
