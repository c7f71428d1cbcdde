//! The columns of the list, and which of them have room.

use super::Row;
use crate::render::top::{pinned, refusals, wait, who};
use crate::render::units::{bytes, count, millis, per_second};

/// One column.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: u16,
    /// Takes the room that is left.
    pub(super) is_wide: bool,
    pub(super) is_number: bool,
    /// 0 is left out last.
    rank: u8,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Database,
    Waiters,
    WaitRate,
    Trail,
    Held,
    Pid,
    Holder,
    Acquisitions,
    P50,
    P95,
    P99,
    Max,
    HoldP99,
    Refused,
    Wal,
    Pinned,
}

const fn number(title: &'static str, width: u16, rank: u8, what: What) -> Column {
    Column { title, width, is_wide: false, is_number: true, rank, what }
}

const fn words(title: &'static str, width: u16, rank: u8, what: What) -> Column {
    Column { title, width, is_wide: false, is_number: false, rank, what }
}

const fn wide(title: &'static str, width: u16, rank: u8, what: What) -> Column {
    Column { title, width, is_wide: true, is_number: false, rank, what }
}

/// Looks that the sparkline shows.
const TRAIL_WIDTH: u16 = 12;

/// In the order in which they stand.
const ALL: [Column; 16] = [
    wide("DATABASE", 10, 0, What::Database),
    number("WAIT", 4, 1, What::Waiters),
    number("WAITS/S", 7, 2, What::WaitRate),
    words("TREND", TRAIL_WIDTH, 8, What::Trail),
    number("HELD", 7, 3, What::Held),
    number("PID", 7, 5, What::Pid),
    number("ACQ/S", 7, 6, What::Acquisitions),
    number("P50", 7, 11, What::P50),
    number("P95", 7, 12, What::P95),
    number("P99", 7, 4, What::P99),
    number("MAX", 7, 9, What::Max),
    number("HOLD P99", 8, 13, What::HoldP99),
    words("REFUSED", 20, 10, What::Refused),
    number("WAL", 7, 14, What::Wal),
    words("PINNED BY", 26, 15, What::Pinned),
    wide("HOLDER", 16, 7, What::Holder),
];

/// Those that have room, in their order.
pub(super) fn that_fit(width: u16) -> Vec<&'static Column> {
    static COLUMNS: [Column; 16] = ALL;
    let mut ranked: Vec<&Column> = COLUMNS.iter().collect();
    ranked.sort_by_key(|column| column.rank);
    let mut used = 0;
    // A narrow column of a later rank does not take the room that an earlier one did not have.
    let fitting = ranked.iter().take_while(|column| {
        used += column.width + u16::from(used > 0);
        used <= width || column.rank == 0
    });
    let ranks: Vec<u8> = fitting.map(|column| column.rank).collect();
    COLUMNS.iter().filter(|column| ranks.contains(&column.rank)).collect()
}

impl Column {
    /// What stands in a row.
    pub(super) fn cell(&self, row: &Row<'_>, trail: &dyn Fn() -> Vec<u64>) -> String {
        let database = row.database;
        let holder = database.holder.as_ref();
        match self.what {
            What::Database => row.name(),
            What::Waiters => count(database.waiters_total),
            What::WaitRate => per_second(database.waits_per_s),
            What::Trail => sparkline(&trail()),
            What::Held => database.hold_age_ms.map(millis).unwrap_or_default(),
            What::Pid => holder.map(|holder| holder.process.pid.to_string()).unwrap_or_default(),
            What::Holder => holder.map(|one| who(&one.process, one.container.as_ref())).unwrap_or_default(),
            What::Acquisitions => per_second(database.acquisitions_per_s),
            What::P50 => wait(database.wait_p50_us),
            What::P95 => wait(database.wait_p95_us),
            What::P99 => wait(database.wait_p99_us),
            What::Max => wait(database.wait_max_us),
            What::HoldP99 => wait(database.hold_p99_us.unwrap_or(0)),
            What::Refused => refusals(database),
            What::Wal => database.wal_bytes.map(bytes).unwrap_or_default(),
            What::Pinned => database.wal_pinned_by.as_ref().map(pinned).unwrap_or_default(),
        }
    }
}

/// The last looks as bars, the highest as high as the line.
pub(super) fn sparkline(trail: &[u64]) -> String {
    const BARS: [char; 9] =
        [' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    let shown = &trail[trail.len().saturating_sub(usize::from(TRAIL_WIDTH))..];
    let highest = shown.iter().copied().max().unwrap_or(0).max(1);
    let bar =
        |value: &u64| BARS[usize::try_from((u128::from(*value) * 8).div_ceil(u128::from(highest))).unwrap_or(8).min(8)];
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(width: u16) -> Vec<&'static str> {
        that_fit(width).iter().map(|column| column.title).collect()
    }

    #[test]
    fn the_most_telling_columns_have_room_first() {
        assert_eq!(titles(1), ["DATABASE"]);
        assert_eq!(titles(20), ["DATABASE", "WAIT"]);
        assert_eq!(titles(40), ["DATABASE", "WAIT", "WAITS/S", "HELD", "P99"]);
        assert_eq!(titles(500).len(), ALL.len());
    }

    #[test]
    fn bars_are_as_high_as_the_highest() {
        assert_eq!(sparkline(&[0, 1, 8]), " \u{2581}\u{2588}");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[u64::MAX, 0]), "\u{2588} ");
        assert_eq!(sparkline(&[1; 100]).chars().count(), usize::from(TRAIL_WIDTH));
    }
}
