//! The oracle: the whole store in maps, under the same decisions. Nothing survives it.
//!
//! It is simple on purpose: every read scans, so that the indexes of the real store have something
//! to be compared with.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::ages::Ages;
use super::batch::{Ground, decide};
use super::{
    AppendError, Appended, CheckReport, KeptAnswer, ReadStore, ReopenError, Reopened, Sides,
    StoreError, StoreOptions, StoreStats, Upkeep, WriteStore,
};
use crate::model::{
    Clock, Counts, Cursor, Expectations, FeedPage, JobId, JobRecord, Kinds, Lookup, NameMap,
    Operation, Order, Page, PageQuery, Place, Request, Resolution, Timeline, TimelineQuery,
    TimestampMs, minute_of, tally,
};

/// Opens an empty store that lives in memory. Never fails, never syncs.
pub fn open(options: StoreOptions) -> Sides {
    let state = Arc::new(RwLock::new(State::default()));
    let reader = MemoryReader {
        state: state.clone(),
        kept_age_max: options.idempotency_age_max,
        clock: options.clock.clone(),
        kinds: options.kinds.clone(),
        store_id: uuid::Uuid::now_v7().to_string(),
    };
    (Box::new(MemoryWriter { state, options }), Arc::new(reader))
}

#[derive(Debug, Default)]
struct State {
    jobs: NameMap<JobId, Arc<JobRecord>>,
    counts: Arc<Counts>,
    expectations: Arc<Expectations>,
    /// With the time at which each became durable.
    feed: Vec<(Operation, TimestampMs)>,
    keys: BTreeMap<Box<str>, KeptAnswer>,
    ages: Ages,
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
            expectations: &state.expectations,
            pipelines_max: self.options.pipelines_max,
            statuses_max: self.options.statuses_max,
            last_seq: state.last_seq,
            now,
            updated_at: now.max(state.updated_at),
        };
        let updated_at = ground.updated_at;
        let decided = decide(batch, &ground, |job_id| Ok(state.jobs.get(job_id).cloned()))?;
        let records = decided.records(updated_at);
        let is_committed = !decided.is_empty();
        if is_committed {
            state.updated_at = updated_at;
        }
        let last_seq = state.last_seq + decided.operations.len() as u64;
        state.last_seq = last_seq;
        state.ages.note(passed(&self.options.clock), last_seq);
        let mut counts = Counts::clone(&state.counts);
        let mut expectations = Expectations::clone(&state.expectations);
        for operation in decided.operations {
            counts.apply(&operation).expect("the oracle counts what it keeps");
            expectations.apply(&operation);
            state.feed.push((operation, updated_at));
        }
        (state.counts, state.expectations) = (Arc::new(counts), Arc::new(expectations));
        let jobs = records.len();
        for (job_id, record) in records {
            match record {
                Some(record) => drop(state.jobs.insert(job_id, record)),
                None => drop(state.jobs.remove(&job_id)),
            }
        }
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

    fn maintain(&mut self, _now: Duration) -> Result<Upkeep, StoreError> {
        Ok(Upkeep::default())
    }

    fn reopen(&mut self) -> Result<Reopened, ReopenError> {
        // Memory fails by a panic alone, which ends the writer.
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Reopened { durable_seq: state.last_seq, has_batch: false })
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct MemoryReader {
    state: Arc<RwLock<State>>,
    kept_age_max: Duration,
    clock: Clock,
    kinds: Kinds,
    store_id: String,
}

impl ReadStore for MemoryReader {
    fn get(&self, job_id: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        Ok(self.state.read().map_err(poisoned)?.jobs.get(job_id).cloned())
    }

    fn lookup(&self, job_ids: &[JobId]) -> Result<Lookup, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let records = job_ids.iter().map(|job_id| state.jobs.get(job_id).cloned()).collect();
        Ok(Lookup { records, as_of_seq: state.last_seq })
    }

    fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let as_of_seq = query.cursor.as_ref().map_or(state.last_seq, |it| it.as_of_seq);
        let is_due = |job_id: &JobId, record: &JobRecord| {
            let place = query.cursor.as_ref().map(|it| &it.place);
            record.seq <= as_of_seq
                && place.is_none_or(|place| match (place, query.order) {
                    (Place::Seq(seq), Order::Newest) => record.seq < *seq,
                    (Place::Seq(seq), _) => record.seq > *seq,
                    (Place::Id(last), _) => job_id > last,
                })
        };
        let mut jobs: Vec<_> = state
            .jobs
            .iter()
            .filter(|(job_id, record)| is_due(job_id, record))
            .filter(|(job_id, record)| query.filter.matches(job_id, record, &self.kinds))
            .map(|(job_id, record)| (job_id.clone(), record.clone()))
            .collect();
        match query.order {
            Order::Newest => jobs.sort_by_key(|(_, record)| std::cmp::Reverse(record.seq)),
            Order::Oldest => jobs.sort_by_key(|(_, record)| record.seq),
            Order::Id => jobs.sort_by(|a, b| a.0.cmp(&b.0)),
        }
        let is_more = jobs.len() > query.limit;
        jobs.truncate(query.limit);
        let next = jobs.last().filter(|_| is_more).map(|(job_id, record)| Cursor {
            place: match query.order {
                Order::Newest | Order::Oldest => Place::Seq(record.seq),
                Order::Id => Place::Id(job_id.clone()),
            },
            as_of_seq,
        });
        Ok(Page { jobs, next, as_of_seq })
    }

    fn counts(&self) -> (Arc<Counts>, u64) {
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (state.counts.clone(), state.last_seq)
    }

    fn expectations(&self) -> Arc<Expectations> {
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.expectations.clone()
    }

    fn updated_at(&self) -> TimestampMs {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner).updated_at
    }

    fn seq_older_than(&self, age: Duration) -> u64 {
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.ages.seq_older_than(age, passed(&self.clock))
    }

    fn feed(&self, after: u64, limit: usize) -> Result<FeedPage, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let later = state.feed.iter().filter(|(it, _)| it.seq() > after);
        let operations = later.take(limit).map(|(it, _)| it.clone()).collect();
        Ok(FeedPage { operations, first_held: 1, as_of_seq: state.last_seq })
    }

    fn timeline(&self, query: &TimelineQuery) -> Result<Timeline, StoreError> {
        let state = self.state.read().map_err(poisoned)?;
        let mut timeline = Timeline { as_of_seq: state.last_seq, ..Timeline::default() };
        let mut first = None;
        for (operation, updated_at) in &state.feed {
            let minute = minute_of(operation, *updated_at);
            let mut is_counted = false;
            tally(operation, |pipeline, status, tally| {
                is_counted = true;
                if query.pipeline.as_ref().is_none_or(|asked| asked == pipeline)
                    && let Some(step) = query.step_of(minute)
                {
                    timeline.add(step, status, tally);
                }
            });
            if is_counted {
                first = first.into_iter().chain([minute]).min();
            }
        }
        timeline.prune();
        let length_ms = query.resolution.step_ms();
        timeline.held_from = first.map(|minute| {
            let at = u64::from(minute) * Resolution::Minute.step_ms();
            TimestampMs(at - at % length_ms)
        });
        Ok(timeline)
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

/// The time that the process ran, for ages.
fn passed(clock: &Clock) -> TimestampMs {
    TimestampMs(u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX))
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> StoreError {
    StoreError::Failed("a thread panicked while it held the store".to_owned())
}
