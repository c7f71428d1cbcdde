//! `hoodydb serve`: the sockets of the HTTP interface.
//!
//! Called by [`crate::cli`], whose `db` and `kv` commands use its [`client`] too. It accepts connections, keeps slow ones from stopping
//! others, checks who asks and from where, reads bodies within limits, and hands each request by its raw path to [`crate::api`]. What a
//! request means is not known here. No connection, however slow, holds more than its part of the descriptors and of the memory.
//!
//! ```text
//! listen -> crowd (who is connected) -> stream (timeouts) -> site (Host, Origin) -> token -> body -> api -> answer
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};

mod answer;
mod body;
pub mod client;
mod connection;
mod crowd;
mod error;
mod events;
mod listen;
mod pool;
mod site;
mod stream;
mod tls;
mod token;

pub use error::ServeError;
pub use tls::Files as TlsFiles;
pub use token::{Token, Tokens};

use crate::api::{self, Api};
use crate::keeper::notify;
use crowd::Crowd;
use listen::Listener;
use site::Sites;

/// The memory of all request bodies that are read or worked on at a time, and of all answers that are being sent, in bytes each.
const IN_FLIGHT_BYTES: usize = 256 << 20;

/// How long the end waits for requests that are under way. Whatever runs then is rolled back by whoever opens the database next.
const GRACE: Duration = Duration::from_secs(5);

/// Of [`GRACE`], how long requests that have not begun may still begin.
const BEGIN: Duration = Duration::from_secs(2);

/// How often [`Api::tick`] is called.
const TICK: Duration = Duration::from_secs(1);

/// How the server is set up.
#[derive(Debug)]
pub struct Options {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Unix sockets to make and listen on.
    pub sockets: Vec<PathBuf>,
    /// Sockets that listen already, from systemd: descriptors from 3 on, as many.
    pub passed: u32,
    /// The certificate of the addresses; unix sockets have none.
    pub tls: Option<TlsFiles>,
    /// Who may ask; everybody if there is none.
    pub tokens: Tokens,
    /// Names in Host beside those of this machine's own.
    pub hosts: Vec<String>,
    /// Origins of web pages that may ask; `*` is all.
    pub origins: Vec<String>,
    /// The most bytes of a request's body.
    pub max_body_bytes: usize,
    /// How the interface is set up.
    pub api: api::Settings,
}

/// What all connections share.
struct Server {
    api: Arc<Api>,
    tokens: Tokens,
    sites: Sites,
    crowd: Crowd,
    max_body_bytes: usize,
    /// Memory of request bodies, in [`body::UNIT`]s.
    bodies: Arc<Semaphore>,
    stage: watch::Receiver<Stage>,
}

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It serves.
    Serving,
    /// It takes no more requests.
    Draining,
    /// What has not begun will not begin.
    Ending,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Where it cannot listen, or its files cannot be read.
pub fn run(options: Options) -> Result<(), ServeError> {
    let most = listen::connections_max();
    let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
    let runtime = pool::runtime().map_err(ServeError::Runtime)?;
    let served = runtime.block_on(serve(options, tls, most));
    // A thread that still works on a database is left to the end of the process, which is a rollback.
    runtime.shutdown_timeout(Duration::ZERO);
    served
}

async fn serve(options: Options, tls: Option<tokio_rustls::TlsAcceptor>, most: usize) -> Result<(), ServeError> {
    let listeners = listen::all(&options, tls.is_some())?;
    let stops = Stops::new().map_err(ServeError::Runtime)?;
    let (stage, watching) = watch::channel(Stage::Serving);
    let server = Arc::new(Server {
        api: Api::new(options.api, Arc::new(pool::Pool::here().map_err(ServeError::Runtime)?)),
        tokens: options.tokens,
        sites: Sites::new(options.hosts, options.origins),
        crowd: Crowd::new(most),
        max_body_bytes: options.max_body_bytes,
        bodies: Arc::new(Semaphore::new(IN_FLIGHT_BYTES.max(options.max_body_bytes * 2) / body::UNIT)),
        stage: watching,
    });
    // Each connection has a sender; when the last is dropped, the receiver knows.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let app = answer::app(&server);
    let accepting: Vec<_> = listeners
        .iter()
        .map(|listener: &Arc<Listener>| {
            tracing::info!(address = %listener.shown(), "listening");
            let tls = tls.clone().filter(|_| listener.is_tcp());
            tokio::spawn(connection::accept(Arc::clone(listener), tls, app.clone(), Arc::clone(&server), alive.clone()))
        })
        .collect();
    drop(alive);
    notify::ready();
    tokio::select! {
        () = stops.wait() => (),
        () = tick(&server.api) => (),
    }
    notify::stopping();
    tracing::info!("ending: no more requests are taken");
    let _ = stage.send(Stage::Draining);
    close(&server.api).await;
    for task in accepting {
        let _ = task.await;
    }
    let drained = tokio::time::timeout(GRACE, async {
        if tokio::time::timeout(BEGIN, all_gone.recv()).await.is_err() {
            let _ = stage.send(Stage::Ending);
            all_gone.recv().await;
        }
    });
    let drained = drained.await;
    // Whatever was done meanwhile is told too.
    close(&server.api).await;
    match drained {
        Ok(()) => tracing::info!("ended"),
        Err(_) => tracing::warn!(requests = server.crowd.len(), "ended with requests under way: they are rolled back"),
    }
    Ok(())
}

/// Ends streams, and has the query histories written.
async fn close(api: &Arc<Api>) {
    let api = Arc::clone(api);
    let _ = tokio::task::spawn_blocking(move || api.close()).await;
}

/// Has the interface do what it does between requests.
async fn tick(api: &Arc<Api>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let api = Arc::clone(api);
        let _ = tokio::task::spawn_blocking(move || api.tick()).await;
    }
}

/// The signals that end the server; caught from here on.
struct Stops([tokio::signal::unix::Signal; 2]);

impl Stops {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    async fn wait(self) {
        let Self([mut terminate, mut interrupt]) = self;
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    }
}
