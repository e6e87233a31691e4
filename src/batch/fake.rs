//! A store for the tests of the writer: it counts, holds a commit until told, fails and panics.
//!
//! Every update is applied, except those of jobs named `reject...`; jobs named `start...` start.
//! Nothing here decides by time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::model::{
    Ack, Answer, Counts, Expectations, FeedPage, JobId, JobRecord, Lookup, Page, PageQuery,
    Rejection, RejectionCode, Request, Timeline, TimelineQuery, TimestampMs,
};
use crate::store::{
    AppendError, Appended, CheckReport, KeptAnswer, ReadStore, ReopenError, Reopened, Sides,
    StoreError, StoreStats, Upkeep, WriteStore,
};

/// A test that waits longer than this has found a lost wake-up.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What a test sees and steers. Clones share one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The job ids of each committed batch, in order.
    pub batches: Vec<Vec<String>>,
    /// Calls of `append`, those in progress included.
    pub appends: usize,
    pub maintains: usize,
    pub maintain_at: Option<Duration>,
    pub is_closing: bool,
    pub is_closed: bool,
    pub end: Option<End>,
    /// What it says of the room on its disk.
    pub full: Option<StoreError>,
    /// How often it was opened again; and what the next times come to, and whether the batch that
    /// failed is there then.
    pub reopens: usize,
    pub reopened: VecDeque<(Result<(), StoreError>, bool)>,
    /// True if a new process could read no more than this one.
    pub is_of_tables: bool,
    pub seq: u64,
    is_held: bool,
    permits: usize,
    kept: HashMap<String, KeptAnswer>,
}

/// How the store ends, at the append with this number (from 1), at maintenance, or at the close.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    FailAt(usize),
    /// From this append on, also after it was opened again.
    FailFrom(usize),
    /// As `FailFrom`: there is no room.
    FullFrom(usize),
    PanicAt(usize),
    FailMaintain,
    FailClose,
}

impl Fake {
    pub fn sides(&self) -> Sides {
        (Box::new(Write(self.clone())), Arc::new(Read(self.clone())))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub fn end(&self, end: End) {
        self.state().end = Some(end);
    }

    /// Appends wait from now on, until [`allow`](Self::allow) lets them return; so do openings and
    /// the close.
    pub fn hold(&self) {
        self.state().is_held = true;
    }

    pub fn allow(&self, appends: usize) {
        self.state().permits += appends;
        self.0.changed.notify_all();
    }

    /// Ends the holding.
    pub fn release(&self) {
        self.state().is_held = false;
        self.0.changed.notify_all();
    }

    /// Waits until `is_so` holds; it is looked at when the store is called.
    pub fn wait(&self, is_so: impl Fn(&State) -> bool) {
        let mut state = self.state();
        while !is_so(&state) {
            let (next, timeout) = self.0.changed.wait_timeout(state, STUCK_AFTER).unwrap();
            assert!(!timeout.timed_out(), "stuck: {next:?}");
            state = next;
        }
    }

    /// The sizes of the committed batches.
    pub fn sizes(&self) -> Vec<usize> {
        self.state().batches.iter().map(Vec::len).collect()
    }

    fn begin_append(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        state.appends += 1;
        self.0.changed.notify_all();
        while state.is_held && state.permits == 0 {
            let (next, timeout) = self.0.changed.wait_timeout(state, STUCK_AFTER).unwrap();
            assert!(!timeout.timed_out(), "nobody allowed the append");
            state = next;
        }
        state.permits = state.permits.saturating_sub(1);
        let (appends, end) = (state.appends, state.end);
        drop(state);
        match end {
            Some(End::FailAt(at)) if at == appends => Err(failed("no sync")),
            Some(End::FailFrom(from)) if from <= appends => Err(failed("no sync")),
            Some(End::FullFrom(from)) if from <= appends => {
                Err(StoreError::Full("no room".to_owned()))
            }
            Some(End::PanicAt(at)) if at == appends => {
                // A panic that prints nothing: some tests make thousands.
                std::panic::resume_unwind(Box::new("the fake store was told to"))
            }
            _ => Ok(()),
        }
    }
}

struct Write(Fake);

impl WriteStore for Write {
    fn append(&mut self, batch: &[Request], now: TimestampMs) -> Result<Appended, AppendError> {
        self.0.begin_append().map_err(AppendError::Unknown)?;
        let mut state = self.0.state();
        let mut job_ids = vec![];
        let mut answers = vec![];
        for request in batch {
            let answer = answer(&mut state, request, &mut job_ids);
            if let Some(key) = &request.idempotency {
                let mut answer = answer.clone();
                if request.ack == Ack::Queued {
                    // What the first caller heard at the door.
                    let accepted = request.updates.len() as u64;
                    answer = Answer { accepted, ..Answer::default() };
                    answer.set_rejections(request.rejections.clone());
                }
                let kept = KeptAnswer { fingerprint: key.fingerprint, at: now, answer };
                assert!(state.kept.insert(key.key.to_string(), kept).is_none(), "applied twice");
            }
            answers.push(answer);
        }
        let jobs = job_ids.iter().collect::<HashSet<_>>().len();
        let is_committed = !job_ids.is_empty();
        let started = job_ids.iter().filter(|id| id.starts_with("start"));
        let started = started.map(|id| JobId::parse(id).unwrap()).collect();
        if is_committed {
            state.batches.push(job_ids);
        }
        let durable_seq = state.seq;
        self.0.0.changed.notify_all();
        Ok(Appended { answers, started, durable_seq, jobs, segment_bytes: 1, is_committed })
    }

