//! `hoodydb db`: what databases there are, what is done to one as a file, and SQL by the HTTP interface.
//!
//! Called by [`super::Cli`]; one file per action in `db/`. What names a database by its place works on this host's mount, with the
//! daemon; what names it by `--db` or `--path` asks the interface, of a server or in this process.

mod create;
mod delete;
mod history;
mod list;
mod maintenance;
mod server;
mod sql;
mod wal;

use anyhow::Result;

/// Lists, creates and deletes databases, runs SQL in them, and cares for them
///
/// A DB that stands alone is a file on this host's mount. With --db or --path it is named as in the HTTP interface: app for app.db in the
/// root, or an absolute path; a server is asked if --url or HOODYDB_URL names one, else the same is done here.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  hoodydb db list
  hoodydb db create app/users.db
  hoodydb db wal on app/users.db
  hoodydb db exec-transaction --db app --transaction '[{\"query\":\"SELECT 1\"}]'

Environment:
  HOODYDB_URL    the server: http://HOST:PORT, https://HOST:PORT or unix:/PATH
  HOODYDB_TOKEN  its token

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
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_aliases = ["new", "add"])]
    Create(create::Args),
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
    Wal(wal::Args),
    ExecTransaction(sql::Transaction),
    #[command(subcommand, hide = true)]
    Transactions(sql::Transactions),
    #[command(visible_alias = "query")]
    ExecShareable(sql::Query),
    #[command(subcommand, hide = true)]
    Readonly(sql::Readonly),
    #[command(subcommand)]
    Maintenance(maintenance::Maintenance),
    #[command(subcommand)]
    History(history::History),
    Health(server::Health),
    #[command(subcommand)]
    Cache(server::Cache),
    Open(server::Open),
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::List(args) => list::run(&args),
        Action::Create(args) => create::run(&args),
        Action::Delete(args) => delete::run(&args),
        Action::Wal(args) => wal::run(&args),
        Action::ExecTransaction(args) | Action::Transactions(sql::Transactions::Run(args)) => sql::transaction(args),
        Action::ExecShareable(args) | Action::Readonly(sql::Readonly::Query(args)) => sql::query(&args),
        Action::Maintenance(maintenance::Maintenance::Run(args)) => maintenance::run(&args),
        Action::History(action) => history::run(&action),
        Action::Health(args) => server::health(&args),
        Action::Cache(server::Cache::Stats(args)) => server::cache(&args),
        Action::Open(args) => server::open(&args),
    }
}
