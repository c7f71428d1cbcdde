//! The texts of backup, restore, vacuum, check and db.

use super::Style;
use super::units::{bytes, count, millis};
use crate::model::{Backup, BackupAnswer, FailedDatabase, printable};

/// A line per backup, and one per database that has none.
pub fn backup(answer: &BackupAnswer, style: Style) -> String {
    let lines = answer.backups.iter().map(one_backup);
    lines.chain(answer.failed.iter().map(|failed| one_failed(failed, style))).collect()
}

fn one_backup(backup: &Backup) -> String {
    let made = &backup.manifest;
    let mut notes = vec![format!("{} in {}", bytes(made.size_bytes), millis(backup.duration_ms))];
    notes.push(match made.compression.as_str() {
        "none" => format!("copied at {}/s", bytes(per_second(made.size_bytes, backup.copy_ms))),
        how => format!("{how} {}", bytes(made.file_bytes)),
    });
    if backup.restarts > 0 {
        notes.push(format!("begun anew {} times", count(backup.restarts.into())));
    }
    if backup.held_ms > 0 {
        notes.push(format!("writers waited {}", millis(backup.held_ms)));
    }
    if !backup.removed.is_empty() {
        notes.push(format!("{} older removed", count(backup.removed.len() as u64)));
    }
    format!("{} -> {}  {}\n", printable(&made.database), printable(&backup.file), notes.join(", "))
}

pub(super) fn one_failed(failed: &FailedDatabase, style: Style) -> String {
    format!("{}: {}: {}\n", style.warning("FAILED"), printable(&failed.database), printable(&failed.error))
}

fn per_second(bytes: u64, ms: u64) -> u64 {
    bytes.saturating_mul(1000) / ms.max(1)
}
