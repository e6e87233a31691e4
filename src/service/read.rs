//! The questions: what readers may ask. None of them waits for a commit or a fold.

use std::sync::Arc;

use tokio::sync::watch;

use super::{PipelineSummary, PipelinesPage, Service};
use crate::model::{
    Counts, FeedPage, JobId, JobRecord, Lookup, Page, PageQuery, PipelineName, Timeline,
    TimelineQuery, TimestampMs,
};
use crate::store::{CheckReport, StoreError};

impl Service {
    /// The record of a job. Short; may be called on an async worker.
    ///
    /// # Errors
    /// [`StoreError`]: the job may exist; never answer "unknown" for it.
    pub fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        self.inner.read.get(job_id)
    }

    /// The records of some jobs, all of one moment. Blocks on disk: call it on a blocking thread.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn lookup(&self, job_ids: &[JobId]) -> Result<Lookup, StoreError> {
        self.inner.read.lookup(job_ids)
    }

    /// One page of a list. Blocks on disk: call it on a blocking thread.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    pub fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.inner.read.page(query)
    }

    /// The numbers of jobs and the last update that they reflect.
    pub fn counts(&self) -> (Arc<Counts>, u64) {
        self.inner.read.counts()
    }

    /// At most `limit` pipelines behind `after`, in the order of their names. Blocks on disk.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    pub fn pipelines(
        &self,
        after: Option<&PipelineName>,
        limit: usize,
    ) -> Result<PipelinesPage, StoreError> {
        self.inner.pipelines(after, limit)
    }

    /// One pipeline; `None` if it has no job and nothing is expected of it. Blocks on disk.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    pub fn pipeline(&self, name: &PipelineName) -> Result<Option<PipelineSummary>, StoreError> {
        self.inner.summary(name)
    }

    /// Updates and changes of numbers over time. Blocks on disk.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    pub fn timeline(&self, query: &TimelineQuery) -> Result<Timeline, StoreError> {
        self.inner.read.timeline(query)
    }

    /// About `limit` operations after seq `after`, in order. Blocks on disk. An empty page means
    /// that nothing came after; [`durable`](Self::durable) tells when something has.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said.
    pub fn feed(&self, after: u64, limit: usize) -> Result<FeedPage, StoreError> {
        self.inner.read.feed(after, limit)
    }

    /// Follows the last durable seq. Many values may be skipped; the newest is always told.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.inner.durable.clone()
    }

    /// The moment now as readers are to see it: never before the last update became durable.
    pub fn now(&self) -> TimestampMs {
        self.inner.now()
    }

    /// Names the data behind this service, for cursors that must not be used on other data.
    pub fn store_id(&self) -> &str {
        self.inner.read.store_id()
    }

    /// Compares everything with everything. Blocks; reads the whole store.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read; what was found wrong is in the report.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        self.inner.read.check()
    }
}
