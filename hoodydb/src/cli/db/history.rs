//! `hoodydb db history`: what was asked of a database by the HTTP interface.

use anyhow::Result;

use crate::cli::ask::{Ask, Place, encoded};

/// What was asked of a database by the HTTP interface
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("db": "db history list --db app --limit 20", "db history clear --db app -y"))]
pub(super) enum History {
    List(List),
    Stats(Of),
    Clear(Of),
    #[command(visible_aliases = ["rm", "remove"])]
    Delete(Delete),
}

/// Lists entries, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db": "db history list --db app --limit 20 -o table"))]
pub(super) struct List {
    #[command(flatten)]
    of: Of,
    /// The most entries
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Entries to leave out
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
}

/// Counts entries, or removes all
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db": "db history stats --db app", "db history clear --db app -y"))]
pub(super) struct Of {
    /// The database: a name in the root, or an absolute path
    #[arg(long, value_name = "DB")]
    db: String,
    #[command(flatten)]
    place: Place,
}

/// Removes an entry
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db": "db history delete 7 --db app"))]
pub(super) struct Delete {
    /// Its number
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    of: Of,
}

pub(super) fn run(action: &History) -> Result<()> {
    match action {
        History::List(List { of, limit, offset }) => {
            of.place.run(Ask::get("/history").with("db", &of.db).with("limit", limit).with("offset", offset))
        }
        History::Stats(of) => of.place.run(Ask::get("/history/stats").with("db", &of.db)),
        History::Clear(of) => {
            of.place.confirm(&format!("remove the query history of {}", of.db))?;
            of.place.run(Ask::delete("/history").with("db", &of.db))
        }
        History::Delete(Delete { id, of }) => {
            of.place.run(Ask::delete(format!("/history/{}", encoded(id))).with("db", &of.db))
        }
    }
}
