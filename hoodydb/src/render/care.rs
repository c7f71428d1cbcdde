//! The texts of backup, restore, vacuum, check and db.

use super::table::{draw, name, number};
use super::units::{bytes, count, millis, seconds};
use super::{Style, short_command};
use crate::model::{
    Backup, BackupAnswer, CheckAnswer, Checked, DatabaseFacts, DatabaseList, FailedDatabase, RestoreAnswer,
    VacuumAnswer, Vacuumed, printable,
};

/// A line per backup, and one per database that has none.
pub fn backup(answer: &BackupAnswer, style: Style) -> String {
    let lines: String = answer.backups.iter().map(one_backup).collect();
    with_failures(lines, &answer.failed, style)
}

/// Adds a line per failure; where nothing else is told, the error of the command says it.
fn with_failures(lines: String, failed: &[FailedDatabase], style: Style) -> String {
    match failed {
        [_] if lines.is_empty() => lines,
        failed => failed.iter().fold(lines, |lines, failed| lines + &one_failed(failed, style)),
    }
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

fn one_failed(failed: &FailedDatabase, style: Style) -> String {
    format!("{}: {}: {}\n", style.warning("FAILED"), printable(&failed.database), printable(&failed.error))
}

fn per_second(bytes: u64, ms: u64) -> u64 {
    bytes.saturating_mul(1000) / ms.max(1)
}

/// One line.
pub fn restore(answer: &RestoreAnswer) -> String {
    let aside = answer.put_aside.as_ref();
    let aside = aside.map(|path| format!("; what was there is {}", printable(path))).unwrap_or_default();
    format!(
        "{} -> {}  {} in {}{aside}\n",
        printable(&answer.file),
        printable(&answer.database),
        bytes(answer.size_bytes),
        millis(answer.duration_ms)
    )
}

/// A line per database.
pub fn vacuum(answer: &VacuumAnswer, style: Style) -> String {
    let lines: String = answer.databases.iter().map(one_vacuumed).collect();
    with_failures(lines, &answer.failed, style)
}

fn one_vacuumed(done: &Vacuumed) -> String {
    let path = printable(&done.database);
    let free = done.free_pages * 100 / done.pages.max(1);
    if done.skipped {
        return format!("{path}  {}, {free}% free: passed over\n", bytes(done.before_bytes));
    }
    let into = done.into.as_ref().map(|into| format!(" -> {}", printable(into))).unwrap_or_default();
    format!(
        "{path}{into}  {} -> {} in {} ({free}% was free, {} of room needed)\n",
        bytes(done.before_bytes),
        bytes(done.after_bytes),
        millis(done.duration_ms),
        bytes(done.needed_bytes)
    )
}

/// A line per database, and one per finding.
pub fn check(answer: &CheckAnswer, style: Style) -> String {
    answer.databases.iter().map(|checked| one_checked(checked, style)).collect()
}

fn one_checked(checked: &Checked, style: Style) -> String {
    let verdict = match checked.verdict.as_str() {
        "sound" => "sound".to_owned(),
        other => style.warning(&other.to_uppercase()),
    };
    let mut text = format!("{}: {verdict}", printable(&checked.database));
    if !checked.journal_mode.is_empty() {
        text.push_str(&format!(
            "  {}, {} pages of {} bytes, {} free, journal mode {}",
            bytes(checked.size_bytes),
            count(checked.pages),
            checked.page_size,
            count(checked.free_pages),
            checked.journal_mode
        ));
    }
    for (what, size) in [("log", checked.wal_bytes), ("journal", checked.journal_bytes)] {
        if size > 0 {
            text.push_str(&format!(", {what} {}", bytes(size)));
        }
    }
    text.push_str(&format!(", {}\n", millis(checked.duration_ms)));
    for finding in &checked.findings {
        text.push_str(&format!("  {}: {}\n", finding.level, printable(&finding.what)));
    }
    text
}

/// A table per mount.
pub fn databases(list: &DatabaseList, style: Style) -> String {
    let mounts = list.mounts.iter().map(|mount| {
        let title = style.bold(&printable(&mount.mountpoint));
        if mount.databases.is_empty() {
            return format!("{title}\n  no database\n");
        }
        let columns = [
            name("DATABASE"),
            number("SIZE"),
            number("WAL"),
            name("JOURNAL"),
            number("PAGE"),
            number("FREE"),
            number("TABLES"),
            number("WRITTEN"),
            name("USERS"),
        ];
        let rows = mount.databases.iter().map(database_cells).collect();
        format!("{title}\n{}", draw(&columns, rows, style))
    });
    mounts.collect::<Vec<_>>().join("\n")
}

fn database_cells(facts: &DatabaseFacts) -> Vec<String> {
    let users: Vec<String> =
        facts.users.iter().map(|user| format!("{} {}", user.pid, short_command(&user.command))).collect();
    let known = |value: String| if facts.error.is_none() { value } else { String::new() };
    let note = facts.error.iter().map(printable);
    vec![
        printable(&facts.path),
        bytes(facts.size_bytes),
        bytes(facts.wal_bytes),
        facts.journal_mode.clone(),
        known(facts.page_size.to_string()),
        known(format!("{}%", facts.free_pages * 100 / facts.pages.max(1))),
        known(count(facts.tables)),
        format!("{} ago", seconds(facts.last_write_age_s)),
        note.chain(users).collect::<Vec<_>>().join(", "),
    ]
}

#[cfg(test)]
mod tests;
