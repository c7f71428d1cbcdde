//! `hoodydb mount`: in the foreground it is the daemon; else it starts one and waits until it is live.
//!
//! Called by [`super::Cli`]. The daemon in the background is this program again, with a pipe as its standard output on which
//! it says "live", or why not.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::exit::{self, Failure};
use super::{duration, policy};
use crate::control::socket;
use crate::daemon::{self, Access, Address, DaemonError, Options, Policy};
use crate::host::parent;
use crate::model::printable;
use crate::process::mounts;
use crate::telemetry;

const DEFAULT_MOUNTPOINT: &str = "/hoody/databases";
const DEFAULT_DATA: &str = "/var/lib/hoodydb/databases";

/// Mounts, and returns when the mount is live
///
/// The default mount point lies in /hoody, an empty read-only file system that is made where it is missing: containers get it, and follow
/// the mount over restarts. Clears away the mount of a dead daemon. A database that a process still has open through a dead mount is refused (EBUSY) until that
/// process closes it; `hoodydb status` names it. On SIGTERM the daemon does what `hoodydb umount` does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb mount
  hoodydb mount /srv/databases --data /var/lib/databases --max-wait 10s
  hoodydb mount --foreground --policy serial
  hoodydb mount --metrics 127.0.0.1:9500

Environment:
  HOODYDB_RUN_DIR  where control sockets and logs are (/run/hoodydb)
  HOODYDB_LOG      level of the log: error, warn, info, debug, trace (info)

Exit codes:
  0  the mount is live (with --foreground: it was unmounted)
  1  it failed; the line on standard error says why
  2  the command line is wrong
  4  the mount point or the data directory is in use")]
pub(super) struct Args {
    /// Where the databases appear; only the default one is made if it is missing
    #[arg(value_name = "MOUNTPOINT", default_value = DEFAULT_MOUNTPOINT)]
    mountpoint: PathBuf,
    /// Where the databases are kept, private to root; only the default one is made if it is missing
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Stay in the foreground and log to standard error
    #[arg(long)]
    foreground: bool,
    /// Whose rights count: unix checks mode bits, shared lets all who see the mount read and write [default: shared below
    /// /hoody, else unix]
    #[arg(long, value_enum)]
    access: Option<Access>,
    /// Longest wait of a lock call: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    max_wait: Duration,
    /// How requests are put in order, for databases without a policy of their own
    #[arg(long, value_name = "POLICY", default_value = "turn", value_parser = policy::name_parser())]
    policy: Policy,
    /// Threads that read requests
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Send reads and writes through the daemon although the kernel could do without
    #[arg(long)]
    no_passthrough: bool,
    /// Leave out the lock tracer, which counts and times lock calls in the kernel
    #[arg(long)]
    no_trace: bool,
    /// Let idle processors sleep as deeply as they like while many requests come
    #[arg(long)]
    no_quick_wake: bool,
    /// How long an unmount waits for running transactions before it names them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    drain: Duration,
    /// Tell metrics to Prometheus at 127.0.0.1:PORT, [::1]:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR")]
    metrics: Option<Address>,
    /// Allow an address of --metrics that other machines reach: whoever reaches it reads the names of databases
    #[arg(long, requires = "metrics")]
    metrics_anywhere: bool,
    /// Run as the child that a mount without --foreground starts
    #[arg(long, hide = true)]
    background_child: bool,
}

/// The one line on the pipe from the daemon to the command that started it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Live,
    Failed { code: u8, reason: String },
}

pub(super) fn run(args: Args) -> Result<()> {
    if args.background_child {
        return run_background_child(args);
    }
    check_metrics(&args)?;
    daemon::check_machine().map_err(failure)?;
    make_defaults(&args)?;
    if args.foreground {
        telemetry::to_stderr();
        return daemon::run(options(args), None, || ()).map_err(failure);
    }
    start_in_background(&args)
}

/// Names of databases are nobody else's business, unless somebody says so.
fn check_metrics(args: &Args) -> Result<()> {
    match &args.metrics {
        Some(address) if !address.is_local() && !args.metrics_anywhere => {
            let reason = format!(
                "--metrics {address} can be reached from other machines: use 127.0.0.1:PORT or unix:/PATH, or add \
                 --metrics-anywhere if something else guards it"
            );
            Err(Failure::new(exit::USAGE, reason).into())
        }
        _ => Ok(()),
    }
}

