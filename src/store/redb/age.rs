//! How old things are, for what is kept for a time: by the time that passed, not by jumps of the
//! wall clock.
//!
//! A box that starts with a wrong clock and is set right a second later must not forget the
//! idempotency keys of that second, nor its whole feed. So the wall clock is believed once, at the
//! first batch of a process, and moved on from there by the monotonic clock.

use std::sync::OnceLock;
use std::time::Instant;

use crate::model::TimestampMs;

/// Time since the first batch of this process, on top of that batch's time.
#[derive(Debug, Default)]
pub struct AgeClock {
    begin: OnceLock<(TimestampMs, Instant)>,
}

impl AgeClock {
    /// Begins at the time of the first batch; later calls change nothing.
    pub fn begin(&self, at: TimestampMs) {
        self.begin.get_or_init(|| (at, Instant::now()));
    }

    /// The time for comparing ages: `wall` before the first batch, then as the clock moved on.
    pub fn now(&self, wall: TimestampMs) -> TimestampMs {
        self.begin.get().map_or(wall, |(at, begin)| {
            let passed = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            TimestampMs(at.0.saturating_add(passed))
        })
    }
}
