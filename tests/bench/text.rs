//! Figures and tables as text. Called by the report and the plots; it knows no case.

use crate::statistics::Spread;

/// Microseconds in the unit that suits them.
pub fn us(us: f64) -> String {
    match us.abs() {
        small if small < 1e3 => format!("{} us", figures(us)),
        middle if middle < 1e6 => format!("{} ms", figures(us / 1e3)),
        _ => format!("{} s", figures(us / 1e6)),
    }
}

/// A ratio.
pub fn times(ratio: f64) -> String {
    let digits = if ratio.abs() < 0.095 { 3 } else { 2 };
    format!("{ratio:.digits$}x")
}

/// Kibibytes.
pub fn kib(kib: f64) -> String {
    format!("{} KiB", count(kib))
}

/// A rate or a count.
pub fn count(count: f64) -> String {
    if count.abs() < 1_000.0 { figures(count) } else { grouped(count.round() as u64) }
}

/// With commas between the thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A size of a file.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        small if small < 1_000_000_000 => format!("{} MB", figures(small as f64 / 1e6)),
        large => format!("{} GB", figures(large as f64 / 1e9)),
    }
}

/// The median, and the range if there is one.
pub fn spread(spread: Spread, format: fn(f64) -> String) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(format);
    if min == max { median } else { format!("{median} ({min} .. {max})") }
}

/// Three figures, but no fraction of what is above a hundred.
fn figures(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        small if small < 10.0 => trimmed(format!("{number:.2}")),
        middle if middle < 100.0 => trimmed(format!("{number:.1}")),
        _ => format!("{number:.0}"),
    }
}

fn trimmed(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A table in Markdown; the first `words` columns are words, the others figures.
pub fn table(words: usize, head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<&str> = (0..head.len()).map(|column| if column < words { "---" } else { "---:" }).collect();
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [line(head.to_vec()), format!("|{}|\n", rule.join("|"))].into_iter().chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        assert_eq!(us(8.876), "8.88 us");
        assert_eq!(us(56.81), "56.8 us");
        assert_eq!(us(1_048.6), "1.05 ms");
        assert_eq!(us(1_257_242.6), "1.26 s");
        assert_eq!(us(-1_200.0), "-1.2 ms");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(104_704.6), "104,705");
        assert_eq!(count(999.4), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(bytes(20_000_000_000), "20 GB");
    }

    #[test]
    fn a_spread_without_a_range_is_its_median() {
        let of = |values: &[f64]| spread(Spread::of(values.iter().copied()).expect("values"), times);
        assert_eq!(of(&[0.05]), "0.050x");
        assert_eq!(of(&[2.0, 1.0, 3.0]), "2.00x (1.00x .. 3.00x)");
    }
}
