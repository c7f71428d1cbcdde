//! Moments as backups are named by: `20261123T160405.123Z`, in UTC.
//!
//! Called by the other files of this room; the calendar is the crate `time`'s.

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

const NAME: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");
const TEXT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A moment, in whole milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

/// This moment.
pub fn now() -> Stamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Stamp {
    /// As it stands in a file name.
    pub fn name(self) -> String {
        self.moment().format(NAME).unwrap_or_default()
    }

    /// As it stands in a manifest: `2026-11-23T16:04:05.123Z`.
    pub fn text(self) -> String {
        self.moment().format(TEXT).unwrap_or_default()
    }

    /// From a file name; none if it is no such moment.
    pub fn parse(name: &str) -> Option<Self> {
        let moment = time::PrimitiveDateTime::parse(name, NAME).ok()?.assume_offset(UtcOffset::UTC);
        u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// The hour, day, week (ISO 8601), month and year, each as a number that no other of its kind has.
    pub(super) fn periods(self) -> [i64; 5] {
        let moment = self.moment();
        let (year, day) = (i64::from(moment.year()), i64::from(moment.to_julian_day()));
        let month = year * 12 + i64::from(u8::from(moment.month()));
        // A julian day that is divisible by 7 is a Monday.
        [day * 24 + i64::from(moment.hour()), day, day.div_euclid(7), month, year]
    }

    /// The latest that the calendar knows where it is beyond.
    fn moment(self) -> OffsetDateTime {
        let nanos = i128::from(self.0) * 1_000_000;
        let latest = time::PrimitiveDateTime::MAX.assume_utc();
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_again_and_sort_by_time() {
        let stamp = Stamp(1_795_449_845_123);
        assert_eq!(stamp.name(), "20261123T160405.123Z");
        assert_eq!(stamp.text(), "2026-11-23T16:04:05.123Z");
        assert_eq!(Stamp::parse(&stamp.name()), Some(stamp));
        assert!(Stamp(999).name() < Stamp(1_000).name());
        for wrong in ["", "20261123T160405Z", "20261323T160405.123Z", "20261123T160405.123Zx", "x"] {
            assert_eq!(Stamp::parse(wrong), None, "{wrong}");
        }
        assert!(!Stamp(u64::MAX).name().is_empty());
    }

    #[test]
    fn weeks_begin_on_monday() {
        let week = |name: &str| Stamp::parse(name).unwrap().periods()[2];
        assert_eq!(week("20261123T000000.000Z"), week("20261129T235959.999Z"));
        assert_ne!(week("20261122T235959.999Z"), week("20261123T000000.000Z"));
    }
}
