//! Which backups are kept: the last ones, and the last of each of the last hours, days, weeks, months, years.
//!
//! Called by `hoodydb backup` after each backup. Pure; the newest backup is always kept.

use std::collections::BTreeSet;

use super::Stamp;

/// How many of which are kept; nothing is ever removed where all are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Keep {
    /// The last ones.
    pub last: Option<u32>,
    /// One for each of so many hours that have one.
    pub hourly: Option<u32>,
    /// One for each of so many days that have one.
    pub daily: Option<u32>,
    /// One for each of so many weeks that have one.
    pub weekly: Option<u32>,
    /// One for each of so many months that have one.
    pub monthly: Option<u32>,
    /// One for each of so many years that have one.
    pub yearly: Option<u32>,
}

impl Keep {
    fn is_everything(self) -> bool {
        self == Self::default()
    }
}

/// The backups that no rule keeps. A period without a backup costs nothing: periods are counted that have one.
pub fn to_remove(keep: Keep, backups: &[Stamp]) -> Vec<Stamp> {
    if keep.is_everything() {
        return Vec::new();
    }
    let mut newest_first: Vec<Stamp> = backups.to_vec();
    newest_first.sort_unstable_by(|one, other| other.cmp(one));
    newest_first.dedup();
    let count = |number: Option<u32>| number.unwrap_or(0) as usize;
    let mut kept: BTreeSet<Stamp> = newest_first.iter().take(count(keep.last).max(1)).copied().collect();
    for (index, rule) in [keep.hourly, keep.daily, keep.weekly, keep.monthly, keep.yearly].into_iter().enumerate() {
        let mut seen = BTreeSet::new();
        // The last of each period.
        let firsts = newest_first.iter().filter(|stamp| seen.insert(stamp.periods()[index]));
        kept.extend(firsts.take(count(rule)));
    }
    newest_first.retain(|stamp| !kept.contains(stamp));
    newest_first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(names: &[&str]) -> Vec<Stamp> {
        names.iter().map(|name| Stamp::parse(&format!("2026{name}0000.000Z")).unwrap()).collect()
    }

    #[test]
    fn without_a_rule_everything_is_kept() {
        assert!(to_remove(Keep::default(), &stamps(&["1101T01", "1102T01"])).is_empty());
    }

    #[test]
    fn the_last_ones_are_kept_and_the_newest_always() {
        let backups = stamps(&["1103T01", "1101T01", "1102T01"]);
        assert_eq!(to_remove(Keep { last: Some(2), ..Keep::default() }, &backups), stamps(&["1101T01"]));
        assert_eq!(to_remove(Keep { last: Some(0), ..Keep::default() }, &backups), stamps(&["1102T01", "1101T01"]));
    }

    #[test]
    fn rules_add_up_and_periods_without_a_backup_do_not_count() {
        let backups = stamps(&["1001T05", "1020T05", "1101T05", "1101T09", "1102T05", "1102T09", "1109T05"]);
        let keep = Keep { last: Some(1), daily: Some(3), monthly: Some(2), ..Keep::default() };
        // Days 9, 2 and 1 of November; the last of October for its month.
        assert_eq!(to_remove(keep, &backups), stamps(&["1102T05", "1101T05", "1001T05"]));
    }
}
