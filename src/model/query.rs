//! What a reader may ask of a list, and the place where a walk goes on.

use super::id::{JobId, PipelineName};
use super::record::JobRecord;
use super::status::Status;
use std::sync::Arc;

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The last changed first, by seq.
    #[default]
    Newest,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageQuery {
    /// Any of these; empty means any status.
    pub statuses: Vec<Status>,
    pub pipeline: Option<PipelineName>,
    pub order: Order,
    /// 1 to 1,000 jobs.
    pub limit: usize,
    /// Where the walk goes on; `None` begins one.
    pub cursor: Option<Cursor>,
    /// Most index entries that this page may examine; then it ends short with a cursor.
    pub scan_max: usize,
}

impl PageQuery {
    pub fn matches(&self, record: &JobRecord) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&record.status))
            && self.pipeline.as_ref().is_none_or(|pipeline| *pipeline == record.pipeline)
    }
}

/// Where a walk stands: it has seen every job down to `last_seq`, as of `as_of_seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub last_seq: u64,
    /// The last update that the walk reflects; jobs that changed later are skipped.
    pub as_of_seq: u64,
}

/// The jobs of one page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub jobs: Vec<(JobId, Arc<JobRecord>)>,
    /// `None` at the end of the walk.
    pub next: Option<Cursor>,
    pub as_of_seq: u64,
}
