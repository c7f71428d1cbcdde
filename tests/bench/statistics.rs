//! Medians, ratios and their spread over the rounds of a run. Called by the report; it knows no case.

/// A median, and the smallest and largest value that it was taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The value in the middle, or the mean of the two there.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of values in any order; none of no values, or of values that are no numbers.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        if sorted.iter().any(|value| !value.is_finite()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// Of one by the other, round by round: what disturbed a round disturbed both.
    pub fn of_ratios(ours: impl IntoIterator<Item = f64>, theirs: impl IntoIterator<Item = f64>) -> Option<Self> {
        Self::of(ours.into_iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }
}

/// The smallest value that `part` of all values do not exceed; none of no values.
pub fn percentile(sorted: &[u64], part: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64, min: f64, max: f64) -> Option<Spread> {
        Some(Spread { median, min, max })
    }

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(Spread::of([5.0, 1.0, 3.0]), spread(3.0, 1.0, 5.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]), spread(3.0, 1.0, 100.0));
        assert_eq!(Spread::of([7.0]), spread(7.0, 7.0, 7.0));
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_division_by_nothing_is_no_ratio() {
        assert_eq!(Spread::of_ratios([1.0], [0.0]), None);
        assert_eq!(Spread::of_ratios([0.0], [0.0]), None);
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        assert_eq!(Spread::of_ratios([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]), spread(2.0, 1.0, 3.0));
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(50));
        assert_eq!(percentile(&sorted, 0.99), Some(99));
        assert_eq!(percentile(&sorted, 1.0), Some(100));
        assert_eq!(percentile(&[8], 0.01), Some(8));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
