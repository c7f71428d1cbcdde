//! The configuration of container engines: makes the mount appear in every new container, and takes that back.
//!
//! Called by [`crate::cli`]'s `containers` commands. Each engine has its own way; what they share is that one file is changed,
//! that the file of before is kept (`edit`), and that a configuration which is not understood is left alone.
//!
//! | engine | way | takes effect |
//! |---|---|---|
//! | podman | a drop-in of containers.conf with one more volume | at once |
//! | docker | daemon.json: `hoodydb-runc` as the default runtime | SIGHUP |
//! | containerd | config.toml: `hoodydb-runc` as the binary of the CRI plugin's runtime | restart |
//! | lxc | a drop-in of common.conf with one more mount | next start of a container |

mod containerd;
mod docker;
mod docker_info;
mod edit;
mod error;
mod installed;
mod lxc;
mod podman;

use std::path::{Path, PathBuf};

pub use error::EngineError;

use crate::model::EngineStatus;

/// What containers get, and where.
const PARENT: &str = "/hoody";

/// The program that stands before an engine's runtime, and the runtime's name in docker.
const WRAPPER: &str = "hoodydb-runc";

/// An engine that can be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Engine {
    /// Podman, with containers.conf.
    Podman,
    /// Docker.
    Docker,
    /// containerd below Kubernetes.
    Containerd,
    /// LXC.
    Lxc,
}

impl Engine {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Podman, Self::Docker, Self::Containerd, Self::Lxc];

    /// Its name in tables, JSON and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Lxc => "lxc",
        }
    }
}

/// What an act did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether anything was changed.
    pub changed: bool,
    /// What the user should know, a line each, escaped.
    pub notes: Vec<String>,
}

/// Makes the mount appear in every new container of an engine. A second time it changes nothing.
///
/// # Errors
/// [`EngineError`]; then the engine's configuration is as it was.
pub fn enable(engine: Engine) -> Result<Done, EngineError> {
    let mut done = match engine {
        Engine::Podman => podman::enable(),
        Engine::Docker => docker::enable(&wrapper()?),
        Engine::Containerd => containerd::enable(&wrapper()?),
        Engine::Lxc => lxc::enable(),
    }?;
    done.notes.extend(denial(engine).map(str::to_owned));
    Ok(done)
}

/// Takes back what [`enable`] did: the file is as before, byte for byte, if nobody else has changed it since.
///
/// # Errors
/// [`EngineError`].
pub fn disable(engine: Engine) -> Result<Done, EngineError> {
    match engine {
        Engine::Podman => podman::disable(),
        Engine::Docker => docker::disable(),
        Engine::Containerd => containerd::disable(),
        Engine::Lxc => lxc::disable(),
    }
}

/// How an engine is set up; it changes nothing.
pub fn status(engine: Engine) -> EngineStatus {
    let found = match engine {
        Engine::Podman => podman::status(),
        Engine::Docker => docker::status(),
        Engine::Containerd => containerd::status(),
        Engine::Lxc => lxc::status(),
    };
    let (state, version, detail) = match found {
        Ok(Found { state: State::Enabled, version, detail: None }) => {
            (State::Enabled, Some(version), denial(engine).map(str::to_owned))
        }
        Ok(Found { state, version, detail }) => (state, Some(version), detail),
        Err(EngineError::Absent { .. }) => (State::Absent, None, None),
        Err(error) => (State::LeftAlone, None, Some(error.to_string())),
    };
    EngineStatus { engine: engine.name().to_owned(), state: state.name().to_owned(), version, detail }
}

/// Whether an engine was set up by [`enable`] and not taken back.
pub fn is_recorded(engine: Engine) -> bool {
    edit::Record::load(engine).is_ok_and(|record| record.is_some())
}

/// LXC gives its containers no type of their own.
fn denial(engine: Engine) -> Option<&'static str> {
    selinux_denies().filter(|_| engine != Engine::Lxc)
}

/// How an engine is set up.
#[derive(Debug)]
struct Found {
    state: State,
    version: String,
    detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Disabled,
    Enabled,
    /// Set up, but not in force: the engine has not read it, or something stands against it.
    Waiting,
    /// Not understood, too old, or of a kind that cannot be set up.
    LeftAlone,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Waiting => "waiting",
            Self::LeftAlone => "left alone",
        }
    }
}

/// Where SELinux tells its state.
const SELINUX: &str = "/sys/fs/selinux";

/// What SELinux denies the containers of these engines; none if it does not, or does not enforce.
///
/// # Source
/// selinuxfs: `enforce`; `booleans/NAME` is the value of now and the one that waits for a commit. container-selinux lets
/// `container_t` use `fusefs_t` with this boolean.
fn selinux_denies() -> Option<&'static str> {
    let read = |name: &str| std::fs::read_to_string(Path::new(SELINUX).join(name)).ok();
    if read("enforce")?.trim() != "1" {
        return None;
    }
    match read("booleans/virt_sandbox_use_fusefs").as_deref().map(str::trim_start) {
        Some(text) if text.starts_with('1') => None,
        Some(_) => Some("SELinux denies containers the databases (fusefs_t): setsebool -P virt_sandbox_use_fusefs on"),
        None => Some(
            "SELinux is enforcing and may deny containers the databases (fusefs_t): ausearch -m AVC -ts recent says so",
        ),
    }
}

/// Where an installation or a package puts programs.
const INSTALLED: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// The program that stands before runtimes: beside this one, or the installed one, where this one lies in no place that lasts.
fn wrapper() -> Result<PathBuf, EngineError> {
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let own = own.parent().unwrap_or(Path::new("/usr/bin"));
    let is_installed = INSTALLED.iter().any(|directory| own == Path::new(directory));
    let mut places: Vec<PathBuf> = INSTALLED.iter().map(|directory| Path::new(directory).join(WRAPPER)).collect();
    let beside = own.join(WRAPPER);
    places.insert(if is_installed { 0 } else { places.len() }, beside.clone());
    let found = places.into_iter().find(|path| path.is_file() && path.to_str().is_some());
    found.ok_or(EngineError::NoWrapper { path: beside })
}
