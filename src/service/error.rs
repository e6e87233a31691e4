//! Why a call was refused as a whole, and what became of its updates.

use std::time::Duration;

use crate::batch::{Failure, Limits, Outcome, Refused};
use crate::model::Rejection;
use crate::store::StoreError;

/// How long a caller waits before it resends to a full queue: some commits of the largest batch.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a call was refused as a whole.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full: wait, then resend.
    #[error(
        "the queue holds {updates} updates and {bytes} bytes; retry after {} s",
        .retry_after.as_secs()
    )]
    QueueFull { updates: usize, bytes: usize, retry_after: Duration },
    /// The request is above what one batch may hold: split it.
    #[error(
        "the request holds {updates} updates and {bytes} bytes, \
         the most is {updates_max} and {bytes_max}"
    )]
    TooLarge { updates: usize, bytes: usize, updates_max: usize, bytes_max: usize },
    /// The process is stopping: resend to its successor.
    #[error("the service is stopping; nothing more is admitted")]
    Draining,
    /// `if_status`, `atomic` or a command was asked for without waiting for the answer.
    #[error("if_status, atomic and commands need ack=durable: their answer is the writer's")]
    AckMustBeDurable,
    /// Updates and a command in one request, which are two.
    #[error("a request holds updates or a command, not both")]
    Mixed,
    /// The key was used for another call.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The one update of [`Service::queue`](super::Service::queue) was rejected: correct it.
    #[error("{}: {}", .0.code.as_str(), .0.detail)]
    Rejected(Rejection),
    /// The store failed; `outcome` says whether this call may be on disk.
    #[error("{source}")]
    StoreFailed { outcome: Outcome, source: StoreError },
}

impl SubmitError {
    /// What became of the updates of the call.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::StoreFailed { outcome, .. } => *outcome,
            // Refused at the door.
            Self::QueueFull { .. }
            | Self::TooLarge { .. }
            | Self::Draining
            | Self::AckMustBeDurable
            | Self::Mixed
            | Self::KeyReused
            | Self::Rejected(_) => Outcome::NotApplied,
        }
    }

    /// True if the same call may succeed later, here or at a successor.
    pub fn is_retryable(&self) -> bool {
        match self {
            // The queue empties; a restarted process admits.
            Self::QueueFull { .. } | Self::Draining => true,
            Self::StoreFailed {
                source: StoreError::Failed(_) | StoreError::Full(_) | StoreError::Panicked(_),
                ..
            } => true,
            // A record that is damaged stays so.
            Self::StoreFailed { source: StoreError::CorruptRecord { .. }, .. } => false,
            // The call itself must change.
            Self::TooLarge { .. }
            | Self::AckMustBeDurable
            | Self::Mixed
            | Self::KeyReused
            | Self::Rejected(_) => false,
        }
    }

    pub(super) fn refused(refused: Refused, limits: &Limits) -> Self {
        match refused {
            Refused::Full { updates, bytes } => {
                Self::QueueFull { updates, bytes, retry_after: RETRY_AFTER }
            }
            Refused::TooLarge { updates, bytes } => Self::TooLarge {
                updates,
                bytes,
                updates_max: limits.batch_updates_max,
                bytes_max: limits.batch_bytes_max,
            },
            Refused::Draining => Self::Draining,
            Refused::Failed(source) => Self::not_applied(source),
        }
    }

    pub(super) fn not_applied(source: StoreError) -> Self {
        Self::StoreFailed { outcome: Outcome::NotApplied, source }
    }

    pub(super) fn unknown(source: StoreError) -> Self {
        Self::StoreFailed { outcome: Outcome::Unknown, source }
    }

    pub(super) fn failed(failure: Failure) -> Self {
        Self::StoreFailed { outcome: failure.outcome, source: failure.source }
    }
}
