//! The text of `hoodydb locks`.

use super::table::{draw_used, name, number};
use super::units::millis;
use super::{Style, short_command};
use crate::model::{Container, DatabaseLocks, Holder, Locks, MountLocks, Waiter, printable};

/// Every holder and waiter of every mount.
pub fn locks(locks: &Locks, style: Style) -> String {
    let mounts: Vec<String> = locks.mounts.iter().map(|mount| one_mount(mount, style)).collect();
    mounts.join("\n")
}

fn one_mount(mount: &MountLocks, style: Style) -> String {
    let mut text = style.bold(&printable(&mount.mountpoint));
    text.push('\n');
    let rows: Vec<Vec<String>> = mount.databases.iter().flat_map(database_rows).collect();
    if rows.is_empty() {
        text.push_str("  nobody holds or wants a lock\n");
    } else {
        let columns = [
            name("DATABASE"),
            name("JOURNAL"),
            name("STATE"),
            name("ROLE"),
            number("PID"),
            number("AGE"),
            number("LEFT"),
            name("BLOCKED BY"),
            name("NOTE"),
            name("CONTAINER"),
            name("COMMAND"),
        ];
        text.push_str(&draw_used(&columns, rows, &["CONTAINER"], style));
    }
    for bind in &mount.single_file_binds {
        text.push_str(&super::single_file_bind(bind, style));
    }
    text
}

fn database_rows(database: &DatabaseLocks) -> Vec<Vec<String>> {
    let path = printable(&database.path);
    let front = |state: &str| vec![path.clone(), database.journal_mode.clone(), state.to_owned()];
    let holders = database.holders.iter().map(|holder| [front("holds"), holder_cells(holder)].concat());
    let waiters = database.waiters.iter().map(|waiter| [front("waits"), waiter_cells(waiter)].concat());
    holders.chain(waiters).collect()
}

fn holder_cells(holder: &Holder) -> Vec<String> {
    let mut note: Vec<&str> = holder.halted.iter().map(String::as_str).collect();
    if holder.turn {
        note.insert(0, "turn");
    }
    vec![
        holder.role.clone(),
        holder.process.pid.to_string(),
        millis(holder.age_ms),
        String::new(),
        String::new(),
        note.join(", "),
        holder.container.as_ref().map(Container::label).unwrap_or_default(),
        short_command(&holder.process.command),
    ]
}

fn waiter_cells(waiter: &Waiter) -> Vec<String> {
    let blockers: Vec<String> = waiter.blocked_by.iter().map(u32::to_string).collect();
    vec![
        waiter.role.clone(),
        waiter.process.pid.to_string(),
        millis(waiter.age_ms),
        millis(waiter.left_ms),
        blockers.join(" "),
        waiter.halted.clone().unwrap_or_default(),
        waiter.container.as_ref().map(Container::label).unwrap_or_default(),
        short_command(&waiter.process.command),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcessName;

    fn example() -> Locks {
        let holder = Holder {
            role: "WRITE".to_owned(),
            process: ProcessName { pid: 10, command: "python3 worker.py".to_owned() },
            tid: 11,
            age_ms: 1_500,
            turn: true,
            halted: Some("frozen".to_owned()),
            container: Some(Container {
                engine: "docker".to_owned(),
                id: "0".repeat(64),
                name: Some("web".to_owned()),
                image: Some("web:1".to_owned()),
            }),
        };
        let waiter = Waiter {
            role: "TURN".to_owned(),
            process: ProcessName { pid: 12, command: "sqlite3 a.db \u{1b}]0;x".to_owned() },
            tid: 12,
            age_ms: 40,
            left_ms: 29_960,
            blocked_by: vec![10, 9],
            halted: None,
            container: None,
        };
        let database = DatabaseLocks {
            path: "app/a.db".to_owned(),
            journal_mode: "wal".to_owned(),
            policy: "turn".to_owned(),
            holders: vec![holder],
            waiters: vec![waiter],
        };
        let busy =
            MountLocks { mountpoint: "/a".to_owned(), pid: 1, databases: vec![database], ..MountLocks::default() };
        Locks { mounts: vec![busy, MountLocks { mountpoint: "/b".to_owned(), pid: 2, ..MountLocks::default() }] }
    }

    #[test]
    fn holders_come_before_waiters() {
        insta::assert_snapshot!(locks(&example(), Style::default()));
    }

    #[test]
    fn json_schema_of_locks() {
        insta::assert_snapshot!(super::super::json(&example()).unwrap());
    }
}
