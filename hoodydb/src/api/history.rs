//! Hi.

use super::{Call, Failure, Roots, Work};

pub(super) fn list(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn clear(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn remove(_call: &Call, _roots: &Roots, _index: &str) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

pub(super) fn stats(_call: &Call, _roots: &Roots) -> Result<Work, Failure> {
    Err(Failure::unavailable("planned"))
}

/// The table of the query history.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS \"_query_history\"(id INTEGER PRIMARY KEY AUTOINCREMENT);";

/// One statement or operation, for the query history.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The SQL, or the operation in words.
    pub sql: String,
    /// Whether it was sent as a statement rather than as a query.
    pub is_statement: bool,
    /// Rows returned or changed.
    pub row_count: u64,
    /// How long it took.
    pub time: std::time::Duration,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Who made it.
    pub source: Source,
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A statement or query.
    Sql,
    /// An operation on a key.
    Kv,
}

/// Records that are still to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {}

impl Pending {
    /// Queues records; never waits.
    pub(super) fn add(&self, _records: Vec<Record>, _client: &str) {}
}
