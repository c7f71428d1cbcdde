//! `hoodydb containers enable`, `disable`, `status` and `inject`.
//!
//! Called by [`super::Cli`]. The engines are [`crate::engine`]'s affair, containers that run [`crate::inject`]'s.

mod inject;
mod set_up;
mod status;

use anyhow::Result;
use clap::ValueEnum;

use crate::engine::Engine;

/// Makes the mount appear in every container, without a flag
///
/// New containers get it from their engine, which is set up by `enable`; containers that run already by `inject`. What they get is
/// /hoody, the parent of the mount: so they follow it over restarts of the daemon.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  hoodydb containers enable
  hoodydb containers status
  hoodydb containers inject --all

Exit codes:
  0  done
  1  it failed for some engine or container; lines on standard error say why
  2  the command line is wrong
  3  the host is not set up: hoodydb install, or hoodydb mount"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Makes the mount appear in every new container of the engines that are installed
    ///
    /// podman gets a drop-in of containers.conf, docker the default runtime hoodydb-runc in daemon.json, containerd the same in
    /// config.toml (for Kubernetes), LXC a drop-in of common.conf. What is there stays; a configuration that is not
    /// understood is left alone, and said so. A second time nothing is changed.
    #[command(after_help = "\
Examples:
  hoodydb containers enable
  hoodydb containers enable --engine docker

Exit codes:
  as of hoodydb containers")]
    Enable(Engines),
    /// Takes that back: the files are as they were before, byte for byte, and the engines read them
    #[command(after_help = "\
Example:
  hoodydb containers disable --engine docker

Exit codes:
  as of hoodydb containers")]
    Disable(Engines),
    /// Shows how each engine is set up, and which container sees the mount
    #[command(after_help = "\
Mounts:
  live     the container has the mount, and its daemon answers
  waiting  there is no mount now; the container gets the next one
  stale    the mount of a dead daemon, or a parent in which no mount will appear: inject
  none     it has no /hoody: inject

Examples:
  hoodydb containers status
  hoodydb containers status --json

Exit codes:
  as of hoodydb containers")]
    Status {
        /// Print JSON: {\"engines\": [..], \"containers\": [..]}
        #[arg(long)]
        json: bool,
    },
    /// Gives the mount to containers that run already
    ///
    /// It lasts as long as the container runs. A container whose root file system is read-only and has no directory /hoody cannot get it.
    #[command(after_help = "\
Examples:
  hoodydb containers inject web
  hoodydb containers inject 4f0c docker:worker
  hoodydb containers inject --all

Exit codes:
  as of hoodydb containers")]
    Inject(inject::Args),
}

#[derive(Debug, clap::Args)]
struct Engines {
    /// The engine
    #[arg(long, value_enum, default_value = "all")]
    engine: Choice,
}

/// One engine, or all that are installed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    Podman,
    Docker,
    Containerd,
    Lxc,
    All,
}

impl Choice {
    fn engines(self) -> Vec<Engine> {
        match self {
            Self::Podman => vec![Engine::Podman],
            Self::Docker => vec![Engine::Docker],
            Self::Containerd => vec![Engine::Containerd],
            Self::Lxc => vec![Engine::Lxc],
            Self::All => Engine::ALL.to_vec(),
        }
    }

    /// With `all`, an engine that is not there is no error.
    const fn is_all(self) -> bool {
        matches!(self, Self::All)
    }
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Enable(chosen) => set_up::enable(chosen.engine),
        Action::Disable(chosen) => set_up::disable(chosen.engine),
        Action::Status { json } => status::run(json),
        Action::Inject(args) => inject::run(&args),
    }
}
