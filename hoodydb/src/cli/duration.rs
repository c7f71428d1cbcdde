//! Lengths of time as users type them: `500ms`, `30s`, `2m`, `1h`.
//!
//! Called by clap for `--max-wait` and `--drain`; a number without a unit is refused, as it could mean anything.

use std::time::Duration;

/// Parses one number with a unit; the answer to a bad one says what a good one is.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = &text[digits.len()..];
    let refusal = || format!("'{text}' is no length of time: write a whole number with ms, s, m or h, such as 30s");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(refusal());
    }
    let number: u64 = digits.parse().map_err(|_| refusal())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refusal()),
    };
    // A year: far beyond any use, and far below what a clock in nanoseconds can count.
    let millis = number.checked_mul(unit_ms).filter(|millis| *millis <= 365 * 24 * 3_600_000);
    millis.map(Duration::from_millis).ok_or_else(|| format!("'{text}' is too long: a year is the most"))
}

/// The same, where a number without a unit is seconds, as in the HTTP interface.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let is_bare = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if is_bare { parse(&format!("{text}s")) } else { parse(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit() {
        let parsed: Vec<_> = ["0s", "500ms", "30s", "2m", "1h"].map(|text| parse(text).unwrap().as_millis()).into();
        assert_eq!(parsed, [0, 500, 30_000, 120_000, 3_600_000]);
    }

    #[test]
    fn what_is_no_length_of_time() {
        for text in ["", "s", "30", "1.5s", "-1s", "1 s", "1d", "s1", "1s1", "99999999999999999999s", "\u{663}s"] {
            assert!(parse(text).unwrap_err().contains("no length of time"), "{text}");
        }
        assert!(parse("9000h").unwrap_err().contains("a year"));
        assert!(parse("18446744073709551615h").unwrap_err().contains("a year"));
    }
}
