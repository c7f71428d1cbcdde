//! One request, from its head to its answer.
//!
//! Called by [`super::connection`] through axum: checks where it comes from and who asks, receives the body, hands it to [`crate::api`], and
//! waits. Whoever goes away while the work has not begun is forgotten.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, DefaultPredicate};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::trace::TraceLayer;

use super::crowd::{Member, Phase};
use super::events::{Events, Sent, Slices};
use super::site::Door;
use super::token::Scope;
use super::{Server, Stage, body};
use crate::api::{self, BASE, Call, Failure, Slot};

/// Answers below this are not compressed.
const COMPRESSED_MIN_BYTES: u64 = 1024;

/// How long to wait until answers that are being sent have left memory.
const MEMORY: Duration = Duration::from_secs(5);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What web pages may read of an answer beside its body.
const EXPOSED: [&str; 9] = [
    "etag",
    "idempotent-replayed",
    "retry-after",
    "x-created-at",
    "x-updated-at",
    "x-expire-at",
    "x-json-path",
    "x-hoody-error-code",
    "content-encoding",
];

/// Who asks; each request of a connection carries it.
#[derive(Clone)]
pub(super) struct Peer {
    /// Where the connection came in.
    pub(super) door: Door,
    /// As the query history shows it.
    pub(super) client: Arc<str>,
    /// The connection.
    pub(super) member: Arc<Member>,
}

/// The service of all connections.
pub(super) fn app(server: &Arc<Server>) -> Router {
    let compression =
        CompressionLayer::new().compress_when(DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_MIN_BYTES)));
    // The query may hold values: only the path is logged.
    let trace = TraceLayer::new_for_http()
        .make_span_with(|request: &http::Request<Body>| {
            tracing::debug_span!("request", method = %request.method(), path = request.uri().path())
        })
        .on_failure(());
    let app = Router::new().fallback(handle).with_state(Arc::clone(server)).layer(compression);
    let app = match cors(server.sites.origins()) {
        Some(cors) => app.layer(cors),
        None => app,
    };
    app.layer(trace)
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let methods = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
    let layer =
        CorsLayer::new().allow_origin(allowed).allow_methods(methods).allow_headers(AllowHeaders::mirror_request());
    Some(layer.expose_headers(EXPOSED.map(HeaderName::from_static)).max_age(Duration::from_secs(600)))
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return whole(Failure::internal(&"a request of nobody").response());
    };
    let at_whole = is_sql(request.uri().path());
    let answered = server.answer(request, &peer).await;
    let answered = answered.unwrap_or_else(|failure| if at_whole { failure.at(-1) } else { failure }.response());
    let ends = *server.stage.borrow() != Stage::Serving;
    let mut response = sent(answered, &server, &peer.member);
    if ends {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whose failures have `reqIdx`.
fn is_sql(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|path| matches!(path, "/db" | "/maintenance"))
}

impl Server {
    async fn answer(self: &Arc<Self>, request: Request, peer: &Peer) -> Result<http::Response<api::Body>, Failure> {
        if *self.stage.borrow() != Stage::Serving {
            return Err(Failure::unavailable("the server is shutting down"));
        }
        self.sites.check(peer.door, request.uri(), request.headers())?;
        let (head, body) = request.into_parts();
        let below = head.uri.path().strip_prefix(BASE);
        if !below.is_some_and(|below| below.starts_with('/')) {
            return Err(Failure::not_found("NOT_FOUND", format!("there is no such path: all are below {BASE}")));
        }
        let scope = match self.tokens.scope(&head.headers) {
            Some(scope) => scope,
            None if below == Some("/health") => Scope::default(),
            None => return Ok(unauthorized()),
        };
        peer.member.enter(Phase::Receiving);
        let (bytes, held) = self.receive(&head, body).await?.into_parts();
        self.room().await?;
        peer.member.enter(Phase::Working);
        let at_once = scope.is_whole() && !looks_at_disk(&head.uri);
        let (answer, answered) = oneshot::channel();
        let reply: api::Reply = Box::new(move |response| _ = answer.send(response));
        let (server, client) = (Arc::clone(self), peer.client.to_string());
        let request = http::Request::from_parts(head, bytes);
        let submit = move || {
            if !scope.is_whole() {
                let call = Call::new(request.clone(), client.clone())?;
                scope.check(&call, &server.api.settings().roots)?;
            }
            Ok(server.api.submit(request, client, reply))
        };
        let submitted = match at_once {
            true => submit(),
            false => tokio::task::spawn_blocking(submit).await.unwrap_or_else(|error| Err(Failure::internal(&error))),
        };
        let (slot, expires) = submitted?;
        let answered = self.wait(slot, expires.into(), answered).await;
        drop(held);
        answered
    }

