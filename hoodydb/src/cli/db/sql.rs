//! `hoodydb db exec-transaction` and `exec-shareable`: SQL by the HTTP interface.

use anyhow::Result;

use crate::cli::ask::{Ask, Place};

/// Runs statements in one transaction
///
/// All of them are committed, or none. The answer has one result per item.
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db":
    "db exec-transaction --db app --transaction '[{\"query\":\"SELECT 1\"}]'",
    "db exec-transaction --db app --create-db-if-missing --transaction '[{\"statement\":\"CREATE TABLE t(a)\"}]'",
    "db exec-transaction --db app -o table --transaction '[{\"query\":\"SELECT * FROM t WHERE a = ?\",\"values\":[7]}]'"))]
pub(super) struct Transaction {
    /// The database: a name in the root, or an absolute path
    #[arg(long, value_name = "DB")]
    db: String,
    /// An array of {"query": ..} and {"statement": ..}, with "values", "valuesBatch" or "noFail"
    #[arg(long, value_name = "JSON")]
    transaction: String,
    /// Make the database if it does not exist
    #[arg(long, visible_alias = "auto-create")]
    create_db_if_missing: bool,
    /// Rows as objects or as arrays
    #[arg(long, value_enum, value_name = "FORMAT")]
    result_format: Option<Format>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// An object per row
    Map,
    /// An array per row
    List,
}

/// Transactions
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("db": "db transactions run --db app --transaction '[{\"query\":\"SELECT 1\"}]'"))]
pub(super) enum Transactions {
    Run(Transaction),
}

pub(super) fn transaction(args: Transaction) -> Result<()> {
    let format = match args.result_format {
        Some(Format::List) => ",\"resultFormat\":\"list\"",
        Some(Format::Map) => ",\"resultFormat\":\"map\"",
        None => "",
    };
    // The array goes as it was written, so that its numbers keep all digits; the interface says what is wrong with it.
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&args.transaction).is_ok();
    let body = if is_json { format!("{{\"transaction\":{}{format}}}", args.transaction) } else { args.transaction };
    let ask = Ask::post("/db").with("db", &args.db).with_flag("create_db_if_missing", args.create_db_if_missing);
    args.place.run(ask.json(body))
}

/// Runs one SELECT that changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = examples!("db":
    "db exec-shareable --db app --sql 'SELECT count(*) FROM t'",
    "db exec-shareable --db app --sql U0VMRUNUIDE -o table"))]
pub(super) struct Query {
    /// The database: a name in the root, or an absolute path
    #[arg(long, value_name = "DB")]
    db: String,
    /// The SQL, plain or as base64url
    #[arg(long, value_name = "SQL")]
    sql: String,
    #[command(flatten)]
    place: Place,
}

/// SQL that changes nothing
#[derive(Debug, clap::Subcommand)]
#[command(after_help = examples!("db": "db readonly query --db app --sql 'SELECT 1'"))]
pub(super) enum Readonly {
    Query(Query),
}

pub(super) fn query(args: &Query) -> Result<()> {
    args.place.run(Ask::get("/query").with("db", &args.db).with("sql", &args.sql))
}
