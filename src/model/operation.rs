//! What a batch comes to: the numbered operations of the journal and the feed.
//!
//! Each operation takes one seq. Replaying them gives the same records, counts and expectations,
//! whatever the configuration and the clock say by then.

use std::sync::Arc;

use super::change::{Change, apply};
use super::id::{JobId, PipelineName};
use super::record::JobRecord;
use super::status::{Kind, Status};
use super::time::TimestampMs;

/// One numbered operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// What an update did.
    Update(Change),
    Removal(Removal),
    Expectation(Expectation),
}

/// A job was removed. What it had is said, so that counts can be changed without its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    pub seq: u64,
    pub job_id: JobId,
    /// The time of the request.
    pub at: TimestampMs,
    /// The status, its kind, and the pipeline that the job had.
    pub status: Status,
    pub kind: Kind,
    pub pipeline: PipelineName,
}

/// A pipeline was given an expected total, or freed of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub seq: u64,
    pub pipeline: PipelineName,
    /// The time of the request.
    pub at: TimestampMs,
    /// `None`: nothing is expected any more.
    pub total: Option<u64>,
    /// True if so many jobs had finished already, and nobody had said so for this total.
    pub finishes_pipeline: bool,
}

impl Operation {
    pub fn seq(&self) -> u64 {
        match self {
            Self::Update(change) => change.seq,
            Self::Removal(removal) => removal.seq,
            Self::Expectation(expectation) => expectation.seq,
        }
    }

    pub fn set_seq(&mut self, seq: u64) {
        match self {
            Self::Update(change) => change.seq = seq,
            Self::Removal(removal) => removal.seq = seq,
            Self::Expectation(expectation) => expectation.seq = seq,
        }
    }

    /// The time that counts.
    pub fn at(&self) -> TimestampMs {
        match self {
            Self::Update(change) => change.at,
            Self::Removal(removal) => removal.at,
            Self::Expectation(expectation) => expectation.at,
        }
    }

    /// The job that it is about; `None` if it is about a pipeline.
    pub fn job_id(&self) -> Option<&JobId> {
        match self {
            Self::Update(change) => Some(&change.job_id),
            Self::Removal(removal) => Some(&removal.job_id),
            Self::Expectation(_) => None,
        }
    }

    /// The pipeline that it is about, or that its job is in.
    pub fn pipeline(&self) -> &PipelineName {
        match self {
            Self::Update(change) => &change.pipeline,
            Self::Removal(removal) => &removal.pipeline,
            Self::Expectation(expectation) => &expectation.pipeline,
        }
    }

    /// The change, if it is an update.
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Update(change) => Some(change),
            Self::Removal(_) | Self::Expectation(_) => None,
        }
    }

    /// The record of its job after it; `None`: there is no such job any more.
    ///
    /// # Panics
    /// As [`apply`] does.
    pub fn apply(
        &self,
        record: Option<Arc<JobRecord>>,
        updated_at: TimestampMs,
    ) -> Option<Arc<JobRecord>> {
        match self {
            Self::Update(change) => Some(apply(record, change, updated_at)),
            Self::Removal(_) => None,
            Self::Expectation(_) => record,
        }
    }

    /// The status that its job had before, as it was known when this was decided.
    pub fn previous(&self) -> Option<Status> {
        match self {
            Self::Update(change) => change.previous,
            Self::Removal(removal) => Some(removal.status),
            Self::Expectation(_) => None,
        }
    }

    /// Where its job was counted before, and where it is now; equal if it did not move.
    pub fn places(&self) -> Places<'_> {
        match self {
            Self::Update(change) if change.applied => {
                let from = change.previous_pipeline.as_ref().unwrap_or(&change.pipeline);
                Places {
                    before: change.previous.map(|status| (from, status)),
                    after: Some((&change.pipeline, change.status)),
                }
            }
            Self::Removal(it) => Places { before: Some((&it.pipeline, it.status)), after: None },
            Self::Update(_) | Self::Expectation(_) => Places { before: None, after: None },
        }
    }
}

/// Pipeline and status of a job before and after an operation; `None` where it is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places<'a> {
    pub before: Option<(&'a PipelineName, Status)>,
    pub after: Option<(&'a PipelineName, Status)>,
}

impl Places<'_> {
    pub fn is_moved(&self) -> bool {
        self.before != self.after
    }
}
