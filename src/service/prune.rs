//! Removing jobs by what they are: the ordinary way of a removal, many at a time.
//!
//! ```text
//! page of jobs -> one request of conditional removals -> the writer decides -> the next page
//! ```
//!
//! A job that changed after its page was read stays. Between two pages nothing is held: no
//! snapshot, no place in the queue. At most one such request is on its way, whoever prunes, so that
//! updates of others hardly wait; where the queue is full of them, it waits.

use std::time::Duration;

use super::{Service, ServiceOptions, SubmitError};
use crate::batch::Outcome;
use crate::model::{
    Command, Cursor, JobFilter, JobId, Kind, Order, Page, PageQuery, PipelineName, Place, Request,
    Status, TimestampMs,
};
use crate::store::StoreError;

/// Most removals of one request: few enough that a commit stays short beside others.
const REMOVALS_MAX: usize = 500;
/// What one removal may weigh: the longest id, and room.
const REMOVAL_BYTES_MAX: usize = 512;
/// Jobs of a page that are only counted.
const COUNTED_MAX: usize = 1_000;
/// Most index entries that one page examines.
const SCAN_MAX: usize = 10_000;

/// Which jobs to remove. A job must pass every part of it.
///
/// Waiting and running jobs go only if their kind or status is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prune {
    /// Any of these; empty means any finished kind, unless `statuses` names some.
    pub kinds: Vec<Kind>,
    /// Any of these; empty means any status.
    pub statuses: Vec<Status>,
    pub pipeline: Option<PipelineName>,
    /// Not changed since this moment (`updated_at`), whatever the clock says now.
    pub updated_before: Option<TimestampMs>,
    /// Not changed for longer, in time that a server ran, whatever the clock says: no jump of it
    /// makes a job old, or keeps it young.
    pub older_than: Option<Duration>,
    /// So many of the jobs with these kinds, statuses and pipeline stay, the last changed ones,
    /// however old they are.
    pub keep_newest: Option<u64>,
    /// At most so many are removed by one call, the longest unchanged first.
    pub limit: Option<u64>,
}

/// What a prune did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Jobs that passed.
    pub matched: u64,
    /// Jobs that are gone for good; 0 if they were only counted.
    pub removed: u64,
    /// Jobs that passed, and changed before they could be removed: they stay.
    pub changed: u64,
    /// True if there may be more: the limit was reached, or a stop came.
    pub more: bool,
    /// That of the prune.
    pub updated_before: Option<TimestampMs>,
    /// What `older_than` came to: the last update that is old enough.
    pub until_seq: Option<u64>,
}

impl Prune {
    /// True if any part is given; else it would remove every finished job.
    pub fn is_bounded(&self) -> bool {
        !self.kinds.is_empty()
            || !self.statuses.is_empty()
            || self.pipeline.is_some()
            || self.updated_before.is_some()
            || self.older_than.is_some()
            || self.keep_newest.is_some()
    }

    /// The jobs that it means, however old they are.
    fn filter(&self) -> JobFilter {
        let is_named = !self.kinds.is_empty() || !self.statuses.is_empty();
        let finished = || Kind::ALL.into_iter().filter(|kind| kind.is_finished()).collect();
        JobFilter {
            statuses: self.statuses.clone(),
            kinds: if is_named { self.kinds.clone() } else { finished() },
            pipeline: self.pipeline.clone(),
            updated_before: self.updated_before,
            ..JobFilter::default()
        }
    }
}

/// A prune on its way through the jobs, from the longest unchanged on.
struct Walk {
    filter: JobFilter,
    keep_newest: u64,
    left: u64,
    cursor: Option<Cursor>,
    done: Pruned,
}

impl Service {
    /// Removes jobs. Each removal is durable, takes a seq and stands in the feed, as that of a
    /// single job does.
    ///
    /// Dropping the future stops it after the request that is on its way. A stop of the service
    /// does, too; [`Pruned::more`] then says so. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`SubmitError`]: the outcome is unknown if some were removed before. The same call may be
    /// made again in any case.
    pub async fn prune(&self, prune: &Prune) -> Result<Pruned, SubmitError> {
        let mut walk = self.walk(prune);
        loop {
            let _turn = self.inner.pruning.lock().await;
            let surplus = self.surplus(&walk, 0);
            let most = walk.left.min(self.removals_max() as u64).min(surplus);
            if most == 0 {
                walk.done.more = walk.left == 0 && surplus > 0;
                return Ok(walk.done);
            }
            let page = self.read(&walk, most).await;
            let page = page.map_err(|error| walk.failed(SubmitError::not_applied(error)))?;
            let jobs: Vec<_> = page.jobs.into_iter().map(|(id, job)| (id, job.seq)).collect();
            let matched = jobs.len() as u64;
            let removed = match self.remove(jobs).await {
                Err(SubmitError::Draining) if walk.done.removed > 0 => {
                    walk.done.more = true;
                    return Ok(walk.done);
                }
                removed => removed.map_err(|error| walk.failed(error))?,
            };
            walk.done.removed += removed;
            walk.done.changed += matched - removed;
            if !walk.go_on(matched, page.next) {
                return Ok(walk.done);
            }
        }
    }

