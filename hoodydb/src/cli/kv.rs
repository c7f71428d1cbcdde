//! `hoodydb kv`: keys and values by the HTTP interface, of a server or in this process.
//!
//! Called by [`super::Cli`]; each action makes one [`Ask`]. Keys and values are bytes that are passed on as they are given.

mod arrays;
mod batch;
mod changes;
mod counters;
mod travel;
mod value;

use anyhow::Result;
use http::Method;

use super::ask::{Ask, Place, encoded};

/// Keys and values in a database
///
/// A server is asked if --url or HOODYDB_URL names one, else the same is done here, on the live mount or in --db-root.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  hoodydb kv set user:1 --db app --body '{\"name\":\"Alice\"}' --create-db-if-missing
  hoodydb kv get user:1 --db app
  hoodydb kv incr hits --db app --url http://127.0.0.1:8090

Environment:
  HOODYDB_URL    the server: http://HOST:PORT, https://HOST:PORT or unix:/PATH
  HOODYDB_TOKEN  its token

Exit codes:
  0  done
  1  it failed; the line on standard error says why
  2  the command line is wrong"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Get(value::Get),
    Set(value::Set),
    Delete(value::Delete),
    Exists(value::Exists),
    #[command(visible_alias = "ls")]
    List(value::List),
    #[command(subcommand)]
    Entry(value::Entry),
    #[command(visible_alias = "increment")]
    Incr(counters::Count),
    #[command(visible_alias = "decrement")]
    Decr(counters::Count),
    #[command(subcommand)]
    Ttl(counters::Ttl),
    #[command(subcommand)]
    Arrays(arrays::Arrays),
    #[command(subcommand)]
    Batch(batch::Batch),
    History(travel::History),
    Rollback(travel::Rollback),
    RollbackTable(travel::RollbackTable),
    #[command(subcommand)]
    Snapshots(travel::Snapshots),
    #[command(subcommand, hide = true)]
    Table(travel::Table),
    #[command(subcommand)]
    Changes(changes::Changes),
}

/// A table of keys and values.
#[derive(Debug, clap::Args)]
struct Store {
    /// The database: a name in the root, or an absolute path
    #[arg(long, value_name = "DB")]
    db: String,
    /// The table
    #[arg(long, value_name = "NAME", default_value = "kv_store")]
    table: String,
    #[command(flatten)]
    place: Place,
}

/// A table that is written to.
#[derive(Debug, clap::Args)]
struct Written {
    #[command(flatten)]
    store: Store,
    /// Make the database if it does not exist
    #[arg(long, visible_alias = "auto-create")]
    create_db_if_missing: bool,
    /// Keep the values of before and after, as without this
    #[arg(long, overrides_with = "no_history")]
    history: bool,
    /// Do not keep the values of before and after
    #[arg(long, overrides_with = "history")]
    no_history: bool,
}

impl Store {
    /// A request for the table as a whole.
    fn ask(&self, method: Method, path: impl Into<String>) -> Ask {
        Ask::new(method, path).with("db", &self.db).with("table", &self.table)
    }

    /// A request for a key, with what comes after it in the path.
    fn key(&self, method: Method, key: &str, verb: &str) -> Ask {
        self.ask(method, format!("/kv/{}{verb}", encoded(key)))
    }

    fn run(&self, ask: Ask) -> Result<()> {
        self.place.run(ask)
    }
}

impl Written {
    /// The options of a writing request.
    fn options(&self, ask: Ask) -> Ask {
        let ask = ask.with_flag("create_db_if_missing", self.create_db_if_missing);
        if self.no_history { ask.with("history", "false") } else { ask }
    }

    fn key(&self, method: Method, key: &str, verb: &str) -> Ask {
        self.options(self.store.key(method, key, verb))
    }

    fn run(&self, ask: Ask) -> Result<()> {
        self.store.run(ask)
    }
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Get(args) => value::get(&args),
        Action::Set(args) => value::set(args),
        Action::Delete(args) => value::delete(&args),
        Action::Exists(args) => value::exists(&args),
        Action::List(args) => value::list(&args),
        Action::Entry(value::Entry::Get(args)) => value::entry(&args),
        Action::Incr(args) => counters::count(&args, "/incr"),
        Action::Decr(args) => counters::count(&args, "/decr"),
        Action::Ttl(action) => counters::ttl(&action),
        Action::Arrays(action) => arrays::run(action),
        Action::Batch(action) => batch::run(action),
        Action::History(args) => travel::history(&args),
        Action::Rollback(args) => travel::rollback(&args),
        Action::RollbackTable(args) => travel::rollback_table(&args),
        Action::Snapshots(action) => travel::snapshots(&action),
        Action::Table(action) => travel::table(&action),
        Action::Changes(action) => changes::run(&action),
    }
}
