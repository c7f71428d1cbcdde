//! What a rollback of a table would do.

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::inline::Inline;
use super::rollback::{Action, Figures, Step};
use super::rows::Stored;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct DryRun {
    success: bool,
    dry_run: bool,
    to_timestamp: i64,
    preview: Preview,
}

/// What would happen.
#[derive(Debug, Serialize)]
struct Preview {
    total_keys: usize,
    keys_to_rollback: usize,
    keys_to_delete: usize,
    keys_to_restore: usize,
    operations_to_reverse: usize,
    untouched_keys: Vec<String>,
    discovery_truncated: bool,
    changes: Option<Vec<Change>>,
}

/// What would happen to a key.
#[derive(Debug, Serialize)]
struct Change {
    key: String,
    action: &'static str,
    operations_to_undo: usize,
    #[serde(flatten)]
    current: Option<Current>,
    #[serde(flatten)]
    rollback: Option<Rollback>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// What it is.
#[derive(Debug, Serialize)]
struct Current {
    #[serde(skip_serializing_if = "Option::is_none")]
    current_value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_value_base64: Option<String>,
    current_content_type: String,
}

/// What it would be.
#[derive(Debug, Serialize)]
struct Rollback {
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_value_base64: Option<String>,
    rollback_content_type: String,
}

impl Current {
    fn of(stored: Stored) -> Self {
        let (current_value, current_value_base64) = Inline::of(&stored.value, &stored.content_type).parts();
        Self { current_value, current_value_base64, current_content_type: stored.content_type }
    }
}

impl Rollback {
    fn of(stored: Stored) -> Self {
        let (rollback_value, rollback_value_base64) = Inline::of(&stored.value, &stored.content_type).parts();
        Self { rollback_value, rollback_value_base64, rollback_content_type: stored.content_type }
    }
}

/// Describes what is to be done.
pub(super) fn of(figures: Figures, steps: Vec<Step>, at: i64, is_complete: bool) -> DryRun {
    let changes: Vec<Change> = steps.into_iter().filter_map(change).collect();
    let preview = Preview {
        total_keys: figures.total,
        keys_to_rollback: figures.rollback,
        keys_to_delete: figures.delete,
        keys_to_restore: figures.restore,
        operations_to_reverse: figures.operations,
        untouched_keys: figures.untouched,
        discovery_truncated: !is_complete,
        changes: (!changes.is_empty()).then_some(changes),
    };
    DryRun { success: true, dry_run: true, to_timestamp: at, preview }
}

fn change(step: Step) -> Option<Change> {
    let (action, reason) = match step.action {
        Action::Rollback => ("rollback", None),
        Action::Restore => ("restore", None),
        Action::Delete => ("delete", Some("the key was not there at that time")),
        Action::Forget => return None,
    };
    let is_there = step.action != Action::Restore;
    let current = step.now.filter(|_| is_there).map(|now| Current::of(now.stored));
    let (key, operations_to_undo, rollback) = (step.key, step.operations, step.then.map(Rollback::of));
    Some(Change { key, action, operations_to_undo, current, rollback, reason })
}
