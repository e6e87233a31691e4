//! The oracle: the whole store in maps, under the same decisions. Nothing survives it.
//!
//! It is simple on purpose: every read scans, so that the indexes of the real store have something
//! to be compared with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::batch::{Ground, decide};
use super::{
    AppendError, Appended, CheckReport, KeptAnswer, ReadStore, Sides, StoreError, StoreOptions,
    StoreStats, WriteStore,
};
use crate::model::{
    Change, Counts, Cursor, JobId, JobRecord, Page, PageQuery, Request, TimestampMs,
};

/// Opens an empty store that lives in memory. Never fails, never syncs.
pub fn open(options: StoreOptions) -> Sides {
    let state = Arc::new(RwLock::new(State::default()));
    let reader = MemoryReader {
        state: state.clone(),
        kept_age_max: options.idempotency_age_max,
        store_id: uuid::Uuid::now_v7().to_string(),
    };
    (Box::new(MemoryWriter { state, options }), Arc::new(reader))
}

#[derive(Debug, Default)]
struct State {
    jobs: HashMap<JobId, Arc<JobRecord>>,
    counts: Arc<Counts>,
    feed: Vec<Change>,
    keys: BTreeMap<Box<str>, KeptAnswer>,
    last_seq: u64,
    updated_at: TimestampMs,
}

struct MemoryWriter {
    state: Arc<RwLock<State>>,
    options: StoreOptions,
}

impl WriteStore for MemoryWriter {
    fn append(&mut self, batch: &[Request], now: TimestampMs) -> Result<Appended, AppendError> {
        let mut state = self.state.write().map_err(poisoned)?;
        let ground = Ground {
            kinds: &self.options.kinds,
            counts: &state.counts,
            pipelines_max: self.options.pipelines_max,
            statuses_max: self.options.statuses_max,
            last_seq: state.last_seq,
            now,
            updated_at: now.max(state.updated_at),
        };
        let updated_at = ground.updated_at;
        let decided = decide(batch, &ground, |job_id| Ok(state.jobs.get(job_id).cloned()))?;
        let is_committed = !decided.is_empty();
        if is_committed {
            state.updated_at = updated_at;
        }
        state.last_seq += decided.changes.len() as u64;
        let mut counts = Counts::clone(&state.counts);
        let counted = decided.changes.iter().try_for_each(|change| counts.change(change));
        counted.expect("the oracle counts what it keeps");
        state.counts = Arc::new(counts);
        let jobs = decided.records.len();
        state.jobs.extend(decided.records);
        state.feed.extend(decided.changes);
        state.keys.extend(decided.keys);
        Ok(Appended {
            answers: decided.answers,
            started: decided.started,
            durable_seq: state.last_seq,
            jobs,
            segment_bytes: 0,
            is_committed,
        })
    }

    fn maintain(&mut self, _now: Duration) -> Result<Option<Duration>, StoreError> {
        Ok(None)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct MemoryReader {
    state: Arc<RwLock<State>>,
    kept_age_max: Duration,
    store_id: String,
}

impl ReadStore for MemoryReader {
    fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        Ok(self.state.read().map_err(poisoned)?.jobs.get(job_id).cloned())
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let as_of_seq = query.cursor.map_or(state.last_seq, |cursor| cursor.as_of_seq);
        let below = query.cursor.map_or(u64::MAX, |cursor| cursor.last_seq);
        let is_due = |record: &&JobRecord| record.seq < below && record.seq <= as_of_seq;
        let matches = |(job_id, record): (&JobId, &Arc<JobRecord>)| {
            Some(&**record)
                .filter(is_due)
                .filter(|record| query.matches(record))
                .map(|_| (job_id.clone(), record.clone()))
        };
        let mut jobs: Vec<_> = state.jobs.iter().filter_map(matches).collect();
        jobs.sort_by_key(|(_, record)| std::cmp::Reverse(record.seq));
        let is_more = jobs.len() > query.limit;
        jobs.truncate(query.limit);
        let last = jobs.last().filter(|_| is_more);
        let next = last.map(|(_, record)| Cursor { last_seq: record.seq, as_of_seq });
        Ok(Page { jobs, next, as_of_seq })
    }

    fn counts(&self) -> (Arc<Counts>, u64) {
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (state.counts.clone(), state.last_seq)
    }

    fn feed(&self, after: u64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        Ok(state.feed.iter().filter(|it| it.seq > after).take(limit).cloned().collect())
    }

    fn kept_answer(&self, key: &str, now: TimestampMs) -> Result<Option<KeptAnswer>, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let kept = state.keys.get(key).cloned();
        Ok(kept.filter(|kept| !kept.is_expired(now, self.kept_age_max)))
    }

    fn check(&self) -> Result<CheckReport, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let mut report = CheckReport {
            jobs: state.jobs.len() as u64,
            updates: state.feed.len() as u64,
            last_seq: state.last_seq,
            problems: Vec::new(),
        };
        let mut scanned = Counts::default();
        for record in state.jobs.values() {
            scanned.add(&record.pipeline, record.status, 1);
        }
        if scanned != *state.counts {
            report.note("the counts differ from a scan of the jobs".to_owned());
        }
        Ok(report)
    }

    fn stats(&self) -> StoreStats {
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        StoreStats { last_seq: state.last_seq, ..StoreStats::default() }
    }

    fn store_id(&self) -> &str {
        &self.store_id
    }
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> StoreError {
    StoreError::Failed("a thread panicked while it held the store".to_owned())
}
