//! `Connection pool pressure`: a warning when a bounded thing is nearly used up.
//!
//! One [`Pressure`] is shared by all pools of a process, so that together they warn at most four
//! times in any minute; whoever watches the log today counts these lines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::POOL_PRESSURE;

/// Warns above this share of a pool, in percent.
const PRESSURE_PERCENT: u128 = 80;
/// Time between two warnings: three or four in any 60 s, the ends included.
const PRESSURE_GAP: Duration = Duration::from_secs(20);

/// Lets one of many through, at most once in each `gap`. Pure: it is given the time.
#[derive(Clone, Debug)]
pub struct Limiter {
    gap: Duration,
    passed_at: Option<Duration>,
}

impl Limiter {
    pub const fn new(gap: Duration) -> Self {
        Self { gap, passed_at: None }
    }

    /// True if something may pass at `now` (monotonic); then the gap begins.
    pub fn pass(&mut self, now: Duration) -> bool {
        let is_open = self.open_at() <= now;
        if is_open {
            self.passed_at = Some(now);
        }
        is_open
    }

    /// The first moment at which something may pass.
    pub fn open_at(&self) -> Duration {
        self.passed_at.map_or(Duration::ZERO, |at| at.saturating_add(self.gap))
    }
}

/// What is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    QueueUpdates,
    QueueBytes,
    Connections,
}

impl Pool {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueUpdates => "queue_updates",
            Self::QueueBytes => "queue_bytes",
            Self::Connections => "connections",
        }
    }
}

/// Watches the bounded things of a process.
#[derive(Debug)]
pub struct Pressure {
    /// Locked only above 80 %, for a comparison.
    limiter: Mutex<Limiter>,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { limiter: Mutex::new(Limiter::new(PRESSURE_GAP)) }
    }
}

impl Pressure {
    /// Warns if more than 80 % of `max` are in use and the last warning is old enough; true if it
    /// did. `now` is monotonic.
    pub fn observe(&self, pool: Pool, in_use: usize, max: usize, now: Duration) -> bool {
        if in_use as u128 * 100 <= max as u128 * PRESSURE_PERCENT {
            return false;
        }
        if !self.limiter.lock().unwrap_or_else(PoisonError::into_inner).pass(now) {
            return false;
        }
        let percent = (in_use as u128 * 100).checked_div(max as u128).unwrap_or(100);
        tracing::warn!(
            event = POOL_PRESSURE,
            pool = pool.as_str(),
            in_use,
            max,
            percent = u64::try_from(percent).unwrap_or(u64::MAX),
            "Connection pool pressure"
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn pressure_begins_above_80_percent() {
        let is_warned = |in_use| Pressure::default().observe(Pool::QueueBytes, in_use, 100, START);
        assert!(!is_warned(80));
        assert!(is_warned(81));
        assert!(Pressure::default().observe(Pool::Connections, 1, 0, START));
        assert!(!Pressure::default().observe(Pool::Connections, usize::MAX / 2, usize::MAX, START));
    }

    proptest! {
        #[test]
        fn any_minute_holds_at_most_four_warnings_over_all_pools(
            waits_ms in prop::collection::vec(0_u64..30_000, 1..300),
        ) {
            let pressure = Pressure::default();
            let mut now = START;
            let mut warned_at = Vec::new();
            for (index, wait_ms) in waits_ms.into_iter().enumerate() {
                now += Duration::from_millis(wait_ms);
                let pool = [Pool::QueueUpdates, Pool::Connections][index % 2];
                if pressure.observe(pool, 1000, 1024, now) {
                    warned_at.push(now);
                }
            }
            prop_assert!(!warned_at.is_empty());
            for (index, at) in warned_at.iter().enumerate() {
                let minute = *at..=*at + Duration::from_secs(60);
                let warnings = warned_at[index..].iter().filter(|at| minute.contains(at)).count();
                prop_assert!(warnings <= 4, "{} from {:?}", warnings, at);
            }
        }
    }
}
