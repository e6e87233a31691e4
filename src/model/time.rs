//! Time as the program uses it: wall time in milliseconds, and a clock that tests can hold.
//!
//! Two clocks, never mixed: [`Clock::wall`] names moments, [`Clock::monotonic`] measures waits.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::limits::{AT_MS_END, AT_MS_MIN};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimestampMs(pub u64);

/// Why a value cannot be the time of an update.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTime {
    #[error("at is {0}, which looks like seconds; send Unix milliseconds or RFC 3339")]
    LooksLikeSeconds(i64),
    #[error("at is {0}, before 1970")]
    BeforeEpoch(String),
    #[error("at is {0}, after 2200")]
    TooLate(String),
    #[error("at is {0:?}; send Unix milliseconds or RFC 3339 like 2025-11-24T16:00:00Z")]
    NotATime(String),
}

impl TimestampMs {
    /// Parses Unix milliseconds.
    ///
    /// # Errors
    /// [`InvalidTime`]: negative, below 10^11 (looks like seconds), or from the year 2200 on.
    pub fn from_unix_ms(ms: i64) -> Result<Self, InvalidTime> {
        if ms < 0 {
            return Err(InvalidTime::BeforeEpoch(ms.to_string()));
        }
        if ms.unsigned_abs() < AT_MS_MIN {
            return Err(InvalidTime::LooksLikeSeconds(ms));
        }
        Self::bounded(ms.unsigned_abs(), || ms.to_string())
    }

    /// Parses an RFC 3339 text with an offset; finer than a millisecond is cut off.
    ///
    /// # Errors
    /// [`InvalidTime`]: not a time, before 1970, or from the year 2200 on.
    pub fn from_rfc3339(text: &str) -> Result<Self, InvalidTime> {
        let shown = || text.chars().take(64).collect::<String>();
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTime::NotATime(shown()))?;
        let ms =
            u64::try_from(time.as_millisecond()).map_err(|_| InvalidTime::BeforeEpoch(shown()))?;
        Self::bounded(ms, shown)
    }

    fn bounded(ms: u64, shown: impl Fn() -> String) -> Result<Self, InvalidTime> {
        if ms >= AT_MS_END {
            return Err(InvalidTime::TooLate(shown()));
        }
        Ok(Self(ms))
    }
}

/// RFC 3339 in UTC with milliseconds, as on the wire: `2025-11-24T16:00:00.123Z`.
impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time =
            i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match time {
            Some(time) => write!(f, "{time:.3}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// Parses a duration in jiff's friendly format (`2s`, `1h 30m`, `7d`), where a day has 24 hours.
/// `None` if it is none, has no unit or is negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(exact).ok()
}

/// Where the time comes from: the machine, or a test.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    Manual(ManualClock),
}

impl Clock {
    /// The moment now, by the machine's wall clock; it may jump.
    pub fn wall(&self) -> TimestampMs {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let ms = since.unwrap_or_default().as_millis();
                TimestampMs(u64::try_from(ms).unwrap_or(u64::MAX))
            }
            Self::Manual(clock) => TimestampMs(clock.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// Time since some fixed moment of this process; it never goes back.
    pub fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        match self {
            Self::System => START.get_or_init(Instant::now).elapsed(),
            Self::Manual(clock) => Duration::from_millis(clock.monotonic_ms.load(Ordering::SeqCst)),
        }
    }

    /// True if time passes only when a test says so; a waiting loop then waits for a call alone.
    pub fn is_manual(&self) -> bool {
        matches!(self, Self::Manual(_))
    }
}

/// A clock that stands still until it is moved. Clones share their time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    wall_ms: Arc<AtomicU64>,
    monotonic_ms: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock whose wall time is `wall` and whose monotonic time is zero.
    pub fn at(wall: TimestampMs) -> Self {
        let clock = Self::default();
        clock.wall_ms.store(wall.0, Ordering::SeqCst);
        clock
    }

    /// Moves both clocks on. Whoever waits must be woken by the caller.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, forwards or back, as an administrator or NTP would.
    pub fn set_wall(&self, wall: TimestampMs) {
        self.wall_ms.store(wall.0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_1970_to_2200_are_refused() {
        assert!(TimestampMs::from_unix_ms(1_764_000_000_123).is_ok());
        for bad in [-1, 0, 1_764_000_000, 99_999_999_999, 7_258_118_400_000, i64::MAX] {
            assert!(TimestampMs::from_unix_ms(bad).is_err(), "{bad}");
        }
        for bad in ["", "yesterday", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "2025-11-24"] {
            assert!(TimestampMs::from_rfc3339(bad).is_err(), "{bad}");
        }
        let time = TimestampMs::from_rfc3339("2025-11-24T17:00:00.1239+01:00").unwrap();
        assert_eq!(time.to_string(), "2025-11-24T16:00:00.123Z");
    }
}
