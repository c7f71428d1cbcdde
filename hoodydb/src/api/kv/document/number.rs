//! Numbers of a document: their text as it was written, and their value whatever the text.
//!
//! Called by [`super`]. No number goes through floating point: digits are compared as digits.

/// A number by its text.
#[derive(Clone, Debug)]
pub(in crate::api::kv) struct Number(String);

impl Number {
    /// A number whose text is one of JSON.
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The integer that the text is; none if it has a fraction or an exponent, or more than 64 bits.
    pub(in crate::api::kv) fn integer(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// Sign, digits without zeros at either end, and the power of ten of the last digit.
    fn value(&self) -> (bool, String, i128) {
        let (is_negative, text) = self.0.strip_prefix('-').map_or((false, self.0.as_str()), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            return (false, String::new(), 0);
        }
        let zeros = digits.len() - digits.trim_end_matches('0').len();
        // An exponent of more than 64 bits is as good as any other such one: no two documents of real use differ in it.
        let exponent = exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
        let shift = i128::try_from(zeros).unwrap_or(0) - i128::try_from(fraction.len()).unwrap_or(0);
        (is_negative, significant.to_owned(), i128::from(exponent) + shift)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.value() == other.value()
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        let equal = |one, other| Number::new(one) == Number::new(other);
        for (one, other) in
            [("1", "1.0"), ("100", "1e2"), ("-0", "0.000"), ("0.5", "5E-1"), ("1.50e+1", "15"), ("-2", "-2.0")]
        {
            assert!(equal(one, other), "{one} {other}");
        }
        for (one, other) in
            [("1", "-1"), ("1", "10"), ("0.1", "0.10000000000000001"), ("18446744073709551616", "18446744073709551617")]
        {
            assert!(!equal(one, other), "{one} {other}");
        }
    }

    #[test]
    fn integers_are_told_from_other_numbers() {
        assert_eq!(Number::new("-9223372036854775808").integer(), Some(i64::MIN));
        for text in ["1.0", "1e2", "9223372036854775808"] {
            assert_eq!(Number::new(text).integer(), None, "{text}");
        }
    }
}
