//! A client of a server: one request, over TCP, TLS or a unix socket.
//!
//! Called by [`crate::cli`]. It blocks; the events of a stream are given to the caller as they come.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tls;
use crate::api::BASE;
use crate::model::printable;

/// Where a server is: `http://host:port`, `https://host:port` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {
    /// By TCP.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether by TLS.
        tls: bool,
    },
    /// By a unix socket.
    Unix(PathBuf),
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!("'{text}': a unix socket is unix: and an absolute path")),
            };
        }
        let wrong =
            || format!("'{text}' is no address of a server: write http://HOST:PORT, https://HOST:PORT or unix:/PATH");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        // The path of the interface is known; one that is written out is taken as well.
        let path = uri.path().trim_end_matches('/');
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        if uri.query().is_some() || !(path.is_empty() || path == BASE) {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self::Tcp { host, port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { tls, .. } => write!(f, "{}://{}", if *tls { "https" } else { "http" }, self.host()),
            Self::Unix(path) => write!(f, "unix:{}", printable(path)),
        }
    }
}

impl Url {
    /// As Host says it.
    fn host(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the server is.
    pub url: Url,
    /// A file with certificates to trust instead of the host's.
    pub authorities: Option<PathBuf>,
}

impl Client {
    /// Sends a request whose address is the path and query only, and waits for the answer. What is an event stream is given to `event`
    /// piece by piece, until it ends or `event` says so by false; the answer's body is then empty.
    ///
    /// # Errors
    /// Those of the connection, of TLS and of HTTP.
    pub fn ask(&self, request: Request<Bytes>, event: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<Response<Bytes>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match &self.url {
                Url::Unix(path) => self.exchange(UnixStream::connect(path).await?, request, event).await,
                Url::Tcp { host, port, tls } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    if !tls {
                        return self.exchange(stream, request, event).await;
                    }
                    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                    let connector = tls::connector(self.authorities.as_deref().map(Path::new))?;
                    self.exchange(connector.connect(name, stream).await?, request, event).await
                }
            }
        })
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        mut request: Request<Bytes>,
        event: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<Response<Bytes>> {
        let host = HeaderValue::try_from(self.url.host()).map_err(io::Error::other)?;
        request.headers_mut().insert(header::HOST, host);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(plain)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request.map(Full::new)).await.map_err(plain)?;
        let answer = receive(response, event).await;
        connection.abort();
        answer
    }
}

async fn receive(response: Response<Incoming>, event: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<Response<Bytes>> {
    let (head, mut body) = response.into_parts();
    let is_stream =
        head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(plain)?;
        let Some(data) = frame.data_ref() else { continue };
        if !is_stream {
            bytes.extend_from_slice(data);
        } else if !event(data) {
            break;
        }
    }
    Ok(Response::from_parts(head, bytes.freeze()))
}

/// The cause rather than the words around it.
fn plain(error: hyper::Error) -> io::Error {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    io::Error::other(cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn addresses_of_servers() {
        let tcp = |host: &str, port, tls| Ok(Url::Tcp { host: host.to_owned(), port, tls });
        assert_eq!("http://127.0.0.1:8090".parse(), tcp("127.0.0.1", 8090, false));
        assert_eq!("https://db.example/".parse(), tcp("db.example", 443, true));
        assert_eq!("http://[::1]:1/api/v1/sqlite".parse(), tcp("::1", 1, false));
        assert_eq!("unix:/run/x".parse(), Ok(Url::Unix("/run/x".into())));
        assert_eq!("unix:///run/x".parse(), Ok(Url::Unix("/run/x".into())));
        for wrong in ["127.0.0.1:8090", "ftp://x", "unix:x", "http://u@x", "http://x/y", "http://", "http://x?y", ""] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
        assert_eq!("http://[::1]:1".parse::<Url>().unwrap().to_string(), "http://[::1]:1");
    }

    /// Answers one connection with a text, and tells what it was asked.
    fn answered(text: &'static str, event: &mut dyn FnMut(&[u8]) -> bool) -> (Response<Bytes>, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\nbody") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(text.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let request = Request::builder().method("PUT").uri("/a?b=%2F").body(Bytes::from("body")).unwrap();
        let response = Client { url, authorities: None }.ask(request, event).unwrap();
        (response, server.join().unwrap())
    }

    #[test]
    fn a_request_goes_out_and_an_answer_comes_back() {
        let (response, asked) = answered("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi", &mut |_| false);
        assert_eq!((response.status().as_u16(), &response.body()[..]), (201, &b"hi"[..]));
        assert!(asked.starts_with("PUT /a?b=%2F HTTP/1.1\r\n") && asked.contains("host: 127.0.0.1:"), "{asked}");
    }

    #[test]
    fn events_are_given_as_they_come() {
        let mut seen = Vec::new();
        let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n";
        let (response, _) = answered(text, &mut |piece| {
            seen.extend_from_slice(piece);
            true
        });
        assert!(response.body().is_empty());
        assert_eq!(seen, b"data: 1\n\n");
    }
}
