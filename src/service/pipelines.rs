//! How far pipelines are: their counts, what is expected, how fast they go, what needs a look.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::Inner;
use crate::model::{
    Expected, JobFilter, JobId, JobRecord, Kind, Order, PageQuery, PipelineName, Status,
    TimestampMs,
};
use crate::store::StoreError;

/// The rate is that of the last so many jobs that finished.
const RATE_JOBS: usize = 100;
/// Index rows that are examined for each part of a summary.
const SCAN_MAX: usize = 2_000;
/// 2200-01-01T00:00:00Z: an end beyond is no estimate.
const END_MAX: TimestampMs = TimestampMs(7_258_118_400_000);

/// One pipeline. The numbers are of one moment; rate and jobs may be a little newer.
#[derive(Clone, Debug)]
pub struct PipelineSummary {
    pub name: PipelineName,
    pub by_status: BTreeMap<Status, u64>,
    pub expected: Option<Expected>,
    /// Jobs whose status is of a finished kind.
    pub finished: u64,
    /// Jobs that finish per second: the last 100 of them, until now. `None`: none has.
    pub rate_per_s: Option<f64>,
    pub estimated_end: Option<TimestampMs>,
    /// The running job that was updated longest ago; also `None` if it is not found soon, because
    /// thousands of jobs have changed since the last fold.
    pub oldest_running: Option<(JobId, Arc<JobRecord>)>,
    /// The failed job that was updated last, alike.
    pub last_error: Option<(JobId, Arc<JobRecord>)>,
}

/// Some pipelines, by name.
#[derive(Clone, Debug)]
pub struct PipelinesPage {
    pub pipelines: Vec<PipelineSummary>,
    /// The last one of this page, if there are more.
    pub next: Option<PipelineName>,
    pub as_of_seq: u64,
}

impl PipelineSummary {
    pub fn total(&self) -> u64 {
        self.by_status.values().sum()
    }

    /// How much of what is expected, or else of what is there, has finished; 0 to 100, with one
    /// decimal, and 100 only if nothing is missing. `None`: there is nothing to finish.
    #[expect(clippy::cast_precision_loss, reason = "one decimal of a percentage")]
    pub fn percent(&self) -> Option<f64> {
        let whole = self.whole();
        if whole == 0 {
            return None;
        }
        let percent = 1000.0 * self.finished as f64 / whole as f64;
        Some(if self.finished >= whole { 100.0 } else { percent.floor() / 10.0 })
    }

    /// The jobs that are to finish.
    fn whole(&self) -> u64 {
        self.expected.map_or_else(|| self.total(), |expected| expected.total)
    }
}

impl Inner {
    /// At most `limit` pipelines (1 or more) behind `after`, in the order of their names.
    pub(super) fn pipelines(
        &self,
        after: Option<&PipelineName>,
        limit: usize,
    ) -> Result<PipelinesPage, StoreError> {
        let (counts, as_of_seq) = self.read.counts();
        let expectations = self.read.expectations();
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let counted = counts.by_pipeline().range::<PipelineName, _>(behind).map(|(name, _)| name);
        let expected = expectations.by_pipeline().range::<PipelineName, _>(behind);
        // Both are sorted; no more than a page of each can be on the page.
        let names: std::collections::BTreeSet<&PipelineName> =
            counted.take(limit + 1).chain(expected.map(|(name, _)| name).take(limit + 1)).collect();
        let page = names.iter().take(limit).map(|name| {
            self.summary_of(name, counts.by_pipeline().get(*name), expectations.get(name))
        });
        let pipelines = page.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let is_more = names.len() > limit;
        let next = names.iter().nth(limit - 1).filter(|_| is_more).map(|name| (*name).clone());
        Ok(PipelinesPage { pipelines, next, as_of_seq })
    }

    /// One pipeline; `None` if it has no job and nothing is expected of it.
    pub(super) fn summary(
        &self,
        name: &PipelineName,
    ) -> Result<Option<PipelineSummary>, StoreError> {
        let (counts, _) = self.read.counts();
        self.summary_of(name, counts.by_pipeline().get(name), self.read.expectations().get(name))
    }

    fn summary_of(
        &self,
        name: &PipelineName,
        by_status: Option<&BTreeMap<Status, u64>>,
        expected: Option<Expected>,
    ) -> Result<Option<PipelineSummary>, StoreError> {
        if by_status.is_none() && expected.is_none() {
            return Ok(None);
        }
        let by_status = by_status.cloned().unwrap_or_default();
        let kinds = &self.options.store.kinds;
        let is_finished = |status: &Status| kinds.kind(*status).is_finished();
        let finished = by_status.iter().filter(|(status, _)| is_finished(status));
        let finished = finished.map(|(_, jobs)| jobs).sum();
        let mut summary = PipelineSummary {
            name: name.clone(),
            by_status,
            expected,
            finished,
            rate_per_s: self.rate(name)?,
            estimated_end: None,
            oldest_running: self.first(name, vec![Kind::Running], Order::Oldest)?,
            last_error: self.first(name, vec![Kind::Failed], Order::Newest)?,
        };
        summary.estimated_end = self.estimated_end(&summary);
        Ok(Some(summary))
    }

    /// Jobs that finish per second, over the last of them and until now.
    #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    fn rate(&self, name: &PipelineName) -> Result<Option<f64>, StoreError> {
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_finished()).collect();
        let last = self.some(name, kinds, Order::Newest, RATE_JOBS)?;
        let Some((_, oldest)) = last.last() else { return Ok(None) };
        // A millisecond at least: all of them may have come in one batch, just now.
        let span_ms = self.now().0.saturating_sub(oldest.updated_at.0).max(1);
        Ok(Some(last.len() as f64 * 1000.0 / span_ms as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, bounded by the year 2200"
    )]
    fn estimated_end(&self, summary: &PipelineSummary) -> Option<TimestampMs> {
        let rest = summary.whole().checked_sub(summary.finished).filter(|rest| *rest > 0)?;
        let rate = summary.rate_per_s.filter(|rate| *rate > 0.0)?;
        let left_ms = (rest as f64 * 1000.0 / rate).min(END_MAX.0 as f64) as u64;
        Some(TimestampMs(self.now().0.saturating_add(left_ms))).filter(|end| *end < END_MAX)
    }

    fn first(
        &self,
        name: &PipelineName,
        kinds: Vec<Kind>,
        order: Order,
    ) -> Result<Option<(JobId, Arc<JobRecord>)>, StoreError> {
        Ok(self.some(name, kinds, order, 1)?.pop())
    }

    /// At most `limit` jobs of the pipeline, if they are found soon: rows that are examined in vain
    /// are those of jobs that changed since the last fold.
    fn some(
        &self,
        name: &PipelineName,
        kinds: Vec<Kind>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(JobId, Arc<JobRecord>)>, StoreError> {
        let filter = JobFilter { kinds, pipeline: Some(name.clone()), ..JobFilter::default() };
        let query = PageQuery { filter, order, limit, cursor: None, scan_max: SCAN_MAX };
        Ok(self.read.page(&query)?.jobs)
    }
}
