//! Amounts as people write them: `8MiB`, `2s`, `7d`; and back again.
//!
//! Bytes are powers of two (`KiB`, `MiB`, `GiB`, `TiB`) or a plain number of bytes; decimal units
//! are refused, because nobody can tell which `MB` was meant. Durations are jiff's friendly format
//! (`1h 30m`, `250ms`), where a day has 24 hours; a bare number is refused, as it has no unit.

use std::time::Duration;

pub use crate::model::parse_duration;

const BYTE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Longest first; each is a whole number of the next.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses an amount of bytes: `8388608`, `8MiB`, `1.5 GiB`. `None` if it is none.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number = number.trim_end().replace('_', "");
    let scale = match unit {
        "" => 1,
        unit => BYTE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    parse_fraction(&number, scale)
}

/// `1.5` of `scale`, if that is a whole number of bytes.
fn parse_fraction(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.')?;
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 6)?;
    let fraction: u64 = fraction.parse().ok()?;
    let divisor = 10_u64.pow(digits);
    let part = fraction.checked_mul(scale)?;
    let part = part.is_multiple_of(divisor).then_some(part / divisor)?;
    whole.checked_mul(scale)?.checked_add(part)
}

/// The shortest exact spelling: `8MiB`, `1000` bytes as `1000B`.
pub fn format_bytes(bytes: u64) -> String {
    let exact = |scale: u64| bytes >= scale && bytes.is_multiple_of(scale);
    let unit = BYTE_UNITS.iter().find(|(_, scale)| exact(*scale));
    unit.map_or_else(|| "0B".to_owned(), |(name, scale)| format!("{}{name}", bytes / scale))
}

/// Spells a duration in its units, down to milliseconds: `1d12h`, `2s`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in TIME_UNITS {
        if rest_ms >= unit_ms {
            text.push_str(&format!("{}{name}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_powers_of_two_or_plain_numbers() {
        for (text, bytes) in [
            ("0", 0),
            ("8388608", 8 << 20),
            ("8_388_608", 8 << 20),
            ("8MiB", 8 << 20),
            ("8 mib", 8 << 20),
            ("1.5KiB", 1536),
            ("512B", 512),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for bad in ["", "8MB", "8M", "-1", "MiB", "1.3B", "99999999TiB", "8MiB8", "1.2.3KiB"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_know_days() {
        for (text, ms) in [
            ("2s", 2_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("1h 30m", 5_400_000),
            ("7d", 604_800_000),
            ("1 week", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "2", "s", "-2s", "2 fortnights", "two seconds", "1 month"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_formatted_parses_back() {
        for bytes in [0, 1, 1000, 1024, 1536, 8 << 20, (8 << 20) + 1, 1 << 40] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes));
        }
        for ms in [0, 1, 999, 1_000, 1_001, 90_000, 86_400_000, 133_200_500] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
        assert_eq!(format_bytes(8 << 20), "8MiB");
        assert_eq!(format_duration(Duration::from_secs(36 * 3600)), "1d12h");
    }
}
