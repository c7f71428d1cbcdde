//! What the commands of the HTTP interface share: one request, asked of a server or of the same code in this process.
//!
//! Called by `db` and `kv`. Which of both answers is no business of a command: it makes an [`Ask`] and shows what comes.

mod pretty;
mod show;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::duration;
use super::exit::{self, Failure, Refused};
use crate::api::{self, Api, Inline, Roots, Settings};
use crate::model::printable;
use crate::process::mounts;
use crate::serve::client::{Client, Url};

pub(super) use show::Output;

/// The mount that is meant where several are live.
const DEFAULT_MOUNT: &str = api::PUBLIC_ROOT;

/// The most bytes of an answer that is made in this process.
const RESPONSE_MAX_BYTES: usize = 64 << 20;

/// What stands for itself in an address.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the databases are, and how the answer is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Ask this server: http://HOST:PORT, https://HOST:PORT or unix:/PATH; without one it is done here [env: HOODYDB_URL]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Url>,
    /// The server's token [env: HOODYDB_TOKEN]
    #[arg(long, value_name = "TOKEN", hide_short_help = true)]
    token: Option<String>,
    /// Certificates to trust instead of the host's, in PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    ca_cert: Option<PathBuf>,
    /// The directory of the databases, without a server; the live mount without it
    #[arg(long, value_name = "DIR", conflicts_with = "url", hide_short_help = true)]
    db_root: Option<PathBuf>,
    /// How long it may take: seconds, or 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", value_parser = duration::parse_seconds)]
    pub(super) timeout: Option<Duration>,
    /// How the answer is shown
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Do not ask whether it is meant
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Taken and left aside: databases are not in containers here
    #[arg(short, long, hide = true, value_name = "NAME")]
    container: Option<String>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

impl Ask {
    /// A request for a path of the interface.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), headers: Vec::new(), body: Bytes::new() }
    }

    /// GET.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// POST.
    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// DELETE.
    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// With a parameter, if there is one.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a parameter that is true, if it is.
    pub(super) fn with_flag(self, name: &'static str, is_set: bool) -> Self {
        if is_set { self.with(name, "true") } else { self }
    }

    /// With a header.
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body of JSON.
    pub(super) fn json(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }.header(header::CONTENT_TYPE, "application/json")
    }

    /// With a body of another kind.
    pub(super) fn body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }.header(header::CONTENT_TYPE, content_type)
    }

    fn request(self, place: &Place) -> Result<Request<Bytes>> {
        let mut query = self.query;
        if let Some(timeout) = place.timeout {
            // The interface counts in whole seconds.
            query.push(("timeout", timeout.as_millis().div_ceil(1000).to_string()));
        }
        let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() =
            format!("{}{}?{}", api::BASE, self.path, pairs.join("&")).parse().context("the request is too long")?;
        for (name, value) in self.headers {
            request
                .headers_mut()
                .insert(name, HeaderValue::try_from(value).map_err(|_| usage("a header must be text on one line"))?);
        }
        if let Some(token) = place.token.clone().or_else(|| variable("HOODYDB_TOKEN")) {
            let value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| usage("a token is text on one line"))?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// A text as a part of a path, or as the value of a parameter.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The command line is wrong.
pub(super) fn usage(text: impl Into<String>) -> anyhow::Error {
    Failure::new(exit::USAGE, text).into()
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

impl Place {
    /// Whether the command line says that the interface is meant.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some() || self.db_root.is_some() || self.token.is_some() || self.output.is_some()
    }

    /// The server, if one is named.
    pub(super) fn server(&self) -> Result<Option<Url>> {
        if self.url.is_some() || self.db_root.is_some() {
            return Ok(self.url.clone());
        }
        let named =
            variable("HOODYDB_URL").map(|text| text.parse().map_err(|why| usage(format!("HOODYDB_URL: {why}"))));
        named.transpose()
    }

    /// How answers are shown.
    pub(super) fn output(&self) -> Output {
        self.output.unwrap_or_default()
    }

    /// Asks, and shows the answer.
    pub(super) fn run(&self, ask: Ask) -> Result<()> {
        let response = self.ask(ask)?;
        show::answer(&response, self.output())
    }

    /// Asks. An answer that is no success is an error.
    pub(super) fn ask(&self, ask: Ask) -> Result<Response<Bytes>> {
        self.follow(ask, &mut |_| true)
    }

    /// Asks; a stream of events is given to `event` as it comes, until that says false.
    pub(super) fn follow(&self, ask: Ask, event: &mut dyn FnMut(&[u8]) -> bool) -> Result<Response<Bytes>> {
        let request = ask.request(self)?;
        let response = match self.server()? {
            Some(url) => {
                let client = Client { url, authorities: self.ca_cert.clone() };
                client.ask(request, event).map_err(|error| {
                    let text = format!("cannot reach {}: {}", client.url, printable(error.to_string()));
                    Refused::new(text, "CONNECTION_FAILED")
                })?
            }
            None => self.here(request, event)?,
        };
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(refusal(&response).into());
        }
        Ok(response)
    }

    /// The same code as in a server, in this process.
    fn here(&self, request: Request<Bytes>, event: &mut dyn FnMut(&[u8]) -> bool) -> Result<Response<Bytes>> {
        let root = match &self.db_root {
            Some(root) => root.clone(),
            None => live_mount()?,
        };
        let roots = Roots::new(&root, false).with_context(|| format!("cannot find {}", printable(&root)))?;
        let settings = Settings { roots, max_response_bytes: RESPONSE_MAX_BYTES, query_history: true, max_streams: 1 };
        let api = Api::new(settings, Arc::new(Inline));
        let (head, body) = api.answer(request, "local".to_owned()).into_parts();
        let bytes = match body {
            api::Body::Whole(bytes) => bytes,
            api::Body::Events(mut stream) => {
                while let Some(text) = stream.wait()
                    && event(&text)
                {}
                Bytes::new()
            }
        };
        api.close();
        Ok(Response::from_parts(head, bytes))
    }

    /// Asks whether something that cannot be taken back is meant, where somebody can answer.
    pub(super) fn confirm(&self, what: &str) -> Result<()> {
        if self.yes || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(());
        }
        write!(io::stdout(), "{}? [y/N] ", printable(what))?;
        io::stdout().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::new(exit::FAILURE, "nothing was done").into()),
        }
    }
}