fn options(args: Args) -> Options {
    let access = args.access.unwrap_or_else(|| default_access(&args.mountpoint));
    Options {
        access,
        mountpoint: args.mountpoint,
        data: args.data,
        max_wait: args.max_wait,
        policy: args.policy,
        threads: args.threads.into(),
        passthrough: !args.no_passthrough,
        quick_wake: !args.no_quick_wake,
        drain: args.drain,
        run_dir: socket::run_dir(),
        metrics: args.metrics,
        trace: !args.no_trace,
    }
}

/// Under /hoody the visibility of the mount is the boundary, so everybody who sees it may use it.
fn default_access(mountpoint: &Path) -> Access {
    let absolute = std::path::absolute(mountpoint).unwrap_or_else(|_| mountpoint.to_owned());
    if absolute.starts_with("/hoody") { Access::Shared } else { Access::Unix }
}

/// Makes the default directories; those that a user names must be there.
fn make_defaults(args: &Args) -> Result<()> {
    for (path, default) in [(&args.mountpoint, DEFAULT_MOUNTPOINT), (&args.data, DEFAULT_DATA)] {
        if path != Path::new(default) || mounts::mounted_at(path)?.is_some() {
            continue;
        }
        if path == Path::new(DEFAULT_MOUNTPOINT) {
            parent::prepare(Path::new(parent::PARENT)).map_err(|error| {
                Failure::new(if error.is_busy() { exit::BUSY } else { exit::FAILURE }, error.to_string())
            })?;
        } else if !path.try_exists()? {
            std::fs::create_dir_all(path).with_context(|| format!("cannot make {default}"))?;
        }
    }
    Ok(())
}

fn failure(error: DaemonError) -> anyhow::Error {
    Failure::new(if error.is_busy() { exit::BUSY } else { exit::FAILURE }, error.to_string()).into()
}

/// The daemon's side: says one word on standard output, then serves.
fn run_background_child(args: Args) -> Result<()> {
    // Out of the caller's session: its terminal's signals are not for the daemon.
    let _ = rustix::process::setsid();
    // The kernel took the name from /proc/self/exe.
    let _ = rustix::thread::set_name(c"hoodydb");
    std::env::set_current_dir("/")?;
    let options = options(args);
    let log = log_path(&options.mountpoint)?;
    let is_first = !log.exists();
    let outcome = start_log(&options, &log)
        .and_then(|()| daemon::run(options, Some(log.clone()), || say(&Word::Live)).map_err(failure));
    if let Err(error) = &outcome {
        if is_first {
            // Nothing was ever mounted there, and the reason is told below: no log is left behind.
            let _ = std::fs::remove_file(&log);
        }
        let reason = exit::line_of(error);
        tracing::error!("{reason}");
        say(&Word::Failed { code: exit::code_of(error), reason });
    }
    outcome
}

fn start_log(options: &Options, log: &Path) -> Result<()> {
    std::fs::create_dir_all(&options.run_dir)
        .with_context(|| format!("cannot make the run directory {}", printable(&options.run_dir)))?;
    telemetry::to_file(log).with_context(|| format!("cannot open the log {}", printable(log)))
}

fn log_path(mountpoint: &Path) -> Result<PathBuf> {
    Ok(socket::log_path(&socket::run_dir(), &super::target::plain_path(mountpoint)?))
}

