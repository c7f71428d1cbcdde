//! `hoodydb db`: what databases there are, and what is done to one as a file.
//!
//! Called by [`super::Cli`]; one file per action in `db/`.

mod create;
mod delete;
mod list;
mod wal;

use anyhow::Result;

/// Lists, creates and deletes databases, and sets their journal mode
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  hoodydb db list
  hoodydb db create app/users.db
  hoodydb db wal on app/users.db

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong
  3  nothing is mounted there, or no daemon runs
  4  the database is in use"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    List(list::Args),
    Create(create::Args),
    Delete(delete::Args),
    Wal(wal::Args),
}

pub(super) fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::List(args) => list::run(args),
        Action::Create(args) => create::run(args),
        Action::Delete(args) => delete::run(args),
        Action::Wal(args) => wal::run(args),
    }
}
