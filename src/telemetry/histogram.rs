//! How long something took, in fixed buckets on a log scale.
//!
//! Eight buckets for each doubling: a quantile is at most 12.5 % above the truth, and the maximum
//! is exact. The size is fixed, so that it can count for years.

use std::time::Duration;

/// Buckets for each doubling, as a power of two.
const STEPS_LOG2: u32 = 3;
const STEPS: usize = 1 << STEPS_LOG2;
/// Enough for every `u64` of microseconds.
const BUCKETS: usize = (64 - STEPS_LOG2 as usize + 1) * STEPS;

/// Durations, counted in microseconds and told in milliseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one duration. No allocation.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_index(us)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// The duration that `quantile` (0 to 1) of all do not exceed, in milliseconds; 0 if there are
    /// none.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        let rank = (quantile * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return ms(bucket_last_us(index).min(self.max_us));
            }
        }
        ms(self.max_us)
    }

    /// The longest duration, in milliseconds; 0 if there are none.
    pub fn max_ms(&self) -> f64 {
        ms(self.max_us)
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Below `STEPS` each microsecond has its bucket; above, the leading bits choose it.
fn bucket_index(us: u64) -> usize {
    let Some(log2) = us.checked_ilog2().filter(|log2| *log2 >= STEPS_LOG2) else {
        return us as usize;
    };
    let shift = log2 - STEPS_LOG2;
    let step = (us >> shift) as usize - STEPS;
    (shift as usize + 1) * STEPS + step
}

/// The largest duration of a bucket, in microseconds.
fn bucket_last_us(index: usize) -> u64 {
    let Some(shift) = (index / STEPS).checked_sub(1) else {
        return index as u64;
    };
    let first = ((STEPS + index % STEPS) as u128) << shift;
    let last = first + (1 << shift) - 1;
    u64::try_from(last).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_histogram_says_zero() {
        let histogram = Histogram::default();
        assert_eq!(
            (histogram.quantile_ms(0.99), histogram.max_ms(), histogram.count()),
            (0.0, 0.0, 0)
        );
    }

    #[test]
    fn the_maximum_is_exact_and_bounds_the_quantiles() {
        let mut histogram = Histogram::default();
        for _ in 0..99 {
            histogram.record(Duration::from_micros(600));
        }
        histogram.record(Duration::from_micros(9_701));
        assert_eq!(histogram.max_ms(), 9.701);
        assert!((0.6..=0.675).contains(&histogram.quantile_ms(0.5)));
        assert!((0.6..=0.675).contains(&histogram.quantile_ms(0.99)));
        assert_eq!(histogram.quantile_ms(1.0), 9.701);
    }

    proptest! {
        #[test]
        fn each_duration_is_in_a_bucket_that_ends_at_most_an_eighth_above_it(us: u64) {
            let index = bucket_index(us);
            prop_assert!(index < BUCKETS);
            let last = bucket_last_us(index);
            prop_assert!(last >= us && last - us <= us / 8, "{us} in {index} up to {last}");
            prop_assert!(index == 0 || bucket_last_us(index - 1) < us);
        }
    }
}
