//! Accepting connections, and each one's life.
//!
//! Called by [`super::run`], one task per socket that listens and one per connection.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::Peer;
use super::crowd::Member;
use super::listen::{Accepted, Listener};
use super::site::Door;
use super::stream::Watched;
use super::{Server, Stage};

/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(60);

/// Time for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The longest head of a request, and what is buffered of a body.
const BUFFER: usize = 64 * 1024;

/// After an error of accept(2), such as no descriptor being free.
const PAUSE: Duration = Duration::from_millis(50);

/// What a connection is told that there is no place for.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Length: 72\r\n\r\n{\"error\":\"too many requests are under way\",\"code\":\"SERVICE_UNAVAILABLE\"}";

/// Accepts connections until the server ends.
pub(super) async fn accept(
    listener: Arc<Listener>,
    tls: Option<TlsAcceptor>,
    app: Router,
    server: Arc<Server>,
    alive: mpsc::Sender<()>,
) {
    let mut stage = server.stage.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.wait_for(|stage| *stage != Stage::Serving) => return,
        };
        match accepted {
            Ok(accepted) => {
                let (tls, app, server, alive) = (tls.clone(), app.clone(), Arc::clone(&server), alive.clone());
                tokio::spawn(async move {
                    admit(accepted, tls, app, server).await;
                    drop(alive);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn admit(accepted: Accepted, tls: Option<TlsAcceptor>, app: Router, server: Arc<Server>) {
    let Some(place) = server.crowd.enter() else {
        tracing::debug!("a connection is refused: everybody is at work");
        // Whoever does not take it at once is not waited for.
        let _ = match &accepted {
            Accepted::Tcp(stream, ..) if tls.is_none() => stream.try_write(FULL),
            Accepted::Tcp(..) => Ok(0),
            Accepted::Unix(stream) => stream.try_write(FULL),
        };
        return;
    };
    let member = Arc::clone(place.member());
    match accepted {
        Accepted::Unix(stream) => {
            let peer = Peer { door: Door::Unix, client: "local".into(), member: Arc::clone(&member) };
            serve(Watched::new(stream, member), peer, app, &server).await;
        }
        Accepted::Tcp(stream, local, address) => {
            let client = address.ip().to_canonical().to_string();
            let peer = Peer { door: Door::Tcp(local), client: client.into(), member: Arc::clone(&member) };
            let stream = Watched::new(stream, Arc::clone(&member));
            let Some(tls) = tls else { return serve(stream, peer, app, &server).await };
            let shaken = tokio::select! {
                shaken = timeout(HANDSHAKE, tls.accept(stream)) => shaken,
                () = member.closed() => return,
            };
            match shaken {
                Ok(Ok(stream)) => serve(stream, peer, app, &server).await,
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Err(_) => tracing::debug!("a handshake took too long"),
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, app: Router, server: &Server) {
    let member: Arc<Member> = Arc::clone(&peer.member);
    let service = Peered { peer, app: TowerToHyperService::new(app) };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(BUFFER);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stage = server.stage.clone();
    let mut ends = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = member.closed() => return tracing::debug!("a connection made room for another"),
            _ = stage.wait_for(|stage| *stage != Stage::Serving), if !ends => {
                ends = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Lets each request know whose it is.
struct Peered {
    peer: Peer,
    app: TowerToHyperService<Router>,
}

impl hyper::service::Service<Request<Incoming>> for Peered {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.app.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_well_formed() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().any(|line| line == format!("Content-Length: {}", body.len())), "{}", body.len());
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], "SERVICE_UNAVAILABLE");
    }
}
