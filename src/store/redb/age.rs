//! How old things are, for what is kept for a time: by the time that the process ran, not by what
//! the wall clock says.
//!
//! A box that starts with a wrong clock, or whose clock jumps by a century, must not forget its
//! idempotency keys, its whole feed and its jobs. So the wall clock is believed once, at the first
//! batch of a store, and moved on from there by the monotonic clock. Keys and blocks of the feed
//! carry this time, and each fold notes it; a new process goes on from the newest of them. While no
//! process runs, nothing ages.
//!
//! Jobs do not carry it. Their age is that of their seq: with each fold stands when which seq was
//! the last one. What the journal alone has after a kill counts as new.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use redb::ReadableTable;

use super::codec::{decode_ages, decode_feed_block, decode_kept, encode_ages};
use super::schema::{AGES_KEY, FEED, KEYS, KEYS_BY_AGE, META};
use super::tail::{View, unreadable};
use crate::model::{Clock, TimestampMs};
use crate::store::StoreError;
use crate::store::ages::Ages;

/// Time that a process ran, on top of the time at which the store began.
#[derive(Debug, Default)]
pub struct AgeClock {
    clock: Clock,
    /// A time of this clock, and the monotonic time then.
    begin: OnceLock<(TimestampMs, Duration)>,
    /// A plain mutex: held for a search, for one more sample, and by the folder for a copy of some
    /// thousand of them.
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    ages: Ages,
    /// The time of this clock that the tables have.
    stored: TimestampMs,
}

impl AgeClock {
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Goes on where the store stands, if it has a batch.
    ///
    /// # Errors
    /// [`StoreError`] if the tables do not answer. A row that is damaged or goes beyond them is
    /// none, for then the jobs count as new; the check is what reports it.
    pub fn resume(&self, view: &View) -> Result<(), StoreError> {
        let stored = match stored_ages(view) {
            Err(StoreError::CorruptRecord { .. }) => None,
            stored => stored?,
        };
        let stored = stored.filter(|(_, ages)| ages.last_seq() <= view.as_of_seq);
        let (noted_at, ages) = stored.map(|(at, ages)| (Some(at), ages)).unwrap_or_default();
        // A process that was killed before its first fold left no stamp, but batches.
        let last_batch = Some(view.updated_at).filter(|at| *at > TimestampMs::default());
        let Some(at) = newest(view)?.max(noted_at).or(last_batch) else { return Ok(()) };
        self.begin(at);
        let mut noted = self.lock();
        (noted.ages, noted.stored) = (ages, at);
        noted.ages.note(at, view.as_of_seq);
        Ok(())
    }

    /// Begins at `at`; later calls change nothing.
    pub fn begin(&self, at: TimestampMs) {
        self.begin.get_or_init(|| (at, self.clock.monotonic()));
    }

    /// Notes that everything up to `last_seq` is durable now.
    pub fn note(&self, last_seq: u64) {
        let now = self.now(TimestampMs::default());
        self.lock().ages.note(now, last_seq);
    }

    /// The last seq that was durable longer ago than `age`; 0 if none was.
    pub fn seq_older_than(&self, age: Duration) -> u64 {
        let now = self.now(TimestampMs::default());
        self.lock().ages.seq_older_than(age, now)
    }

    /// The row of a fold at `now`, which ends with `last_seq`.
    pub fn row(&self, last_seq: u64, now: TimestampMs) -> Vec<u8> {
        let ages = self.lock().ages.through(last_seq, now);
        encode_ages(AGES_KEY, now, &ages)
    }

    /// Notes that the tables have the time `at`.
    pub fn set_stored(&self, at: TimestampMs) {
        self.lock().stored = at;
    }

    /// How much of the time of this clock a kill would take now.
    pub fn unstored(&self) -> Duration {
        let Some((begin, _)) = self.begin.get() else { return Duration::ZERO };
        let stored = self.lock().stored.max(*begin);
        let now = self.now(TimestampMs::default());
        Duration::from_millis(now.0.saturating_sub(stored.0))
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The time of the last fold, and when which seq was the last one; `None` before the first fold
/// that noted it.
///
/// # Errors
/// [`StoreError`] if it cannot be read.
pub fn stored_ages(view: &View) -> Result<Option<(TimestampMs, Ages)>, StoreError> {
    let row = view.table(META)?.get(AGES_KEY).map_err(unreadable)?;
    let ages = row.map(|value| decode_ages(AGES_KEY, value.value())).transpose();
    ages.map_err(|it| it.at("meta", AGES_KEY))
}

/// The newest stamp of keys and feed; `None` if there is none. A damaged row has none: the check is
/// what reports it.
fn newest(view: &View) -> Result<Option<TimestampMs>, StoreError> {
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