    /// Counts the jobs that [`prune`](Self::prune) would remove now; reads them only if an age is
    /// given. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    pub async fn count_prunable(&self, prune: &Prune) -> Result<Pruned, StoreError> {
        let mut walk = self.walk(prune);
        if walk.filter.end().is_none() && walk.cursor.is_none() {
            let surplus = self.surplus(&walk, 0);
            walk.done.matched = surplus.min(walk.left);
            walk.done.more = surplus > walk.left;
            return Ok(walk.done);
        }
        loop {
            let surplus = self.surplus(&walk, walk.done.matched);
            let most = walk.left.min(COUNTED_MAX as u64).min(surplus);
            if most == 0 {
                walk.done.more = walk.left == 0 && surplus > 0;
                return Ok(walk.done);
            }
            let page = self.read(&walk, most).await?;
            if !walk.go_on(page.jobs.len() as u64, page.next) {
                return Ok(walk.done);
            }
        }
    }

    fn walk(&self, prune: &Prune) -> Walk {
        let until_seq = prune.older_than.map(|age| self.inner.read.seq_older_than(age));
        Walk {
            filter: prune.filter(),
            keep_newest: prune.keep_newest.unwrap_or(0),
            left: prune.limit.unwrap_or(u64::MAX),
            // A walk as of an update passes over every job that changed after it.
            cursor: until_seq.map(|as_of_seq| Cursor { place: Place::Seq(0), as_of_seq }),
            done: Pruned { updated_before: prune.updated_before, until_seq, ..Pruned::default() },
        }
    }

    /// How many jobs there are beyond those that stay and `counted` others.
    fn surplus(&self, walk: &Walk, counted: u64) -> u64 {
        let (counts, _) = self.counts();
        let takes = |status| walk.filter.takes_status(status, self.kinds());
        let jobs = counts.with_status(walk.filter.pipeline.as_ref(), takes);
        jobs.saturating_sub(walk.keep_newest).saturating_sub(counted)
    }

    fn removals_max(&self) -> usize {
        let ServiceOptions { batch_updates_max, batch_bytes_max, .. } = *self.options();
        REMOVALS_MAX.min(batch_updates_max).min(batch_bytes_max / REMOVAL_BYTES_MAX).max(1)
    }

    /// The next page, of at most `most` jobs.
    async fn read(&self, walk: &Walk, most: u64) -> Result<Page, StoreError> {
        let query = PageQuery {
            filter: walk.filter.clone(),
            order: Order::Oldest,
            limit: usize::try_from(most).unwrap_or(COUNTED_MAX).min(COUNTED_MAX),
            cursor: walk.cursor.clone(),
            scan_max: SCAN_MAX,
        };
        let service = self.clone();
        let page = tokio::task::spawn_blocking(move || service.page(&query)).await;
        page.unwrap_or_else(|error| Err(StoreError::Failed(format!("a read ended early: {error}"))))
    }

    /// Removes those of the jobs that are unchanged; waits as long as the queue is full of others.
    async fn remove(&self, jobs: Vec<(JobId, u64)>) -> Result<u64, SubmitError> {
        if jobs.is_empty() {
            return Ok(0);
        }
        loop {
            let request = Request::of_command(Command::RemoveUnchanged(jobs.clone()));
            match self.submit(request).await {
                Ok(receipt) => return Ok(receipt.answer.applied),
                Err(SubmitError::QueueFull { retry_after, .. }) => {
                    tokio::time::sleep(retry_after).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Walk {
    /// Counts the jobs of a page; false if it was the last.
    fn go_on(&mut self, matched: u64, next: Option<Cursor>) -> bool {
        self.done.matched += matched;
        self.left = self.left.saturating_sub(matched);
        self.cursor = next;
        self.cursor.is_some()
    }

    /// Of a prune that failed on its way, some was done.
    fn failed(&self, error: SubmitError) -> SubmitError {
        match error {
            SubmitError::StoreFailed { source, .. } if self.done.removed > 0 => {
                SubmitError::StoreFailed { outcome: Outcome::Unknown, source }
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests;
