//! Counts and sizes, each with its range.
//!
//! Sizes are binary and say so: `128KB` is refused rather than guessed at.

use super::Form;
use crate::config::given::{Given, Reading, refuse};

/// A whole number from the first to the second, both included.
pub struct Count(pub u64, pub u64);

/// Bytes, as a number or with a unit, from the first to the second, both included.
pub struct Size(pub u64, pub u64);

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

const UNITS: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// What a number of any width has in common.
pub trait Width: TryFrom<u64> + TryInto<u64> + Copy {}
impl<T: TryFrom<u64> + TryInto<u64> + Copy> Width for T {}

impl<T: Width> Form<T> for Count {
    fn read(&self, given: Given<'_>) -> Reading<T> {
        fit(u64::try_from(given.integer()?).ok(), self.0, self.1)
    }

    fn print(&self, value: &T) -> String {
        wide(*value).to_string()
    }

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }
}

impl<T: Width> Form<T> for Size {
    fn read(&self, given: Given<'_>) -> Reading<T> {
        if let Ok(bytes) = given.integer() {
            return fit(u64::try_from(bytes).ok(), self.0, self.1);
        }
        match parse_size(given.text()?) {
            Some(bytes) => fit(bytes, self.0, self.1),
            None => refuse("is not a size"),
        }
    }

    fn print(&self, value: &T) -> String {
        format!("\"{}\"", print_size(wide(*value)))
    }

    fn accepts(&self) -> String {
        format!(
            "bytes, or a size in B, KiB, MiB or GiB such as \"64KiB\", from {} to {}",
            print_size(self.0),
            print_size(self.1)
        )
    }
}

/// `None` if it is no size at all; `Some(None)` if it is one that no machine counts to.
fn parse_size(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim_start();
    let factor = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)))
}

/// In the largest unit that divides it.
fn print_size(bytes: u64) -> String {
    let divides = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    match UNITS.iter().find(divides) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn fit<T: Width>(number: Option<u64>, least: u64, most: u64) -> Reading<T> {
    match number.filter(|number| (least..=most).contains(number)).map(T::try_from) {
        Some(Ok(number)) => Ok(number),
        _ => refuse("is out of range"),
    }
}

/// Settings are unsigned and at most 64 bits wide, so nothing is lost.
fn wide<T: Width>(value: T) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{KIB, MIB, parse_size, print_size};

    #[test]
    fn a_size_is_read_as_it_is_printed() {
        for bytes in [0, 1, 1023, KIB, 1500, 128 * KIB, MIB, 3 * MIB + KIB, 5 << 30] {
            assert_eq!(parse_size(&print_size(bytes)), Some(Some(bytes)));
        }
    }

    #[test]
    fn a_size_may_stand_without_unit_or_with_a_space() {
        assert_eq!(parse_size("131072"), Some(Some(128 * KIB)));
        assert_eq!(parse_size(" 128 KiB "), Some(Some(128 * KIB)));
    }

    #[test]
    fn what_is_ambiguous_or_no_size_is_refused() {
        for text in ["", "KiB", "128KB", "128k", "1.5MiB", "-1KiB", "0x10", "1 2KiB", "é"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
        assert_eq!(parse_size("99999999999999999999GiB"), Some(None));
    }
}
