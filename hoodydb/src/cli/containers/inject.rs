//! `hoodydb containers inject`. Called by [`super::run`].

use anyhow::Result;

use super::super::exit::{self, Failure};
use super::super::print;
use super::set_up::check_root;
use crate::container::Containers;
use crate::control::socket;
use crate::inject::{self, Given, InjectError, Live, Running};
use crate::model::{Container, printable};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Containers by name, by id or its beginning, or as ENGINE:NAME
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Every container that runs
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    check_root()?;
    let running = inject::running(&Containers::of_host());
    let (chosen, mut failures) =
        if args.all { (running.iter().collect(), Vec::new()) } else { choose(&running, &args.ids) };
    let live = Live::look()?;
    for one in chosen {
        let label = one.container.label();
        match inject::give(one.pid, &live) {
            Ok(Given::Already) => print(&format!("{label}: has it already\n"))?,
            Ok(Given::Now) => {
                inject::note(&socket::run_dir(), one.namespace);
                print(&format!("{label}: has it now\n"))?;
            }
            Err(InjectError::NoParent) => {
                return Err(Failure::new(exit::NOT_MOUNTED, InjectError::NoParent.to_string()).into());
            }
            // With --all nobody asked for this one by name.
            Err(InjectError::Gone) if args.all => (),
            Err(error) => failures.push(format!("{label}: {error}")),
        }
    }
    let Some(last) = failures.pop() else { return Ok(()) };
    for failure in failures {
        eprintln!("hoodydb: {failure}");
    }
    Err(Failure::new(exit::FAILURE, last).into())
}

/// The containers that are meant, and what stands against the others.
fn choose<'a>(running: &'a [Running], ids: &[String]) -> (Vec<&'a Running>, Vec<String>) {
    let (mut chosen, mut failures) = (Vec::new(), Vec::new());
    for id in ids {
        let matching: Vec<&Running> = running.iter().filter(|one| is_meant(&one.container, id)).collect();
        match matching[..] {
            [one] => chosen.push(one),
            [] => failures.push(format!("no container {} runs here: hoodydb containers status", printable(id))),
            _ => failures
                .push(format!("several containers are called {}: write ENGINE:NAME or more of the id", printable(id))),
        }
    }
    (chosen, failures)
}

fn is_meant(container: &Container, id: &str) -> bool {
    let name = container.name.as_deref();
    let qualified =
        || id.split_once(':').is_some_and(|(engine, rest)| engine == container.engine && is_called(container, rest));
    name == Some(id) || is_called(container, id) || qualified()
}

fn is_called(container: &Container, id: &str) -> bool {
    !id.is_empty() && (container.name.as_deref() == Some(id) || container.id.starts_with(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(engine: &str, id: &str, name: &str) -> Running {
        let name = (!name.is_empty()).then(|| name.to_owned());
        let container = Container { engine: engine.to_owned(), id: id.to_owned(), name, image: None };
        Running { container, pid: 1, namespace: 2, started_ticks: 3 }
    }

    #[test]
    fn containers_are_named_in_several_ways() {
        let running =
            [container("docker", "4f0c", "web"), container("podman", "4f1d", "web"), container("lxc", "db", "")];
        let count = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let (chosen, failures) = choose(&running, &ids);
            (chosen.iter().map(|one| one.container.id.as_str()).collect::<Vec<_>>(), failures.len())
        };
        assert_eq!(count(&["docker:web", "db", "4f1"]), (vec!["4f0c", "db", "4f1d"], 0));
        assert_eq!(count(&["web", "4f", "x", ""]), (vec![], 4));
    }
}
