//! `hoodydb containers enable` and `disable`. Called by [`super::run`].

use std::path::Path;

use anyhow::Result;

use super::super::exit::{self, Failure};
use super::super::print;
use super::Choice;
use crate::engine::{self, Done, Engine, EngineError};
use crate::host::parent;

pub(super) fn enable(choice: Choice) -> Result<()> {
    check_root()?;
    if !parent::is_there(Path::new(parent::PARENT))? {
        let hint = "/hoody is not set up on this host: hoodydb install, or hoodydb mount";
        return Err(Failure::new(exit::NOT_MOUNTED, hint).into());
    }
    act(choice, ["enabled", "was enabled already"], engine::enable)
}

pub(super) fn disable(choice: Choice) -> Result<()> {
    check_root()?;
    act(choice, ["disabled", "was not enabled"], engine::disable)
}

/// One engine after the other: what fails for one does not keep the others from it.
fn act(choice: Choice, [done, already]: [&str; 2], act: impl Fn(Engine) -> Result<Done, EngineError>) -> Result<()> {
    let (mut failures, mut found) = (Vec::new(), false);
    for engine in choice.engines() {
        match act(engine) {
            Err(EngineError::Absent { .. }) if choice.is_all() => continue,
            // Nobody asked for this one by name.
            Err(error @ EngineError::Unused { .. }) if choice.is_all() => {
                print(&format!("{}: {error}\n", engine.name()))?;
            }
            Err(error) => failures.push(error.to_string()),
            Ok(Done { changed, notes }) => {
                let outcome = if changed { done } else { already };
                print(&format!("{}: {outcome}\n", engine.name()))?;
                for note in notes {
                    print(&format!("{}: {note}\n", engine.name()))?;
                }
            }
        }
        found = true;
    }
    if !found {
        print("no engine is installed here: podman, docker, containerd, LXC\n")?;
    }
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in failures {
        eprintln!("hoodydb: {failure}");
    }
    Err(Failure::new(exit::FAILURE, last).into())
}

pub(super) fn check_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(exit::FAILURE, "only root may change what containers get").into())
}
