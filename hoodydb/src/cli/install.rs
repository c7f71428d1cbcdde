//! `hoodydb install` and `hoodydb uninstall`.
//!
//! Called by [`super::Cli`]; the steps are [`crate::host`]'s, the texts of pages and completions are made here.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::exit::{self, Failure};
use super::print;
use crate::engine::{self, Engine};
use crate::host::{Documents, Record, Site, plan};

/// Sets up the host: directories, /hoody, the service and its start at boot, man pages and completions
///
/// What is there is left as it is: a second time nothing is changed. /hoody becomes an empty read-only file system of its own, with the
/// mount point in it, which containers can follow over restarts. The daemon runs as root: only root may mount, and open
/// files for passthrough. Without systemd the service is a script in /etc/init.d.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb install --dry-run
  hoodydb install
  hoodydb install --http hoodydb

Exit codes:
  0  the host is set up
  1  it failed; the line on standard error says why
  2  the command line is wrong")]
pub(super) struct Args {
    /// Only show each file and command
    #[arg(long)]
    dry_run: bool,
    /// Do not start the service
    #[arg(long)]
    no_start: bool,
    /// Also the service of the HTTP interface, run by this user, which is to exist (useradd --system hoodydb); needs systemd
    #[arg(long, value_name = "USER")]
    http: Option<String>,
}

/// Takes back what install did, and gives container engines their configuration back
///
/// The daemon ends when no transaction runs. The databases stay in /var/lib/hoodydb/databases, and so do files that were changed after
/// the installation.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hoodydb uninstall --dry-run
  hoodydb uninstall

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong")]
pub(super) struct UninstallArgs {
    /// Only show each file and command
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    check_root()?;
    let site = Site::look(!args.no_start, args.http.clone());
    check_http(&site)?;
    let steps = plan(&site, &documents()?);
    // What stands in the way is told before anything is changed.
    steps.iter().try_for_each(|step| step.is_possible())?;
    let (mut record, mut changed) = (Record::load()?, false);
    for step in steps {
        if step.is_done(changed)? {
            continue;
        }
        changed = true;
        print(&format!("{}\n", step.describe()))?;
        if !args.dry_run {
            step.perform(&mut record)?;
        }
    }
    if args.dry_run {
        return print(if changed { "nothing was changed (--dry-run)\n" } else { "everything is set up already\n" });
    }
    print(match changed {
        true => "the host is set up; for containers: hoodydb containers enable\n",
        false => "everything is set up already\n",
    })
}

pub(super) fn uninstall(args: &UninstallArgs) -> Result<()> {
    check_root()?;
    for engine in Engine::ALL.into_iter().filter(|engine| engine::is_recorded(*engine)) {
        print(&format!("containers disable --engine {}\n", engine.name()))?;
        if !args.dry_run {
            let done = engine::disable(engine)?;
            done.notes.iter().try_for_each(|note| print(&format!("{}: {note}\n", engine.name())))?;
        }
    }
    let mut record = Record::load()?;
    for step in plan(&Site::look(true, http_unit()), &documents()?).iter().rev() {
        let Some(line) = step.describe_undo() else { continue };
        if !step.is_undoable(&record)? {
            continue;
        }
        if args.dry_run || step.undo(&mut record)? {
            print(&format!("{line}\n"))?;
        } else {
            print(&format!("it was changed since and stays: {line}\n"))?;
        }
    }
    print(if args.dry_run {
        "nothing was changed (--dry-run)\n"
    } else {
        "the databases stay in /var/lib/hoodydb/databases\n"
    })
}

/// Whether there is a service of the HTTP interface to take back; its user is in its file.
fn http_unit() -> Option<String> {
    let places = ["/etc/systemd/system/hoodydb-http.service", "/lib/systemd/system/hoodydb-http.service"];
    places.iter().any(|place| std::path::Path::new(place).exists()).then(String::new)
}

/// The service of the HTTP interface is systemd's, and a package has its own.
fn check_http(site: &Site) -> Result<()> {
    let Some(user) = &site.http else { return Ok(()) };
    if user.is_empty() || !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err(Failure::new(exit::USAGE, "--http: this is no name of a user").into());
    }
    if site.is_packaged {
        let line =
            "the package has the service: useradd --system hoodydb && systemctl enable --now hoodydb-http.service";
        return Err(Failure::new(exit::FAILURE, line).into());
    }
    if !site.has_systemd {
        return Err(
            Failure::new(exit::FAILURE, "--http needs systemd: run hoodydb serve as its documentation tells").into()
        );
    }
    Ok(())
}

fn check_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(exit::FAILURE, "only root may set up the host").into())
}

/// Man pages and completions, from the definition of the commands.
pub(super) fn documents() -> Result<Documents> {
    let completion = |shell: Shell| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut super::Cli::command(), "hoodydb", &mut text);
        String::from_utf8(text).context("a completion script is no text")
    };
    let completions = [completion(Shell::Bash)?, completion(Shell::Zsh)?, completion(Shell::Fish)?];
    let mut root = super::Cli::command();
    root.build();
    let mut man_pages = Vec::new();
    let mut commands = vec![(root.clone(), "hoodydb".to_owned())];
    while let Some((command, name)) = commands.pop() {
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        commands.extend(visible.map(|inner| (inner.clone(), format!("{name}-{}", inner.get_name()))));
        let mut page = Vec::new();
        clap_mangen::Man::new(command.display_name(name.clone())).title(name.clone()).render(&mut page)?;
        man_pages.push((format!("{name}.1"), String::from_utf8(page).context("a man page is no text")?));
    }
    man_pages.sort();
    Ok(Documents { man_pages, completions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let documents = documents().unwrap();
        let names: Vec<&str> = documents.man_pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["hoodydb.1", "hoodydb-mount.1", "hoodydb-containers-enable.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(documents.completions.iter().all(|text| text.contains("containers")));
    }
}
