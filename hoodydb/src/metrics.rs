//! Metrics for Prometheus: text over HTTP on a loopback address or a unix socket.
//!
//! Called by [`crate::daemon`]. It answers `GET /metrics` and nothing else, to a few clients at once and each for a few seconds.
//! What it tells comes from a [`Source`]; it knows neither locks nor FUSE.

mod address;
mod busiest;
mod figures;
mod text;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

pub use address::{Address, Listening, MetricsError};
pub use figures::{DatabaseFigures, Figures, RoleFigures};

use busiest::Busiest;

/// Connections served at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16;

/// Longest life of a connection, from its first byte to its last.
const CONNECTION: Duration = Duration::from_secs(10);

/// Longest time to send the head of a request.
const HEAD: Duration = Duration::from_secs(5);

/// Longest head of a request.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Where figures come from.
pub trait Source: Send + Sync + 'static {
    /// The figures now; may block for short reads.
    fn figures(&self) -> Figures;
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Answers on a listening socket.
pub struct Server {
    listener: Listener,
}

impl Server {
    /// A server for this process's runtime.
    ///
    /// # Errors
    /// Those of the runtime.
    pub fn new(listening: &Listening) -> io::Result<Self> {
        let socket: OwnedFd = listening.fd().try_clone()?;
        let listener = match listening.address() {
            Address::Tcp(_) => Listener::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Listener::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Self { listener })
    }

    /// Answers until the task is dropped.
    pub async fn serve(self, source: Arc<impl Source>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let busiest = Arc::new(Mutex::new(Busiest::default()));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = match &self.listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            };
            match accepted {
                Ok(stream) => {
                    let (source, busiest) = (Arc::clone(&source), Arc::clone(&busiest));
                    tokio::spawn(async move {
                        match stream {
                            Stream::Tcp(stream) => serve_one(stream, source, busiest).await,
                            Stream::Unix(stream) => serve_one(stream, source, busiest).await,
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: Arc<impl Source>,
    busiest: Arc<Mutex<Busiest>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (source, busiest) = (Arc::clone(&source), Arc::clone(&busiest));
        async move { Ok::<_, Infallible>(answer(&request, source, busiest).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION, connection).await {
        Ok(Ok(())) => (),
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics ended early"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
}

async fn answer(
    request: &Request<Incoming>,
    source: Arc<impl Source>,
    busiest: Arc<Mutex<Busiest>>,
) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let made = tokio::task::spawn_blocking(move || {
                let mut figures = source.figures();
                busiest.lock().unwrap_or_else(PoisonError::into_inner).choose(&mut figures.databases);
                text::text(&figures)
            });
            match made.await {
                Ok(text) => plain(StatusCode::OK, text, text::CONTENT_TYPE),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the daemon ends\n".to_owned(), PLAIN),
            }
        }
        (_, "/metrics") => {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned(), PLAIN);
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refusal
        }
        _ => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned(), PLAIN),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn plain(status: StatusCode, text: String, content_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