    async fn receive(&self, head: &Parts, body: Body) -> Result<body::Received, Failure> {
        let declared = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let expects = head.headers.contains_key(header::EXPECT);
        body::receive(body, declared, expects, self.max_body_bytes, &self.bodies).await
    }

    /// Waits until there is memory for an answer. Clients that take none of theirs make room.
    async fn room(&self) -> Result<(), Failure> {
        let until = Instant::now() + MEMORY;
        while self.crowd.sending() > u64::try_from(super::IN_FLIGHT_BYTES).unwrap_or(u64::MAX) {
            if Instant::now() >= until {
                return Err(Failure::unavailable("too many large answers at a time"));
            }
            // A connection that is closed gives back its memory when its task has run.
            self.crowd.close_stalled();
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits for the answer, for as long as the work may take to begin, and until the server ends.
    async fn wait(
        &self,
        slot: Slot,
        expires: Instant,
        mut answered: oneshot::Receiver<http::Response<api::Body>>,
    ) -> Result<http::Response<api::Body>, Failure> {
        // Whoever goes away drops this future.
        let waits = Waits(slot);
        let mut stage = self.stage.clone();
        let (mut has_expired, mut ends) = (false, false);
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => {
                    let dropped = |_| match ends {
                        true => Failure::unavailable("the server is shutting down"),
                        false => Failure::internal(&"a request was dropped"),
                    };
                    return answer.map_err(dropped);
                }
                () = sleep_until(expires), if !has_expired => {
                    has_expired = true;
                    waits.0.expire();
                }
                _ = stage.wait_for(|stage| *stage == Stage::Ending), if !ends => {
                    ends = true;
                    waits.0.abandon();
                }
            }
        }
    }
}

/// Somebody waits for an answer; work that has not begun when this is dropped is forgotten.
struct Waits(Slot);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Whether taking the request already asks the disk: it does for whatever is not a bare name.
fn looks_at_disk(uri: &Uri) -> bool {
    let is_list = uri.path().ends_with("/db/list");
    let query = uri.query().unwrap_or_default();
    is_list || query.contains('/') || query.as_bytes().windows(3).any(|part| part.eq_ignore_ascii_case(b"%2f"))
}

fn unauthorized() -> http::Response<api::Body> {
    let text = "the request has no token that is known: send Authorization: Bearer TOKEN";
    let mut response = Failure::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text).response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn whole(response: http::Response<api::Body>) -> Response {
    response.map(|body| match body {
        api::Body::Whole(bytes) => Body::from(bytes),
        api::Body::Events(_) => Body::empty(),
    })
}

/// The answer, counted for as long as it is being sent.
fn sent(response: http::Response<api::Body>, server: &Arc<Server>, member: &Arc<Member>) -> Response {
    response.map(|body| match body {
        api::Body::Whole(bytes) => {
            let length = bytes.len();
            Body::new(Sent::new(Slices(bytes), length, server, member))
        }
        api::Body::Events(stream) => Body::new(Events::new(stream, member)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_names_are_taken_without_the_disk() {
        let looks = |uri: &str| looks_at_disk(&uri.parse().unwrap());
        assert!(!looks("/api/v1/sqlite/kv/a%2Fb?db=app&ttl=5") && !looks("/api/v1/sqlite/health"));
        assert!(looks("/api/v1/sqlite/kv/a?db=%2Fhoody%2fdatabases/x.db") && looks("/api/v1/sqlite/db/list"));
    }
}