/// The mount that this process sees.
fn live_mount() -> Result<PathBuf> {
    let mut mounts: Vec<PathBuf> = mounts::own_mounts()?.into_iter().map(|mount| mount.mount_point).collect();
    mounts.sort();
    mounts.dedup();
    if mounts.len() > 1 {
        mounts.retain(|mount| mount.as_os_str() == DEFAULT_MOUNT);
    }
    match mounts.pop() {
        Some(mount) => Ok(mount),
        None => {
            let text = "no mount of hoodydb is live here, or several are: name a server with --url or a directory with --db-root";
            Err(Refused::new(text, "NOT_MOUNTED").into())
        }
    }
}

fn refusal(response: &Response<Bytes>) -> Refused {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let member = |name: &str| body.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let header = || Some(response.headers().get("x-hoody-error-code")?.to_str().ok()?.to_owned());
    let code = member("code").or_else(header).unwrap_or_else(|| response.status().as_u16().to_string());
    let text = match (member("error"), member("message")) {
        (Some(error), Some(message)) => format!("{error}: {message}"),
        (Some(error), None) => error,
        _ => response.status().canonical_reason().unwrap_or("the server refuses it").to_owned(),
    };
    let item = body.get("reqIdx").and_then(serde_json::Value::as_i64).filter(|index| *index >= 0);
    Refused::new(item.map_or(text.clone(), |item| format!("item {item}: {text}")), code)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Wrapper {
        #[command(flatten)]
        place: Place,
    }

    fn place(words: &[&str]) -> Place {
        Wrapper::parse_from([&["x"], words].concat()).place
    }

    #[test]
    fn a_request_is_encoded() {
        let ask = Ask::get(format!("/kv/{}", encoded("a/b é")))
            .with("db", "x y&z")
            .with_some("path", None::<&str>)
            .with_flag("history", true);
        let request = ask.request(&place(&["--timeout", "1500ms", "--token", "t"])).unwrap();
        assert_eq!(request.uri(), "/api/v1/sqlite/kv/a%2Fb%20%C3%A9?db=x%20y%26z&history=true&timeout=2");
        assert_eq!(request.headers()["authorization"], "Bearer t");
        assert!(Ask::get("/x").header(header::ETAG, "a\nb").request(&place(&[])).is_err());
    }

    #[test]
    fn refusals_have_a_text_and_a_code() {
        let said = |body: &'static str| {
            let response = Response::builder().status(404).header("x-hoody-error-code", "KEY_NOT_FOUND");
            refusal(&response.body(Bytes::from(body)).unwrap()).to_string()
        };
        assert_eq!(said(r#"{"error":"no","code":"NOT_FOUND"}"#), "Error: no (NOT_FOUND)");
        assert_eq!(said(r#"{"error":"no","code":"SQL_ERROR","reqIdx":1}"#), "Error: item 1: no (SQL_ERROR)");
        assert_eq!(said(r#"{"error":"GAP","code":"GAP","message":"of k"}"#), "Error: GAP: of k (GAP)");
        assert_eq!(said(""), "Error: Not Found (KEY_NOT_FOUND)");
    }

    #[test]
    fn a_directory_is_asked_without_a_server() {
        assert_eq!(place(&["--db-root", "/x"]).server().unwrap(), None);
        assert_eq!(place(&["--url", "unix:/x"]).server().unwrap(), Some(Url::Unix("/x".into())));
        let root = std::env::temp_dir();
        let refused = place(&["--db-root", root.to_str().unwrap()]).ask(Ask::get("/nothing")).unwrap_err();
        assert!(refused.to_string().ends_with("(NOT_FOUND)"), "{refused}");
    }
}
