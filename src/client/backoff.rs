//! How long to wait before a call is tried again: a pure rule, and its pinch of chance.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What a server may ask for; more is a mistake of somebody's.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Waits that double, from 0.1 s to 5 s, until `retry_for` has passed since the first failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    retry_for: Duration,
    tries: u32,
}

impl Backoff {
    pub fn new(retry_for: Duration) -> Self {
        Self { retry_for, tries: 0 }
    }

    /// How long to wait now; `None` if it is time to give up. `failing_for` is the time since the
    /// first failure, `asked` what the server wants (it is obeyed, as far as there is time), and
    /// `chance` a number from 0 to 1 that spreads callers who failed together.
    pub fn next_wait(
        &mut self,
        failing_for: Duration,
        asked: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        let left = self.retry_for.checked_sub(failing_for).filter(|left| !left.is_zero())?;
        let doubled = FIRST_WAIT.saturating_mul(1 << self.tries.min(16)).min(LONGEST_WAIT);
        self.tries += 1;
        // At least half of it, so that a failing server is never called in a tight loop.
        let wait = doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        Some(asked.map_or(wait, |asked| asked.min(LONGEST_ASKED) + wait / 4).min(left))
    }
}

/// A number from 0 to 1 that differs between processes and calls.
pub fn chance() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn waits_double_up_to_a_bound_and_end_in_time() {
        let mut backoff = Backoff::new(MINUTE);
        let mut failing_for = Duration::ZERO;
        let mut waits = Vec::new();
        while let Some(wait) = backoff.next_wait(failing_for, None, 1.0) {
            failing_for += wait;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits[..7], [100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(failing_for, MINUTE);
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed() {
        let wait = |asked| Backoff::new(MINUTE).next_wait(Duration::ZERO, asked, 0.0);
        assert_eq!(wait(None), Some(Duration::from_millis(50)));
        assert!(wait(Some(Duration::from_secs(3))).unwrap() >= Duration::from_secs(3));
        assert_eq!(wait(Some(Duration::MAX)), Some(MINUTE));
        assert_eq!(Backoff::new(Duration::ZERO).next_wait(Duration::ZERO, None, 0.0), None);
    }

    #[test]
    fn chance_is_between_zero_and_one_and_not_constant() {
        let drawn: Vec<f64> = (0..8).map(|_| chance()).collect();
        assert!(drawn.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(drawn.iter().any(|number| *number != drawn[0]));
    }
}
