//! What the query history is told of a transaction.
//!
//! Called by [`super::run`]. Of a transaction that is rolled back no item has succeeded, whatever it did before.

use std::time::Duration;

use super::super::history::{Record, Source};

/// Bytes of SQL that are kept.
const SQL_MAX: usize = 64 << 10;

/// Why an item did not succeed that did not fail itself.
const ROLLED_BACK: &str = "the transaction was rolled back";

/// The records of a transaction that runs.
pub(super) struct Recorder(Vec<Record>);

impl Recorder {
    /// One for each item's SQL, and whether it is a statement.
    pub(super) fn new<'s>(items: impl Iterator<Item = (&'s str, bool)>) -> Self {
        Self(items.map(|(sql, is_statement)| new(sql, is_statement)).collect())
    }

    /// An item has run.
    pub(super) fn ran(&mut self, index: usize, time: Duration, row_count: u64, error: Option<&str>) {
        if let Some(record) = self.0.get_mut(index) {
            (record.time, record.row_count, record.error) = (time, row_count, error.map(str::to_owned));
        }
    }

    /// The records of what is to be committed.
    pub(super) fn done(self) -> Vec<Record> {
        self.0
    }

    /// The records of what is rolled back.
    pub(super) fn undone(mut self) -> Vec<Record> {
        undo(&mut self.0);
        self.0
    }
}

/// Says of records that what they tell of was rolled back.
pub(in crate::api) fn undo(records: &mut [Record]) {
    for record in records {
        record.row_count = 0;
        record.error.get_or_insert_with(|| ROLLED_BACK.to_owned());
    }
}

/// The record of SQL that has not run.
pub(super) fn new(sql: &str, is_statement: bool) -> Record {
    let mut end = sql.len().min(SQL_MAX);
    while !sql.is_char_boundary(end) {
        end -= 1;
    }
    let (sql, time) = (sql[..end].to_owned(), Duration::ZERO);
    Record { sql, is_statement, row_count: 0, time, error: None, source: Source::Sql }
}
