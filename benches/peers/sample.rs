//! What one arm did in one round of one plan: the one shape that all measurements have.

use std::time::Duration;

/// One arm, one round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// A short id that stays: `inproc-50`, `put-64`.
    pub plan: &'static str,
    /// A short id that stays: `jobslate`, `sqlite`.
    pub arm: &'static str,
    /// From 0.
    pub round: usize,
    /// Updates made durable, or reads answered.
    pub operations: usize,
    /// All calls: their sum, if they are made one after the other; from the first call to the last
    /// answer, if they are made side by side.
    pub elapsed: Duration,
    /// The clean close after them, with the folds that were left; nothing where it is not measured.
    pub closing: Duration,
    /// What each call waited, ascending. A call may carry many operations.
    pub waits: Vec<Duration>,
}

impl Sample {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Operations per second of calls and close together.
    pub fn rate_closed(&self) -> f64 {
        self.operations as f64 / (self.elapsed + self.closing).as_secs_f64()
    }

    /// The wait that the share `quantile` of the calls does not exceed, in milliseconds; 0 without
    /// any call.
    pub fn wait_ms(&self, quantile: f64) -> f64 {
        let place = self.waits.len().saturating_sub(1) as f64 * quantile;
        let wait = self.waits.get(place.round() as usize).copied().unwrap_or_default();
        wait.as_secs_f64() * 1e3
    }
}
