//! How old changes are, by their seqs: when which seq was the last one.
//!
//! Whoever wants what is older than so long gets a seq, not a moment: seqs rise through jumps of
//! the wall clock and over restarts, and `updated_at` may stand still for years. Not every batch
//! is remembered. One in between counts as the next that is, so an error makes a change younger,
//! by a 32nd of its age at most, and never older.

use std::time::Duration;

use crate::model::TimestampMs;

/// Room for what [`Ages::thin`] leaves of any time: of three samples that it leaves the outer two
/// are further apart than a 32nd of the age, so there are at most 66 in each of 64 doublings.
const SAMPLES_MAX: usize = 8_192;
const _: () = assert!(SAMPLES_MAX > 66 * 64);
/// What is stored is no closer, so that it is short: a year of batches takes some kilobytes.
const STORED_GAP_MS: u64 = 1_000;
/// The part of an age by which a change may seem younger.
const ERROR_PART: u64 = 32;

/// A time of a clock that counts the time that processes ran, and the last seq then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub at: TimestampMs,
    pub last_seq: u64,
}

/// When which seq was the last one; some kilobytes, however long that goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Times and seqs rise.
    samples: Vec<Sample>,
}

impl Ages {
    /// `samples` must rise in both of their parts.
    pub fn new(samples: Vec<Sample>) -> Self {
        Self { samples }
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The last seq whose time is known; 0 if none is.
    pub fn last_seq(&self) -> u64 {
        self.samples.last().map_or(0, |it| it.last_seq)
    }

    /// Notes that everything up to `last_seq` was durable at `at`.
    pub fn note(&mut self, at: TimestampMs, last_seq: u64) {
        match self.samples.last_mut() {
            None if last_seq == 0 => (),
            Some(last) if last_seq <= last.last_seq => (),
            Some(last) if at <= last.at => last.last_seq = last_seq,
            _ => self.samples.push(Sample { at, last_seq }),
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.thin(at, 0);
        }
    }

    /// The last seq that was durable longer ago than `age`; 0 if none was.
    pub fn seq_older_than(&self, age: Duration, now: TimestampMs) -> u64 {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let Some(limit) = now.0.checked_sub(age_ms) else { return 0 };
        let place = self.samples.partition_point(|it| it.at.0 < limit);
        let older = self.samples.get(..place).and_then(<[Sample]>::last);
        older.map_or(0, |it| it.last_seq)
    }

    /// What is to be stored with everything up to `last_seq`, at `now`.
    #[must_use]
    pub fn through(&self, last_seq: u64, now: TimestampMs) -> Self {
        let stored = self.samples.iter().take_while(|it| it.last_seq <= last_seq);
        let mut ages = Self { samples: stored.copied().collect() };
        ages.note(now, last_seq);
        ages.thin(now, STORED_GAP_MS);
        ages
    }

    /// Drops a sample if those before and after it are so close that it matters little.
    fn thin(&mut self, now: TimestampMs, gap_ms_min: u64) {
        let mut kept: Vec<Sample> = Vec::with_capacity(self.samples.len());
        for sample in self.samples.drain(..) {
            let age_ms = now.0.saturating_sub(sample.at.0);
            let gap_ms = (age_ms / ERROR_PART).max(gap_ms_min);
            while let [.., before, _] = kept.as_slice()
                && sample.at.0 - before.at.0 <= gap_ms
            {
                kept.pop();
            }
            kept.push(sample);
        }
        self.samples = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn age(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_older_is_told_to_the_millisecond_as_long_as_there_is_room() {
        let mut ages = Ages::default();
        assert_eq!(ages.seq_older_than(Duration::ZERO, TimestampMs(9)), 0);
        for (at, last_seq) in [(5, 0), (10, 3), (10, 4), (20, 4), (20, 9), (19, 10)] {
            ages.note(TimestampMs(at), last_seq);
        }
        let older = |ms, now| ages.seq_older_than(age(ms), TimestampMs(now));
        assert_eq!((older(10, 20), older(9, 20), older(0, 20), older(0, 21)), (0, 4, 4, 10));
        assert_eq!((older(30, 20), ages.last_seq(), ages.samples().len()), (0, 10, 2));
    }

    /// A batch every half second for a day, then every twenty minutes for a year, and a burst.
    #[test]
    fn nothing_seems_older_or_much_younger_and_it_stays_short() {
        let mut batches: Vec<u64> = (0..2 * 86_400).map(|number| number * 500).collect();
        batches.extend((0..26_280).map(|number| DAY_MS + number * 1_200_000));
        let last = *batches.last().unwrap();
        batches.extend((1..20_000).map(|number| last + number));
        let mut ages = Ages::default();
        let mut stored = Ages::default();
        for (seq, at) in (1..).zip(&batches) {
            ages.note(TimestampMs(*at), seq);
            stored.note(TimestampMs(*at), seq);
            if seq % 1_000 == 0 {
                // As a process does that ends and begins again.
                stored = stored.through(seq, TimestampMs(*at));
            }
        }
        let now = last + 20_000;
        stored = stored.through(batches.len() as u64, TimestampMs(now));
        assert!(ages.samples().len() < SAMPLES_MAX);
        assert!(stored.samples().len() < 1_500, "{} samples", stored.samples().len());
        for age_ms in (0..60).flat_map(|part| [1, 7, 1_000].map(|unit| unit << (part / 2))) {
            // `batches` rise, so the seq is the number of those before.
            let older = |age_ms: u64| {
                let limit = now.saturating_sub(age_ms);
                batches.partition_point(|at| *at < limit) as u64
            };
            for (ages, gap_ms) in [(&ages, 0), (&stored, STORED_GAP_MS)] {
                let told = ages.seq_older_than(age(age_ms), TimestampMs(now));
                assert!(told <= older(age_ms), "{age_ms}: {told} is too young");
                let surely = age_ms + age_ms / (ERROR_PART - 1) + gap_ms + 1;
                assert!(told >= older(surely), "{age_ms}: {told} of {}", older(surely));
            }
        }
    }
}
