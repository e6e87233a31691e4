//! The bounds and periods of the service, and what its health can be.

use std::time::Duration;

use crate::batch::{InvalidLimits, Limits};
use crate::model::Clock;
use crate::store::StoreOptions;

/// How the service batches. Every bound is named here or in [`StoreOptions`].
///
/// One request fits a batch and one batch fits the queue: [`validate`](Self::validate).
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Queued updates that close a batch: a trigger, not a cap.
    pub batch_size: usize,
    /// Age of the oldest queued update that closes a batch.
    pub flush_interval: Duration,
    /// Most updates of one batch, and so of one request.
    pub batch_updates_max: usize,
    /// Most bytes of one batch, and so of one request.
    pub batch_bytes_max: usize,
    /// Most updates that wait; a call that would exceed it is refused whole.
    pub queue_updates_max: usize,
    /// Most bytes that wait; a call that would exceed it is refused whole.
    pub queue_bytes_max: usize,
    /// Log `Pipeline-Job ID gestartet` for each job that starts running.
    pub log_job_starts: bool,
    pub clock: Clock,
    pub store: StoreOptions,
}

impl Default for ServiceOptions {
    /// The defaults of DESIGN, sections 4 and 5.
    fn default() -> Self {
        let limits = Limits::DEFAULT;
        Self {
            batch_size: limits.batch_size,
            flush_interval: limits.flush_interval,
            batch_updates_max: limits.batch_updates_max,
            batch_bytes_max: limits.batch_bytes_max,
            queue_updates_max: limits.queue_updates_max,
            queue_bytes_max: limits.queue_bytes_max,
            log_job_starts: false,
            clock: Clock::System,
            store: StoreOptions::default(),
        }
    }
}

impl ServiceOptions {
    /// Checks that the bounds do not contradict each other: request <= batch <= queue.
    ///
    /// # Errors
    /// [`InvalidLimits`] with the names and values; correct the configuration.
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        self.limits().validate()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            batch_size: self.batch_size,
            flush_interval: self.flush_interval,
            batch_updates_max: self.batch_updates_max,
            batch_bytes_max: self.batch_bytes_max,
            queue_updates_max: self.queue_updates_max,
            queue_bytes_max: self.queue_bytes_max,
        }
    }
}

/// Whether the service can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    Ready,
    /// Stopping: reads go on, nothing is admitted.
    Draining,
    /// The store failed: reads go on, writes are refused until it has been opened again.
    Failed,
    /// The disk has too little room: reads go on, writes are refused until it has.
    Full,
}