/// Says the word, and lets go of the pipe: the command that waits at its other end returns.
fn say(word: &Word) {
    if let Ok(line) = serde_json::to_string(word) {
        // The command that started the daemon may be gone: the daemon serves all the same.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// The command's side: starts the daemon and waits for its word.
fn start_in_background(args: &Args) -> Result<()> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("hoodydb")
        .args(child_arguments(args)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the daemon")?;
    let mut text = String::new();
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_string(&mut text).context("cannot hear from the daemon")?;
    }
    match serde_json::from_str(&text) {
        Ok(Word::Live) => Ok(()),
        Ok(Word::Failed { code, reason }) => Err(Failure::new(code, reason).into()),
        Err(_) => {
            let status = child.wait().context("cannot wait for the daemon")?;
            let log = log_path(&args.mountpoint)?;
            Err(anyhow!("the daemon ended before the mount was live ({status}): its log is {}", printable(&log)))
        }
    }
}

/// The same arguments, with absolute paths: the daemon works in `/`.
fn child_arguments(args: &Args) -> Result<Vec<std::ffi::OsString>> {
    let mut words: Vec<std::ffi::OsString> = vec!["mount".into(), "--background-child".into()];
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    words.extend(["--data".into(), std::path::absolute(&args.data)?.into()]);
    words.extend(["--max-wait".into(), millis(args.max_wait).into(), "--drain".into(), millis(args.drain).into()]);
    words.extend(["--policy".into(), policy::name_of(args.policy).into()]);
    words.extend(["--threads".into(), args.threads.to_string().into()]);
    if let Some(access) = args.access.as_ref().and_then(clap::ValueEnum::to_possible_value) {
        words.extend(["--access".into(), access.get_name().into()]);
    }
    if let Some(metrics) = &args.metrics {
        words.extend(["--metrics".into(), metrics_word(metrics)?]);
    }
    if args.no_passthrough {
        words.push("--no-passthrough".into());
    }
    if args.no_trace {
        words.push("--no-trace".into());
    }
    if args.no_quick_wake {
        words.push("--no-quick-wake".into());
    }
    words.extend(["--".into(), std::path::absolute(&args.mountpoint)?.into()]);
    Ok(words)
}

/// The address as it is written on a command line.
fn metrics_word(address: &Address) -> Result<std::ffi::OsString> {
    Ok(match address {
        Address::Tcp(address) => address.to_string().into(),
        Address::Unix(path) => {
            let mut word = std::ffi::OsString::from("unix:");
            word.push(std::path::absolute(path)?);
            word
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Args {
        Wrapper::parse_from(words).args
    }

    #[test]
    fn defaults() {
        let options = options(parse(&["mount"]));
        assert_eq!(options.mountpoint, Path::new("/hoody/databases"));
        assert_eq!(options.data, Path::new("/var/lib/hoodydb/databases"));
        assert_eq!((options.access, options.policy), (Access::Shared, Policy::Turn));
        assert_eq!((options.max_wait.as_secs(), options.drain.as_secs()), (30, 10));
        assert!(options.passthrough && options.trace && options.quick_wake && options.threads == 2);
    }

    #[test]
    fn metrics_stay_on_this_machine_unless_somebody_says_so() {
        let refusal = |words: &[&str]| check_metrics(&parse(words)).err().map(|error| exit::code_of(&error));
        assert_eq!(refusal(&["m", "--metrics", "0.0.0.0:9500"]), Some(exit::USAGE));
        assert_eq!(refusal(&["m", "--metrics", "0.0.0.0:9500", "--metrics-anywhere"]), None);
        assert_eq!(refusal(&["m", "--metrics", "127.0.0.1:9500"]), None);
        assert_eq!(refusal(&["m"]), None);
    }

    #[test]
    fn access_follows_the_place() {
        assert_eq!(default_access(Path::new("/hoody/x")), Access::Shared);
        assert_eq!(default_access(Path::new("/hoodyx")), Access::Unix);
        assert_eq!(options(parse(&["mount", "/hoody/x", "--access", "unix"])).access, Access::Unix);
    }

    #[test]
    fn the_child_is_given_the_same_options() {
        let given =
            ["m", "--data", "/d", "--access", "unix", "--max-wait", "2m", "--policy", "posix", "--threads", "5"];
        let switches = ["--no-passthrough", "--no-trace", "--no-quick-wake"];
        let more = ["--drain", "500ms", "--metrics", "unix:/run/m", "--", "/-odd"];
        let given = [given.as_slice(), &switches, &more].concat();
        let child = child_arguments(&parse(&given)).unwrap();
        let parsed = options(Wrapper::parse_from(child).args);
        let wanted = options(parse(&given));
        assert_eq!(format!("{parsed:?}"), format!("{wanted:?}"));
    }
}
