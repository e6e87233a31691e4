//! Moments on the wire: RFC 3339 in UTC with milliseconds, `"2025-11-24T16:00:00.123Z"`.
//!
//! An answer holds up to six of them for each job, so they are put together here, digit by digit;
//! a test compares them with those of jiff. Reading is left to the model.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::words;
use crate::model::TimestampMs;

/// A moment in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeBody(pub TimestampMs);

impl Serialize for TimeBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match rfc3339(self.0) {
            // The bytes are ASCII by construction.
            Some(text) => serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default()),
            None => serializer.collect_str(&self.0),
        }
    }
}

const DAY_MS: u64 = 86_400_000;
/// The year 9999, in which the range of jiff ends.
const END_MS: u64 = 253_370_764_800_000;

/// The text of a moment before the year 9999; `None` for a later one.
fn rfc3339(moment: TimestampMs) -> Option<[u8; 24]> {
    let TimestampMs(ms) = moment;
    if ms >= END_MS {
        return None;
    }
    let (year, month, day) = civil(ms / DAY_MS);
    let of_day = ms % DAY_MS;
    let [century_tens, century] = two(year / 100);
    let [decade, year] = two(year);
    let [month_tens, month] = two(month);
    let [day_tens, day] = two(day);
    let [hour_tens, hour] = two(of_day / 3_600_000);
    let [minute_tens, minute] = two(of_day / 60_000 % 60);
    let [second_tens, second] = two(of_day / 1_000 % 60);
    let [_, hundreds] = two(of_day % 1_000 / 100);
    let [tens, ones] = two(of_day % 100);
    #[rustfmt::skip]
    let text = [
        century_tens, century, decade, year, b'-', month_tens, month, b'-', day_tens, day,
        b'T', hour_tens, hour, b':', minute_tens, minute, b':', second_tens, second,
        b'.', hundreds, tens, ones, b'Z',
    ];
    Some(text)
}

/// The last two digits of a number.
fn two(number: u64) -> [u8; 2] {
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or(0);
    [digit(number / 10), digit(number)]
}

/// Year, month and day of a day after 1970-01-01, by the algorithm `civil_from_days` of Howard
/// Hinnant (<https://howardhinnant.github.io/date_algorithms.html>): years begin in March, so that
/// the leap day is the last, and repeat in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

impl<'de> Deserialize<'de> for TimeBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;
        impl Visitor<'_> for Rfc3339 {
            type Value = TimeBody;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time like 2025-11-24T16:00:00.123Z")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TimeBody, E> {
                TimestampMs::from_rfc3339(text).map(TimeBody).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Rfc3339).map_err(D::Error::custom)
    }
}

impl PartialSchema for TimeBody {
    fn schema() -> RefOr<Schema> {
        words::Time::schema()
    }
}

impl ToSchema for TimeBody {
    fn name() -> std::borrow::Cow<'static, str> {
        words::Time::name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(ms: u64) -> String {
        let json = serde_json::to_string(&TimeBody(TimestampMs(ms))).unwrap();
        json.trim_matches('"').to_owned()
    }

    #[test]
    fn every_day_until_2500_reads_as_that_of_the_model() {
        for day in 0..193_600 {
            let ms = day * DAY_MS + day * 7_919 % DAY_MS;
            assert_eq!(text(ms), TimestampMs(ms).to_string());
        }
    }

    #[test]
    fn the_ends_read_as_those_of_the_model() {
        for ms in [0, 1, DAY_MS - 1, DAY_MS, END_MS - 1, END_MS, u64::MAX] {
            assert_eq!(text(ms), TimestampMs(ms).to_string());
        }
        assert_eq!(text(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
    }

    proptest! {
        #[test]
        fn any_moment_reads_as_that_of_the_model(ms in 0..END_MS) {
            prop_assert_eq!(text(ms), TimestampMs(ms).to_string());
        }
    }
}
