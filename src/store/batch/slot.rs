//! A job while its batch is decided: its record before, and what the batch makes of it.
//!
//! No record is made here. Whoever publishes the batch applies its operations, in place where
//! nobody else holds the record; to decide, the last change of the job says enough.

use std::sync::Arc;

use crate::model::{JobId, JobRecord, Operation, Standing, TimestampMs};

/// A job that the batch touches.
pub(super) struct Slot<'a> {
    pub job_id: &'a JobId,
    /// Its record before the batch.
    pub base: Option<Arc<JobRecord>>,
    pub now: Now,
}

/// What the batch made of a job so far.
#[derive(Clone, Copy, Debug)]
pub(super) enum Now {
    AsBefore,
    Changed {
        /// The place of its last change, which is an applied update.
        operation: usize,
        status_at: TimestampMs,
        attempt_given: Option<u32>,
    },
    Removed,
}

impl Slot<'_> {
    /// As the job stands now; `None`: there is no such job.
    pub fn standing<'a>(&'a self, operations: &'a [Option<Operation>]) -> Option<Standing<'a>> {
        match self.now {
            Now::AsBefore => self.base.as_deref().map(Standing::of),
            Now::Removed => None,
            Now::Changed { operation, status_at, attempt_given } => {
                let change = operations.get(operation)?.as_ref()?.change()?;
                let (pipeline, status, attempt) = (&change.pipeline, change.status, change.attempt);
                Some(Standing { pipeline, status, status_at, attempt, attempt_given })
            }
        }
    }

    /// True if the job is another after the batch. One that came and went within it is not.
    pub fn is_changed(&self) -> bool {
        match self.now {
            Now::AsBefore => false,
            Now::Changed { .. } => true,
            Now::Removed => self.base.is_some(),
        }
    }
}
