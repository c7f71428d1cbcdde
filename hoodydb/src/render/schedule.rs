//! The text of schedules: in `status`, and of `hoodydb backup schedule`.

use super::Style;
use super::units::{bytes, count, millis, seconds};
use crate::model::{MountStatus, ScheduleStatus, Status, printable};

/// The schedules of every mount.
pub fn schedules(status: &Status, style: Style) -> String {
    let mounts = status.mounts.iter().map(|mount| {
        let mut text = format!("{}\n", style.bold(&printable(&mount.mountpoint)));
        if mount.schedules.is_empty() && mount.schedules_error.is_none() {
            text.push_str("  no schedule: add one with hoodydb backup schedule add\n");
        }
        text.push_str(&of_mount(mount, style));
        text
    });
    mounts.collect::<Vec<_>>().join("\n")
}

/// A line per schedule of a mount, and the warnings.
pub(super) fn of_mount(mount: &MountStatus, style: Style) -> String {
    let mut text: String = mount.schedules.iter().map(|one| schedule(one, style)).collect();
    if let Some(error) = &mount.schedules_error {
        text.push_str(&format!(
            "{}: no backup is made by a schedule: {}\n",
            style.warning("WARNING"),
            printable(error)
        ));
    }
    text
}

/// One schedule: a line, and a warning if it failed.
pub fn schedule(schedule: &ScheduleStatus, style: Style) -> String {
    let what = match schedule.databases.as_slice() {
        [] => "all databases".to_owned(),
        [one] => printable(one),
        [one, others @ ..] => format!("{} and {} more", printable(one), others.len()),
    };
    let last = match &schedule.last {
        None => "no run has ended yet".to_owned(),
        Some(run) if run.ok => format!(
            "last {} ago: {} backups, {} in {}",
            seconds(run.age_s),
            count(run.backups),
            bytes(run.file_bytes),
            millis(run.duration_ms)
        ),
        Some(run) => format!("last {} ago: failed", seconds(run.age_s)),
    };
    let next = match schedule.running {
        true => "runs now".to_owned(),
        false => format!("next in {}", seconds(schedule.next_in_s)),
    };
    let mut text = format!(
        "  backup {}   {what} every {} to {}; {last}; {next}\n",
        schedule.id,
        seconds(schedule.every_s),
        printable(&schedule.to)
    );
    if let Some(run) = schedule.last.as_ref().filter(|run| !run.ok) {
        let again = match schedule.failures_in_a_row {
            0 | 1 => String::new(),
            times => format!(", {} times in a row", count(times)),
        };
        text.push_str(&format!(
            "{}: backup schedule {} failed{again}: {}\n",
            style.warning("WARNING"),
            schedule.id,
            run.error.as_ref().map_or_else(String::new, printable)
        ));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::ScheduleRun;

    pub(in crate::render) fn example() -> Vec<ScheduleStatus> {
        let run = ScheduleRun {
            ok: true,
            started_s: 1_795_449_845,
            age_s: 65,
            duration_ms: 3_400,
            backups: 4,
            file_bytes: 1_200_000_000,
            ..ScheduleRun::default()
        };
        let good = ScheduleStatus {
            id: 1,
            to: "/var/backups/hoodydb".to_owned(),
            every_s: 3600,
            next_in_s: 3535,
            last: Some(run.clone()),
            runs_total: 9,
            ..ScheduleStatus::default()
        };
        let error = Some("evil\u{1b}.db: no space is left".to_owned());
        let bad = ScheduleStatus {
            id: 2,
            databases: vec!["evil\u{1b}.db".to_owned(), "b.db".to_owned()],
            running: true,
            last: Some(ScheduleRun { ok: false, error, ..run }),
            failures_total: 3,
            failures_in_a_row: 2,
            ..good.clone()
        };
        vec![good.clone(), bad, ScheduleStatus { id: 3, last: None, ..good }]
    }

    #[test]
    fn schedules_that_go_well_and_badly() {
        let mount = MountStatus { mountpoint: "/a".to_owned(), schedules: example(), ..MountStatus::default() };
        let broken = MountStatus {
            mountpoint: "/b".to_owned(),
            schedules_error: Some("schedules.json cannot be read".to_owned()),
            ..MountStatus::default()
        };
        let idle = MountStatus { mountpoint: "/c".to_owned(), ..MountStatus::default() };
        insta::assert_snapshot!(schedules(&Status { mounts: vec![mount, broken, idle] }, Style::default()));
    }
}
