//! Numbers as people read them.
//!
//! Called by the other files of this room; three digits are enough, and the unit always stands beside the number.

/// Microseconds as `12 us`, `1.2 ms`, `3.4 s`.
pub(super) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..10_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => seconds(us / 1_000_000),
    }
}

/// Milliseconds as `12 ms`, `3.4 s`.
pub(super) fn millis(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { micros(ms.saturating_mul(1_000)) }
}

/// Seconds as `59 s`, `3 min 5 s`, `2 h 3 min`, `4 d 1 h`.
pub(super) fn seconds(s: u64) -> String {
    let (minutes, hours, days) = (s / 60, s / 3_600, s / 86_400);
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{minutes} min {} s", s % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Bytes as `512 B`, `1.2 MB`, `34 GB`: powers of 1000, as disks are sold and SI has it.
pub fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let power = ((number.ilog10() / 3) as usize).min(units.len());
    let value = number as f64 / 1000_f64.powi(i32::try_from(power).unwrap_or(0));
    if value < 10.0 { format!("{value:.1} {}", units[power - 1]) } else { format!("{value:.0} {}", units[power - 1]) }
}

/// `12345678` as `12,345,678`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate as `0`, `0.4`, `12`, `3,456`.
pub(super) fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_has_its_unit() {
        let shown: Vec<_> =
            [0, 999, 1_000, 9_999, 10_000, 999_999, 1_000_000, 59_000_000, 61_000_000].map(micros).into();
        assert_eq!(shown, ["0 us", "999 us", "1.0 ms", "10.0 ms", "10 ms", "999 ms", "1.0 s", "59 s", "1 min 1 s"]);
        assert_eq!([0, 999, 1_500].map(millis), ["0 ms", "999 ms", "1.5 s"]);
        assert_eq!([59, 185, 7_380, 349_200].map(seconds), ["59 s", "3 min 5 s", "2 h 3 min", "4 d 1 h"]);
    }

    #[test]
    fn sizes_have_their_units() {
        let shown = [0, 999, 1_000, 9_949, 12_300_000, 2_347_315_200, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "9.9 kB", "12 MB", "2.3 GB", "18 EB"]);
    }

    #[test]
    fn rates_are_short() {
        assert_eq!([0.0, 0.04, 0.4, 9.99, 10.4, 3456.0].map(per_second), ["0", "0.0", "0.4", "10.0", "10", "3,456"]);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(count), ["0", "999", "1,000", "12,345,678"]);
    }
}
