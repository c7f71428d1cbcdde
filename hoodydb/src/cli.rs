//! What a user types: one file per command, each with its arguments and a `run`.
//!
//! Called by `main`. Commands talk to the daemon through [`crate::control`] only; [`mount`] alone knows the daemon.

/// The end of a command's help: examples, and the exit codes of a group of commands.
macro_rules! examples {
    ($of:literal: $($line:literal),+) => {
        concat!("Examples:\n", $("  hoodydb ", $line, "\n",)+ "\nExit codes:\n  as of hoodydb ", $of)
    };
}

mod ask;
mod backup;
mod care;
mod check;
mod completions;
mod containers;
mod db;
mod duration;
pub mod exit;
#[cfg(feature = "fault-points")]
mod fault;
mod history;
mod install;
mod kv;
mod locks;
mod man;
mod markdown;
mod mount;
mod policy;
mod restore;
mod resume;
mod serve;
mod status;
mod target;
mod top;
mod trace;
mod umount;
mod upgrade;
mod vacuum;

use std::io::{self, IsTerminal, Write};

use clap::{Parser, Subcommand};

use crate::render::Style;

/// Exit codes, as every command's help shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs
  4  busy: the mount point, the data directory or the database is in use
  5  hoodydb check found something that is not as it should be
  6  hoodydb check found damage";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "hoodydb",
    version,
    about = "SQLite databases shared by many programs on one host",
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Mount(mount::Args),
    Umount(umount::Args),
    Upgrade(upgrade::Args),
    Status(status::Args),
    Locks(locks::Args),
    #[command(visible_alias = "top-locks")]
    Top(top::Args),
    History(history::Args),
    Trace(trace::Args),
    Policy(policy::Args),
    Containers(containers::Args),
    Install(install::Args),
    Uninstall(install::UninstallArgs),
    Backup(Box<backup::Args>),
    Restore(restore::Args),
    Vacuum(vacuum::Args),
    Check(check::Args),
    Serve(Box<serve::Args>),
    #[command(visible_aliases = ["sql", "sqlite"])]
    Db(Box<db::Args>),
    Kv(Box<kv::Args>),
    Completions(completions::Args),
    Man(man::Args),
    Markdown(markdown::Args),
    Resume(resume::Args),
    #[cfg(feature = "fault-points")]
    Fault(fault::Args),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// One line for the user; [`exit::code_of`] tells the exit code.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Mount(args) => mount::run(args),
            Command::Umount(args) => umount::run(&args),
            Command::Upgrade(args) => upgrade::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Locks(args) => locks::run(&args),
            Command::Top(args) => top::run(&args),
            Command::History(args) => history::run(&args),
            Command::Trace(args) => trace::run(&args),
            Command::Policy(args) => policy::run(args),
            Command::Containers(args) => containers::run(args),
            Command::Install(args) => install::run(&args),
            Command::Uninstall(args) => install::uninstall(&args),
            Command::Backup(args) => backup::run(&args),
            Command::Restore(args) => restore::run(&args),
            Command::Vacuum(args) => vacuum::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Serve(args) => serve::run(*args),
            Command::Db(args) => db::run(*args),
            Command::Kv(args) => kv::run(*args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
            Command::Markdown(args) => markdown::run(&args),
            Command::Resume(args) => resume::run(&args),
            #[cfg(feature = "fault-points")]
            Command::Fault(args) => fault::run(&args),
        }
    }
}

/// Colours on a terminal, unless NO_COLOR is set.
fn style() -> Style {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style { colour: io::stdout().is_terminal() && !unwanted }
}

/// Writes to standard output; a reader that has gone (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_exit_codes() {
        let mut root = Cli::command();
        root.build();
        let mut commands: Vec<_> = root.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            assert!(help.contains("Exit codes:"), "{} has no exit codes", command.get_name());
            commands.extend(command.get_subcommands());
        }
    }
}
