//! How old things are, for what is kept for a time: by the time that the process ran, not by what
//! the wall clock says.
//!
//! A box that starts with a wrong clock, or whose clock jumps by a century, must not forget its
//! idempotency keys and its whole feed. So the wall clock is believed once, at the first batch of a
//! store, and moved on from there by the monotonic clock. Keys and blocks of the feed carry this
//! time; a new process goes on from the newest of them. While no process runs, nothing ages.

use std::sync::OnceLock;
use std::time::Duration;

use redb::ReadableTable;

use super::codec::{decode_feed_block, decode_kept};
use super::schema::{FEED, KEYS, KEYS_BY_AGE};
use super::tail::{View, unreadable};
use crate::model::{Clock, TimestampMs};
use crate::store::StoreError;

/// Time that a process ran, on top of the time at which the store began.
#[derive(Debug, Default)]
pub struct AgeClock {
    clock: Clock,
    /// A time of this clock, and the monotonic time then.
    begin: OnceLock<(TimestampMs, Duration)>,
}

impl AgeClock {
    pub fn new(clock: Clock) -> Self {
        Self { clock, begin: OnceLock::new() }
    }

    /// Begins at `at`; later calls change nothing.
    pub fn begin(&self, at: TimestampMs) {
        self.begin.get_or_init(|| (at, self.clock.monotonic()));
    }

    /// The present time of this clock; `None` before the beginning.
    pub fn begun(&self) -> Option<TimestampMs> {
        self.begin.get().map(|_| self.now(TimestampMs::default()))
    }

    /// The time for stamps and for comparing ages: `wall` before the beginning, then as the clock
    /// moved on.
    pub fn now(&self, wall: TimestampMs) -> TimestampMs {
        self.begin.get().map_or(wall, |(at, begin)| {
            let passed = self.clock.monotonic().saturating_sub(*begin).as_millis();
            TimestampMs(at.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
        })
    }
}

/// The newest stamp in the store; `None` if there is none. A damaged row has none: the check is
/// what reports it.
pub fn newest(view: &View) -> Result<Option<TimestampMs>, StoreError> {
    let in_tail = view.generations.iter().filter_map(|generation| {
        let content = generation.read();
        content.keys.values().map(|kept| kept.at).max()
    });
    let in_tail = in_tail.max();
    let feed = view.table(FEED)?;
    let of_feed = feed.last().map_err(unreadable)?.and_then(|(key, block)| {
        let block = block.value();
        decode_feed_block(key.value(), block).ok().map(|(at, ..)| TimestampMs(at))
    });
    let mut of_keys = None;
    if let Some((_, key)) = view.table(KEYS_BY_AGE)?.last().map_err(unreadable)? {
        let kept = view.table(KEYS)?.get(key.value()).map_err(unreadable)?;
        let kept = kept.and_then(|kept| decode_kept(key.value(), kept.value()).ok());
        of_keys = kept.map(|(_, kept)| kept.at);
    }
    Ok(in_tail.into_iter().chain(of_feed).chain(of_keys).max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ManualClock;

    #[test]
    fn it_moves_with_the_monotonic_clock_alone() {
        let manual = ManualClock::at(TimestampMs(5_000));
        let age = AgeClock::new(Clock::Manual(manual.clone()));
        assert_eq!(age.now(TimestampMs(7)), TimestampMs(7));
        age.begin(TimestampMs(1_000));
        age.begin(TimestampMs(9_000));
        manual.set_wall(TimestampMs(0));
        manual.advance(Duration::from_secs(3));
        assert_eq!(age.now(TimestampMs(7)), TimestampMs(4_000));
    }
}
