//! Oracles that break one rule each, for the control: a test that does not find them proves
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use jobslate::model::{
    Command, Counts, Expectations, FeedPage, JobId, JobRecord, Lookup, Page, PageQuery, Request,
    Timeline, TimelineQuery, TimestampMs,
};
use jobslate::store::{
    AppendError, Appended, CheckReport, KeptAnswer, ReadStore, ReopenError, Reopened, Sides,
    StoreError, StoreOptions, StoreStats, Upkeep, WriteStore, memory,
};

/// The rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An update that is older than what the job has changes nothing.
    LateIsStale,
    /// `atomic` is all or nothing.
    AtomicIsWhole,
    /// Freeing a pipeline of its expected total frees it.
    TotalIsFreed,
    /// A repeated call gets its first answer.
    RepeatIsAnswered,
    /// A prune removes every job that it means, and says how many.
    PruneIsWhole,
    /// A window of time begins at its first moment, not behind it.
    WindowIsHalfOpen,
    /// A page of the feed begins right behind the place that was asked for.
    FeedHasNoGap,
}

impl Rule {
    pub const ALL: [Self; 7] = [
        Self::LateIsStale,
        Self::AtomicIsWhole,
        Self::TotalIsFreed,
        Self::RepeatIsAnswered,
        Self::PruneIsWhole,
        Self::WindowIsHalfOpen,
        Self::FeedHasNoGap,
    ];
}

/// The store in memory; with a rule, one that breaks it.
pub fn open(options: StoreOptions, rule: Option<Rule>) -> Sides {
    let (write, read) = memory::open(options);
    match rule {
        None => (write, read),
        Some(rule) => {
            (Box::new(BrokenWriter { write, rule }), Arc::new(BrokenReader { read, rule }))
        }
    }
}

struct BrokenWriter {
    write: Box<dyn WriteStore>,
    rule: Rule,
}

impl BrokenWriter {
    fn bend(&self, request: &mut Request) {
        match self.rule {
            Rule::LateIsStale => {
                request.updates.iter_mut().for_each(|(_, update)| update.at = None);
            }
            Rule::AtomicIsWhole => request.atomic = false,
            Rule::TotalIsFreed => {
                if let Some(Command::Expect { total, .. }) = &mut request.command {
                    total.get_or_insert(1);
                }
            }
            Rule::PruneIsWhole => {
                if let Some(Command::RemoveUnchanged(jobs)) = &mut request.command {
                    jobs.truncate(jobs.len().max(2) - 1);
                }
            }
            Rule::RepeatIsAnswered | Rule::WindowIsHalfOpen | Rule::FeedHasNoGap => {}
        }
    }
}

impl WriteStore for BrokenWriter {
    fn append(&mut self, batch: &[Request], now: TimestampMs) -> Result<Appended, AppendError> {
        let mut bent = batch.to_vec();
        bent.iter_mut().for_each(|request| self.bend(request));
        self.write.append(&bent, now)
    }

    fn maintain(&mut self, now: Duration) -> Result<Upkeep, StoreError> {
        self.write.maintain(now)
    }

    fn reopen(&mut self) -> Result<Reopened, ReopenError> {
        self.write.reopen()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.write.close()
    }
}

#[derive(Debug)]
struct BrokenReader {
    read: Arc<dyn ReadStore>,
    rule: Rule,
}

impl ReadStore for BrokenReader {
    fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        self.read.get(job_id)
    }

    fn lookup(&self, job_ids: &[JobId]) -> Result<Lookup, StoreError> {
        self.read.lookup(job_ids)
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let mut query = query.clone();
        if self.rule == Rule::WindowIsHalfOpen {
            query.filter.updated_from = query.filter.updated_from.map(|at| TimestampMs(at.0 + 1));
        }
        self.read.page(&query)
    }

    fn counts(&self) -> (Arc<Counts>, u64) {
        self.read.counts()
    }

    fn expectations(&self) -> Arc<Expectations> {
        self.read.expectations()
    }

    fn updated_at(&self) -> TimestampMs {
        self.read.updated_at()
    }

    fn feed(&self, after: u64, limit: usize) -> Result<FeedPage, StoreError> {
        let is_broken = self.rule == Rule::FeedHasNoGap && after > 0;
        self.read.feed(after + u64::from(is_broken), limit)
    }

    fn timeline(&self, query: &TimelineQuery) -> Result<Timeline, StoreError> {
        self.read.timeline(query)
    }

    fn kept_answer(&self, key: &str, now: TimestampMs) -> Result<Option<KeptAnswer>, StoreError> {
        match self.rule {
            Rule::RepeatIsAnswered => Ok(None),
            _ => self.read.kept_answer(key, now),
        }
    }

    fn check(&self) -> Result<CheckReport, StoreError> {
        self.read.check()
    }

    fn stats(&self) -> StoreStats {
        self.read.stats()
    }

    fn store_id(&self) -> &str {
        self.read.store_id()
    }
}
