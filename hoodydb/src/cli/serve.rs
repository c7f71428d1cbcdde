//! `hoodydb serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::Access;

use super::exit::{self, Failure};
use crate::api::{Roots, Settings};
use crate::host::socket_place;
use crate::model::printable;
use crate::serve::{self, Options, TlsFiles, Token, Tokens};
use crate::telemetry;

/// The socket that containers see.
const SOCKET: &str = "/hoody/http.sock";

/// Serves the databases by HTTP, in the foreground, until SIGTERM or SIGINT
///
/// It is a client of the mount like any other, needs no root, and can be ended at any time: what was answered is on the disk. Web pages of
/// other sites are refused, and so are names that are not this server's. Without a token everybody may ask who reaches it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb serve
  hoodydb serve --listen 127.0.0.1:8090 --token-file /etc/hoodydb/tokens
  hoodydb serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem --token-file tokens --allow-host db.example.org
  hoodydb serve --listen none --socket /run/app/http.sock --db-root /srv/databases

A file of tokens has one a line; with ro it only reads, with prefix= it is for the databases at or below a path:
  TOKEN [ro] [prefix=/hoody/databases/app]

Environment:
  HOODYDB_LOG  level of the log: error, warn, info, debug, trace (info)

Exit codes:
  0  it was ended by a signal
  1  it failed; the line on standard error says why
  2  the command line is wrong")]
pub(super) struct Args {
    /// An address to listen on, or none; can be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: Vec<String>,
    /// Allow an address of --listen that other machines reach without a token
    #[arg(long)]
    listen_anywhere: bool,
    /// A unix socket to listen on; can be given more than once [default: /hoody/http.sock where there is a place for it]
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,
    /// Make no unix socket
    #[arg(long, conflicts_with = "socket")]
    no_socket: bool,
    /// Where the databases are; requests may write it /hoody/databases
    #[arg(long, value_name = "DIR", default_value = crate::api::PUBLIC_ROOT)]
    db_root: PathBuf,
    /// Serve absolute paths outside of the root too
    #[arg(long)]
    allow_any_absolute_db_path: bool,
    /// A token that requests must bring; others see it in the list of processes
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,
    /// A file of tokens
    #[arg(long, value_name = "FILE")]
    token_file: Vec<PathBuf>,
    /// The certificate chain for --listen, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A name by which the server is reached, besides localhost and its addresses
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// The origin of web pages that may ask, such as https://app.example.org; * is all
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,
    /// The most bytes of a request's body
    #[arg(long, value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    max_body_bytes: u64,
    /// The most bytes of an answer
    #[arg(long, value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1024..=1 << 30))]
    max_response_bytes: u64,
    /// Whether what was asked is noted in each database
    #[arg(long, value_enum, default_value = "async")]
    query_history: QueryHistory,
    /// The most change streams at a time
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_streams: usize,
    /// Only make the place of /hoody/http.sock, for a server of this user; needs root
    #[arg(long, value_name = "USER")]
    prepare_socket: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum QueryHistory {
    /// In the background
    Async,
    /// Not at all
    Off,
}

pub(super) fn run(args: Args) -> Result<()> {
    telemetry::to_stderr();
    if let Some(user) = &args.prepare_socket {
        if !socket_place::prepare(user_id(user)?)? {
            tracing::warn!(
                "/hoody has no place for a socket: it is made by hoodydb mount, once /hoody is not in use any more"
            );
        }
        return Ok(());
    }
    Ok(serve::run(options(args)?)?)
}

/// The number of a user of this host.
fn user_id(user: &str) -> Result<u32> {
    let table = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let lines = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.filter(|line| line.first() == Some(&user)).find_map(|line| line.get(2)?.parse().ok());
    let number = found.or_else(|| user.parse().ok());
    number.ok_or_else(|| Failure::new(exit::USAGE, format!("there is no user '{}'", printable(user))).into())
}

fn options(args: Args) -> Result<Options> {
    let mut tokens = Tokens::default();
    for text in &args.token {
        let token = Token::parse(text).map_err(|why| Failure::new(exit::USAGE, format!("--token: {why}")))?;
        tokens.add(token);
    }
    args.token_file.iter().try_for_each(|path| tokens.read(path))?;
    let listen = addresses(&args.listen)?;
    if let Some(far) = listen.iter().find(|address| !address.ip().is_loopback())
        && tokens.is_empty()
        && !args.listen_anywhere
    {
        let line = format!(
            "--listen {far} can be reached from other machines: add --token-file, or --listen-anywhere if something else guards it"
        );
        return Err(Failure::new(exit::USAGE, line).into());
    }
    let roots = Roots::new(&args.db_root, args.allow_any_absolute_db_path)
        .with_context(|| format!("cannot find the root {}", printable(&args.db_root)))?;
    let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let tls = args.tls_cert.zip(args.tls_key).map(|(certificates, key)| TlsFiles { certificates, key });
    let passed = passed();
    Ok(Options {
        sockets: if args.no_socket { Vec::new() } else { sockets(args.socket, passed)? },
        listen,
        passed,
        tls,
        tokens,
        hosts: args.allow_host,
        origins: args.cors_origin,
        max_body_bytes: bytes(args.max_body_bytes),
        api: Settings {
            roots,
            max_response_bytes: bytes(args.max_response_bytes),
            query_history: args.query_history == QueryHistory::Async,
            max_streams: args.max_streams,
        },
    })
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>> {
    let parse = |text: &String| {
        let numeric = text.strip_prefix("localhost:").map_or_else(|| text.clone(), |port| format!("127.0.0.1:{port}"));
        numeric.parse().map_err(|_| {
            let line = format!("--listen: '{text}' is no address: write 127.0.0.1:8090, [::1]:8090 or none");
            Failure::new(exit::USAGE, line).into()
        })
    };
    texts.iter().filter(|text| *text != "none").map(parse).collect()
}

/// Those that are named, or the one that containers see.
fn sockets(named: Vec<PathBuf>, passed: u32) -> Result<Vec<PathBuf>> {
    let place = Path::new(socket_place::WRITABLE);
    if !named.is_empty() {
        // The name in /hoody is a link to the place.
        let is_there = place.is_dir();
        let real = |path: PathBuf| match path == Path::new(SOCKET) && is_there {
            true => place.join(socket_place::SOCKET),
            false => path,
        };
        return Ok(named.into_iter().map(real).collect());
    }
    if passed > 0 {
        return Ok(Vec::new());
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !place.is_dir() {
        socket_place::prepare(0)?;
    }
    let is_ours = rustix::fs::access(place, Access::WRITE_OK).is_ok();
    Ok(if is_ours { vec![place.join(socket_place::SOCKET)] } else { Vec::new() })
}

/// How many sockets systemd has passed to this process.
///
/// # Source
/// sd_listen_fds(3).
fn passed() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0)
}
