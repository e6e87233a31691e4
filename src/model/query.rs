//! What a reader may ask of a list, and the place where a walk goes on.

use std::sync::Arc;

use super::id::{JobId, PipelineName};
use super::operation::Operation;
use super::record::JobRecord;
use super::status::{Kind, Kinds, Status};
use super::time::TimestampMs;

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The last changed first, by seq.
    #[default]
    Newest,
    /// The last changed last.
    Oldest,
    /// By the bytes of the job ids.
    Id,
}

impl Order {
    pub const ALL: [Self; 3] = [Self::Newest, Self::Oldest, Self::Id];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Id => "id",
        }
    }

    /// The order with this name, if there is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.as_str() == text)
    }
}

/// Which jobs a reader wants; an empty filter wants all. A job must pass every part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    /// Any of these; empty means any status.
    pub statuses: Vec<Status>,
    /// Any of these; empty means any kind.
    pub kinds: Vec<Kind>,
    pub pipeline: Option<PipelineName>,
    /// What the job id begins with; empty means anything.
    pub prefix: String,
    /// Changed at this moment or after it (`updated_at`).
    pub updated_from: Option<TimestampMs>,
    /// Changed before this moment.
    pub updated_before: Option<TimestampMs>,
    /// Not finished, and not changed after this moment: what is stuck.
    pub stalled_since: Option<TimestampMs>,
}

impl JobFilter {
    pub fn matches(&self, job_id: &JobId, record: &JobRecord, kinds: &Kinds) -> bool {
        self.takes_status(record.status, kinds)
            && self.pipeline.as_ref().is_none_or(|pipeline| *pipeline == record.pipeline)
            && job_id.as_str().starts_with(&self.prefix)
            && self.begin().is_none_or(|begin| record.updated_at >= begin)
            && self.end().is_none_or(|end| record.updated_at < end)
    }

    /// True if a job with this status may pass.
    pub fn takes_status(&self, status: Status, kinds: &Kinds) -> bool {
        let kind = kinds.kind(status);
        (self.statuses.is_empty() || self.statuses.contains(&status))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
            && !(self.stalled_since.is_some() && kind.is_finished())
    }

    /// The first `updated_at` that passes; `None`: any.
    pub fn begin(&self) -> Option<TimestampMs> {
        self.updated_from
    }

    /// The first `updated_at` that is too late; `None`: none is.
    pub fn end(&self) -> Option<TimestampMs> {
        let stalled = self.stalled_since.map(|since| TimestampMs(since.0.saturating_add(1)));
        self.updated_before.into_iter().chain(stalled).min()
    }
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageQuery {
    pub filter: JobFilter,
    pub order: Order,
    /// 1 to 1,000 jobs.
    pub limit: usize,
    /// Where the walk goes on; `None` begins one.
    pub cursor: Option<Cursor>,
    /// Most index entries that this page may examine; then it ends short with a cursor.
    pub scan_max: usize,
}

/// Where a walk stands: it is done with every job up to `place`, as of `as_of_seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub place: Place,
    /// The last update that the walk reflects; jobs that changed later are skipped.
    pub as_of_seq: u64,
}

/// The last entry that a page is done with, in the order of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Seq(u64),
    Id(JobId),
}

/// The jobs of one page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub jobs: Vec<(JobId, Arc<JobRecord>)>,
    /// `None` at the end of the walk.
    pub next: Option<Cursor>,
    pub as_of_seq: u64,
}

impl Page {
    /// Ends the page before its jobs weigh more than `bytes_max`, and never before the first. The
    /// walk goes on at the next one.
    pub fn shorten(&mut self, order: Order, bytes_max: usize) {
        let mut bytes = 0;
        let mut fits = |(job_id, record): &(JobId, Arc<JobRecord>)| {
            bytes += job_id.as_str().len() + record.weight_bytes();
            bytes <= bytes_max
        };
        let count = self.jobs.iter().take_while(|job| fits(job)).count().max(1);
        if count >= self.jobs.len() {
            return;
        }
        self.jobs.truncate(count);
        self.next = self.jobs.last().map(|(job_id, record)| Cursor {
            place: match order {
                Order::Newest | Order::Oldest => Place::Seq(record.seq),
                Order::Id => Place::Id(job_id.clone()),
            },
            as_of_seq: self.as_of_seq,
        });
    }
}

/// Some jobs at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// One for each id that was asked for; `None` where there is no such job.
    pub records: Vec<Option<Arc<JobRecord>>>,
    pub as_of_seq: u64,
}

/// A part of the feed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedPage {
    /// In order, without gaps; empty if nothing came after.
    pub operations: Vec<Operation>,
    /// The first seq that is held; one above the last if none is.
    pub first_held: u64,
    /// The last durable seq.
    pub as_of_seq: u64,
}
