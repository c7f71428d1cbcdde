//! The text of `hoodydb history`.

use super::Style;
use super::table::{draw, name, number};
use super::top::{causes, wait, who};
use super::units::{count, millis};
use crate::model::history::{History, HistoryRow, MountHistory};
use crate::model::printable;

/// Every mount's minutes, the oldest first.
pub fn history(history: &History, style: Style) -> String {
    let mounts: Vec<String> = history.mounts.iter().map(|mount| one_mount(mount, style)).collect();
    mounts.join("\n")
}

fn one_mount(mount: &MountHistory, style: Style) -> String {
    let now = utc(mount.now_unix_s);
    let mut text = format!("{}  now {now} UTC\n", style.bold(&printable(&mount.mountpoint)));
    if mount.minutes.is_empty() {
        text.push_str("  no database was used\n");
    } else {
        let columns = [
            name("MINUTE"),
            name("DATABASE"),
            number("ACQ"),
            number("WAITS"),
            number("P50"),
            number("P99"),
            number("MAX"),
            name("REFUSED"),
            number("HELD"),
            number("PID"),
            name("LONGEST HOLDER"),
        ];
        text.push_str(&draw(&columns, mount.minutes.iter().map(row).collect(), style));
    }
    if let Some(reason) = &mount.missing {
        let warning = style.warning("WARNING");
        text.push_str(&format!("{warning}: minutes are missing, they cannot be kept: {}\n", printable(reason)));
    }
    text
}

fn row(minute: &HistoryRow) -> Vec<String> {
    let longest = minute.longest_holder.as_ref();
    vec![
        utc(minute.minute_unix_s),
        printable(&minute.path),
        count(minute.acquisitions),
        count(minute.waits),
        wait(minute.wait_p50_us),
        wait(minute.wait_p99_us),
        wait(minute.wait_max_us),
        causes(&minute.refusals, None),
        longest.map(|hold| millis(hold.held_ms)).unwrap_or_default(),
        longest.map(|hold| hold.process.pid.to_string()).unwrap_or_default(),
        longest.map(|hold| who(&hold.process, hold.container.as_ref())).unwrap_or_default(),
    ]
}

/// `2026-05-04 03:00` of seconds since 1970.
///
/// # Source
/// Days to a date of the Gregorian calendar, by eras of 400 years that begin on 1 March.
fn utc(unix_s: u64) -> String {
    let (days, minutes) = (unix_s / 86_400 + 719_468, unix_s % 86_400 / 60);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::history::LongestHold;
    use crate::model::{Container, ProcessName, RefusalCounts};

    #[test]
    fn seconds_become_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00");
        assert_eq!(utc(1_777_863_660), "2026-05-04 03:01");
    }

    fn example() -> History {
        let container = Container { engine: "docker".to_owned(), name: Some("web".to_owned()), ..Container::default() };
        let busy = HistoryRow {
            minute_unix_s: 1_777_863_660,
            path: "app/\u{1b}[2Ja.db".to_owned(),
            acquisitions: 12_345,
            waits: 67,
            wait_p50_us: 2_048,
            wait_p99_us: 65_536,
            wait_max_us: 31_000_000,
            refusals: RefusalCounts { deadline: 3, ..RefusalCounts::default() },
            interrupted: 1,
            longest_holder: Some(LongestHold {
                process: ProcessName { pid: 42, command: "python3 report.py".to_owned() },
                container: Some(container),
                role: "WRITE".to_owned(),
                held_ms: 31_200,
            }),
        };
        let quiet = HistoryRow { minute_unix_s: 1_777_863_720, path: "b.db".to_owned(), ..HistoryRow::default() };
        let mount = MountHistory {
            mountpoint: "/hoody/databases".to_owned(),
            pid: 7,
            now_unix_s: 1_777_863_780,
            missing: Some("/var/lib/x/history.db: disk I/O error".to_owned()),
            minutes: vec![busy, quiet],
        };
        History { mounts: vec![mount, MountHistory { mountpoint: "/b".to_owned(), ..MountHistory::default() }] }
    }

    #[test]
    fn a_night() {
        insta::assert_snapshot!(history(&example(), Style::default()));
    }

    #[test]
    fn json_schema_of_history() {
        insta::assert_snapshot!(super::super::json(&example()).unwrap());
    }
}
