//! The bounds of queue and batch, and what closes a batch.
//!
//! One request fits a batch and one batch fits the queue; else a request could wait for ever. The
//! queue refuses a request above the bounds of a batch, so `request <= batch` holds by admission.

use std::time::Duration;

/// How much waits, and when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Queued updates that close a batch: a trigger, not a cap.
    pub batch_size: usize,
    /// Age of the oldest queued update that closes a batch.
    pub flush_interval: Duration,
    pub batch_updates_max: usize,
    pub batch_bytes_max: usize,
    pub queue_updates_max: usize,
    pub queue_bytes_max: usize,
}

/// Bounds that contradict each other. The operator corrects the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimits {
    #[error("{0} is 0, the least is 1")]
    Zero(&'static str),
    #[error("{small} is {small_value}, more than {large}, which is {large_value}")]
    Order { small: &'static str, small_value: usize, large: &'static str, large_value: usize },
}

impl Limits {
    /// The defaults of DESIGN, sections 4 and 5.
    pub const DEFAULT: Self = Self {
        batch_size: 50,
        flush_interval: Duration::from_secs(2),
        batch_updates_max: 10_000,
        batch_bytes_max: 8 << 20,
        queue_updates_max: 100_000,
        queue_bytes_max: 64 << 20,
    };

    /// Checks that a batch holds something and fits the queue.
    ///
    /// # Errors
    /// [`InvalidLimits`]: the names and values that contradict each other.
    pub const fn validate(&self) -> Result<(), InvalidLimits> {
        if self.batch_size == 0 {
            return Err(InvalidLimits::Zero("batch_size"));
        }
        if self.batch_updates_max == 0 {
            return Err(InvalidLimits::Zero("batch_updates_max"));
        }
        if self.batch_bytes_max == 0 {
            return Err(InvalidLimits::Zero("batch_bytes_max"));
        }
        // A trigger above the queue's bound would never be reached.
        if self.batch_size > self.queue_updates_max {
            return Err(InvalidLimits::Order {
                small: "batch_size",
                small_value: self.batch_size,
                large: "queue_updates_max",
                large_value: self.queue_updates_max,
            });
        }
        if self.batch_updates_max > self.queue_updates_max {
            return Err(InvalidLimits::Order {
                small: "batch_updates_max",
                small_value: self.batch_updates_max,
                large: "queue_updates_max",
                large_value: self.queue_updates_max,
            });
        }
        if self.batch_bytes_max > self.queue_bytes_max {
            return Err(InvalidLimits::Order {
                small: "batch_bytes_max",
                small_value: self.batch_bytes_max,
                large: "queue_bytes_max",
                large_value: self.queue_bytes_max,
            });
        }
        Ok(())
    }
}

const _: () = assert!(Limits::DEFAULT.validate().is_ok(), "request <= batch <= queue");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_does_not_fit_the_queue_is_refused_by_name() {
        let limits = Limits { batch_bytes_max: (64 << 20) + 1, ..Limits::DEFAULT };
        assert_eq!(
            limits.validate().unwrap_err().to_string(),
            "batch_bytes_max is 67108865, more than queue_bytes_max, which is 67108864"
        );
        for bad in [
            Limits { batch_size: 0, ..Limits::DEFAULT },
            Limits { batch_size: 100_001, ..Limits::DEFAULT },
            Limits { batch_updates_max: 0, ..Limits::DEFAULT },
            Limits { batch_updates_max: 100_001, ..Limits::DEFAULT },
            Limits { batch_bytes_max: 0, ..Limits::DEFAULT },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
