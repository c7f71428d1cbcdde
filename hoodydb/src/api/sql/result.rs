//! What an item is answered with.
//!
//! Made by [`super::execute`], sent by [`super::run`]. Members that do not apply are absent, never null.

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::Failure;
use super::rows::{Format, Rows};

/// The answer to a transaction.
#[derive(Debug, Serialize)]
pub struct Results {
    /// One for each item, in their order.
    pub results: Vec<ItemResult>,
}

/// The answer to one item.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemResult {
    /// False if it failed and may.
    pub success: bool,
    /// Rows that a statement without columns changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_updated: Option<u64>,
    /// The same of each entry of a batch that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_updated_batch: Option<Vec<u64>>,
    /// The names of the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_headers: Option<Vec<String>>,
    /// Rows as objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_set: Option<Box<RawValue>>,
    /// Rows as arrays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_set_list: Option<Box<RawValue>>,
    /// True if there were more rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Entries of a batch that were left out, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_errors: Option<Vec<String>>,
    /// Rows returned or changed, for the query history.
    #[serde(skip)]
    pub(super) count: u64,
}

impl ItemResult {
    /// Of a statement without columns.
    pub(super) fn updated(count: u64) -> Self {
        Self { success: true, rows_updated: Some(count), count, ..Self::default() }
    }

    /// Of a batch.
    pub(super) fn batch(counts: Vec<u64>, errors: Vec<String>) -> Self {
        let count = counts.iter().sum();
        let row_errors = Some(errors).filter(|errors| !errors.is_empty());
        Self { success: true, rows_updated_batch: Some(counts), row_errors, count, ..Self::default() }
    }

    /// Of an item that failed and may.
    pub(super) fn failed(failure: &Failure) -> Self {
        Self { error: Some(failure.text.clone()), code: Some(failure.code), ..Self::default() }
    }

    /// Of rows.
    pub(super) fn rows(rows: Rows, format: Format) -> Self {
        let (map, list) = if format == Format::List { (None, Some(rows.json)) } else { (Some(rows.json), None) };
        Self {
            success: true,
            result_headers: Some(rows.headers),
            result_set: map,
            result_set_list: list,
            truncated: rows.is_truncated.then_some(true),
            count: rows.count,
            ..Self::default()
        }
    }

    /// Bytes of rows that it holds.
    pub(super) fn size(&self) -> usize {
        self.result_set.as_ref().or(self.result_set_list.as_ref()).map_or(0, |json| json.get().len())
    }
}