    fn reopen(&mut self) -> Result<Reopened, ReopenError> {
        let mut state = self.0.state();
        state.reopens += 1;
        self.0.0.changed.notify_all();
        while state.is_held {
            state = self.0.0.changed.wait_timeout(state, STUCK_AFTER).unwrap().0;
        }
        let durable_seq = state.seq;
        let next = state.reopened.pop_front();
        self.0.0.changed.notify_all();
        // A store that was not told to come back has a bug, and is not tried again.
        let bug = || StoreError::Panicked("told to fail for good".to_owned());
        let (is_open, has_batch) = next.unwrap_or_else(|| (Err(bug()), false));
        match is_open {
            Ok(()) => {
                if !matches!(state.end, Some(End::FailFrom(_) | End::FullFrom(_))) {
                    state.end = None;
                }
                Ok(Reopened { durable_seq, has_batch })
            }
            Err(source) => Err(ReopenError { source, may_restart_help: !state.is_of_tables }),
        }
    }

    fn maintain(&mut self, _now: Duration) -> Result<Upkeep, StoreError> {
        let mut state = self.0.state();
        state.maintains += 1;
        self.0.0.changed.notify_all();
        match state.end {
            Some(End::FailMaintain) => Err(failed("no maintenance")),
            _ => Ok(Upkeep { again_at: state.maintain_at, full: state.full.clone() }),
        }
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let mut state = self.0.state();
        state.is_closing = true;
        self.0.0.changed.notify_all();
        while state.is_held {
            state = self.0.0.changed.wait_timeout(state, STUCK_AFTER).unwrap().0;
        }
        state.is_closed = true;
        match state.end {
            Some(End::FailClose) => Err(failed("no close")),
            _ => Ok(()),
        }
    }
}

fn answer(state: &mut State, request: &Request, job_ids: &mut Vec<String>) -> Answer {
    let mut answer = Answer { durable: true, ..Answer::default() };
    let mut rejections = request.rejections.clone();
    let first_seq = state.seq + 1;
    for (index, update) in &request.updates {
        let job_id = update.job_id.as_str();
        if job_id.starts_with("reject") {
            let code = RejectionCode::UnknownJob;
            rejections.push(Rejection::new(*index, Some(job_id), code, String::new()));
            continue;
        }
        state.seq += 1;
        answer.accepted += 1;
        answer.applied += 1;
        job_ids.push(job_id.to_owned());
    }
    answer.seqs = (answer.accepted > 0).then_some((first_seq, state.seq));
    answer.set_rejections(rejections);
    answer
}

#[derive(Debug)]
struct Read(Fake);

impl ReadStore for Read {
    fn store_id(&self) -> &str {
        "fake"
    }

    fn kept_answer(&self, key: &str, _: TimestampMs) -> Result<Option<KeptAnswer>, StoreError> {
        match key {
            "unreadable" => Err(failed("no read")),
            "panics" => {
                // A panic that prints nothing: some tests make thousands.
                std::panic::resume_unwind(Box::new("the fake store was told to"))
            }
            _ => Ok(self.0.state().kept.get(key).cloned()),
        }
    }

    fn counts(&self) -> (Arc<Counts>, u64) {
        (Arc::default(), self.0.state().seq)
    }

    fn get(&self, _: &JobId) -> Result<Option<Arc<JobRecord>>, StoreError> {
        Err(failed("this store keeps no records"))
    }

    fn page(&self, _: &PageQuery) -> Result<Page, StoreError> {
        Err(failed("this store keeps no records"))
    }

    fn lookup(&self, _: &[JobId]) -> Result<Lookup, StoreError> {
        Err(failed("this store keeps no records"))
    }

    fn expectations(&self) -> Arc<Expectations> {
        Arc::default()
    }

    fn updated_at(&self) -> TimestampMs {
        TimestampMs::default()
    }

    fn timeline(&self, _: &TimelineQuery) -> Result<Timeline, StoreError> {
        Err(failed("this store keeps no records"))
    }

    fn feed(&self, _: u64, _: usize) -> Result<FeedPage, StoreError> {
        Err(failed("this store keeps no records"))
    }

    fn check(&self) -> Result<CheckReport, StoreError> {
        Err(failed("this store keeps no records"))
    }

    fn stats(&self) -> StoreStats {
        StoreStats { last_seq: self.0.state().seq, ..StoreStats::default() }
    }
}

fn failed(what: &str) -> StoreError {
    StoreError::Failed(what.to_owned())
}
