//! One suite for every store: what the oracle answers, the others answer too.
//!
//! Random batches are played into the memory store and into a store on disk whose tail is so small
//! that it folds all the time; the disk store is stopped, killed and reopened in between. Readable
//! scripts beside this file run on both as well.

mod concurrent;
mod queries;
mod scripts;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{KeptAnswer, OpenHooks, ReadStore, Sides, StoreOptions, WriteStore, memory, redb};
use crate::model::{
    Ack, Command, IdempotencyKey, JobFilter, JobId, Kind, Order, PageQuery, PipelineName, Request,
    Resolution, Status, TimelineQuery, TimestampMs, Update, UpdateFields,
};

const NOW: u64 = 1_764_000_000_000;
/// Reporters' times and the wall clock move in such steps, so that minutes, hours and days differ.
const STEP_MS: u64 = 1_700_000;

fn options(directory: &Path) -> StoreOptions {
    StoreOptions {
        directory: directory.to_owned(),
        tail_jobs_max: 5,
        cache_bytes: 1 << 20,
        feed_block_bytes: 200,
        merge_ids_min: 5,
        trim_segments_max: 2,
        idempotency_keys_max: 4,
        // The clock goes forth and back by days here; the oracle knows no age but that.
        idempotency_age_max: Duration::from_secs(10 * 365 * 24 * 3_600),
        ..StoreOptions::default()
    }
}

/// A store under test, with what reopens it.
struct Subject {
    options: StoreOptions,
    is_on_disk: bool,
    write: Option<Box<dyn WriteStore>>,
    read: Option<Arc<dyn ReadStore>>,
    /// Monotonic time, moved on by [`Subject::fold`].
    now: Duration,
}

impl Subject {
    fn memory() -> Self {
        let mut subject = Self {
            options: options(Path::new("")),
            is_on_disk: false,
            write: None,
            read: None,
            now: Duration::ZERO,
        };
        subject.put(memory::open(subject.options.clone()));
        subject
    }

    fn disk(directory: &Path) -> Self {
        let options = options(directory);
        let mut subject =
            Self { options, is_on_disk: true, write: None, read: None, now: Duration::ZERO };
        subject.open();
        subject
    }

    fn put(&mut self, (write, read): Sides) {
        (self.write, self.read) = (Some(write), Some(read));
    }

    fn open(&mut self) {
        let sides = redb::open(self.options.clone(), OpenHooks::default());
        self.put(sides.expect("the store opens"));
    }

    fn write(&mut self) -> &mut dyn WriteStore {
        &mut **self.write.as_mut().expect("the store is open")
    }

    fn read(&self) -> &dyn ReadStore {
        &**self.read.as_ref().expect("the store is open")
    }

    /// A clean stop and a new start.
    fn reopen(&mut self) {
        if self.is_on_disk {
            self.write.take().expect("the store is open").close().expect("the store closes");
            self.read = None;
            self.open();
        }
    }

    /// A start after a kill: on the files as they are while the store is open, since dropping the
    /// store would close them properly.
    fn crash(&mut self) {
        if !self.is_on_disk {
            return;
        }
        let directory = self.options.directory.with_extension("copy");
        std::fs::create_dir(&directory).expect("a directory");
        // A fold that is going on would change the files while they are copied.
        while self.read().stats().is_folding {
            std::thread::yield_now();
        }
        for file in std::fs::read_dir(&self.options.directory).expect("a directory") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), directory.join(file.file_name())).expect("a copy");
        }
        (self.write, self.read) = (None, None);
        std::fs::remove_dir_all(&self.options.directory).expect("it is removed");
        std::fs::rename(&directory, &self.options.directory).expect("it is renamed");
        self.open();
    }

    /// Lets the fold interval pass.
    fn fold(&mut self) {
        for _ in 0..2 {
            self.now += self.options.fold_interval + self.options.trim_idle;
            let now = self.now;
            self.write().maintain(now).expect("the store is maintained");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Request>),
    Query(Box<PageQuery>),
    Fold,
    Reopen,
    Crash,
}

fn update() -> impl Strategy<Value = Update> {
    let statuses = ["queued", "processing", "completed", "error", "own.word"];
    let pipelines = ["a", "b"];
    let rare = |length: usize| proptest::option::weighted(0.2, 0..length);
    let fields = (
        0..12_u8,
        proptest::option::weighted(0.8, 0..statuses.len()),
        proptest::option::weighted(0.7, 0..50_u64),
        proptest::option::weighted(0.2, 0..4_u32),
        rare(pipelines.len()),
        rare(statuses.len()),
        rare(3),
    );
    fields.prop_map(move |(job, status, at, attempt, pipeline, if_status, extra)| {
        let job_id = format!("job-{job}");
        Update::new(UpdateFields {
            job_id: &job_id,
            status: status.map(|it| statuses[it]),
            at: at.map(|step| TimestampMs(NOW + step * STEP_MS)),
            attempt,
            pipeline: pipeline.map(|it| pipelines[it]),
            if_status: if_status.map(|it| statuses[it]),
            error: extra.filter(|it| *it == 0).map(|_| "it failed"),
            message: extra.filter(|it| *it == 1).map(|_| "page 1"),
            progress: extra.filter(|it| *it == 2).map(|_| 0.5),
            labels: extra.filter(|it| *it == 1).map(|_| vec![("k".into(), "v".into())]),
        })
        .expect("the fields are valid")
    })
}

fn request() -> impl Strategy<Value = Request> {
    let key = proptest::option::weighted(0.3, 0..6_u8);
    let parts = (proptest::collection::vec(update(), 0..6), any::<bool>(), key, any::<bool>());
    let updates = parts.prop_map(|(updates, atomic, key, is_queued)| Request {
        atomic: atomic && !is_queued,
        ack: if is_queued { Ack::Queued } else { Ack::Durable },
        idempotency: key.and_then(|key| IdempotencyKey::new(&format!("key-{key}"), [key; 32])),
        ..Request::new(updates)
    });
    let removal = (0..12_u8).prop_map(|job| {
        let job_id = JobId::parse(&format!("job-{job}")).expect("an id");
        Request::of_command(Command::Remove(job_id))
    });
    let seen = proptest::collection::vec((0..12_u8, 1..60_u64), 1..6);
    let unchanged = seen.prop_map(|seen| {
        let job_id = |job: u8| JobId::parse(&format!("job-{job}")).expect("an id");
        let jobs = seen.into_iter().map(|(job, seq)| (job_id(job), seq)).collect();
        Request::of_command(Command::RemoveUnchanged(jobs))
    });
    let totals = proptest::option::weighted(0.9, 1..8_u64);
    let expectation = (0..3_usize, totals).prop_map(|(pipeline, total)| {
        let pipeline = PipelineName::parse(["a", "b", "default"][pipeline]).expect("a pipeline");
        Request::of_command(Command::Expect { pipeline, total })
    });
    prop_oneof![10 => updates, 1 => removal, 2 => unchanged, 1 => expectation]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(request(), 1..4).prop_map(Step::Append),
        8 => queries::page_query().prop_map(|it| Step::Query(Box::new(it))),
        2 => Just(Step::Fold),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

fn query(filter: JobFilter, order: Order, limit: usize, scan_max: usize) -> PageQuery {
    PageQuery { filter, order, limit, scan_max, cursor: None }
}

fn compare(oracle: &Subject, subject: &Subject) {
    let (oracle, subject) = (oracle.read(), subject.read());
    assert_eq!(oracle.counts(), subject.counts());
    assert_eq!(oracle.expectations(), subject.expectations());
    assert_eq!(oracle.updated_at(), subject.updated_at());
    let job_ids: Vec<JobId> =
        (0..12).map(|job| JobId::parse(&format!("job-{job}")).expect("an id")).collect();
    for job_id in &job_ids {
        assert_eq!(oracle.get(job_id).expect("read"), subject.get(job_id).expect("read"));
    }
    assert_eq!(oracle.lookup(&job_ids).expect("read"), subject.lookup(&job_ids).expect("read"));
    for order in [Order::Newest, Order::Oldest, Order::Id] {
        queries::compare(oracle, subject, &query(JobFilter::default(), order, 3, 4));
    }
    assert_eq!(oracle.feed(0, 10_000).expect("read"), subject.feed(0, 10_000).expect("read"));
    let part = subject.feed(3, 2).expect("read").operations;
    assert_eq!(oracle.feed(3, part.len()).expect("read").operations, part);
    assert!(part.len() >= 2 || subject.counts().1 < 5, "a page holds about what it should");
    for resolution in Resolution::ALL {
        let names = [None, Some("a"), Some("default")];
        for name in names.iter().filter(|it| it.is_none() || resolution.has_pipelines()) {
            let pipeline = name.map(|name| PipelineName::parse(name).expect("a pipeline"));
            let step_ms = resolution.step_ms();
            let (from, to) = (TimestampMs(0), TimestampMs(NOW * 2 / step_ms * step_ms));
            let query = TimelineQuery { resolution, from, to, step_ms, pipeline };
            let expected = oracle.timeline(&query).expect("read");
            let timeline = subject.timeline(&query).expect("read");
            assert_eq!(expected.steps, timeline.steps, "{query:?}");
            assert_eq!(expected.as_of_seq, timeline.as_of_seq);
            // A step whose changes cancel out may be kept or not.
            assert!(timeline.held_from >= expected.held_from, "{query:?}");
            let first = timeline.steps.keys().next().copied();
            assert!(first.is_none_or(|first| timeline.held_from <= Some(first)), "{query:?}");
        }
    }
    // A window that cuts tail and tables, in steps that are several kept ones long.
    for (resolution, kept) in [(Resolution::Minute, 90), (Resolution::Hour, 5)] {
        let step_ms = kept * resolution.step_ms();
        let at = |step: u64| TimestampMs((NOW + step * STEP_MS) / step_ms * step_ms);
        let (from, to, pipeline) = (at(11), at(61), None);
        let query = TimelineQuery { resolution, from, to, step_ms, pipeline };
        let (expected, timeline) = (oracle.timeline(&query), subject.timeline(&query));
        assert_eq!(expected.expect("read").steps, timeline.expect("read").steps, "{query:?}");
    }
    let report = subject.check().expect("the check reads");
    assert_eq!(report.problems, Vec::<String>::new());
}

/// Plays the same steps into the oracle and a store on disk, and compares after each.
fn play(steps: Vec<Step>) {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut oracle, mut subject) = (Subject::memory(), Subject::disk(directory.path()));
    for (number, step) in (0..).zip(steps) {
        // The wall clock goes forth and back.
        let time = NOW + number * 37 % 100 * STEP_MS;
        match step {
            Step::Append(requests) => {
                let expected = oracle.write().append(&requests, TimestampMs(time));
                let appended = subject.write().append(&requests, TimestampMs(time));
                let (expected, appended) = (expected.expect("append"), appended.expect("append"));
                assert_eq!(expected.answers, appended.answers);
                assert_eq!(expected.durable_seq, appended.durable_seq);
                let keys = requests.iter().filter_map(|it| it.idempotency.as_ref());
                for key in keys {
                    let kept = |it: &Subject| it.read().kept_answer(&key.key, TimestampMs(time));
                    let (expected, kept) = (kept(&oracle), kept(&subject));
                    let answer = |it: Option<KeptAnswer>| it.map(|it| (it.fingerprint, it.answer));
                    let (expected, kept) = (expected.expect("read"), kept.expect("read"));
                    assert_eq!(answer(expected), answer(kept));
                }
            }
            Step::Query(query) => queries::compare(oracle.read(), subject.read(), &query),
            Step::Fold => subject.fold(),
            Step::Reopen => subject.reopen(),
            Step::Crash => subject.crash(),
        }
        compare(&oracle, &subject);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_on_disk_answers_as_the_oracle_does(
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        play(steps);
    }
}

/// The controls: an update that the store on disk is told and the oracle is not, or otherwise, is
/// found out by the comparison.
#[test]
fn a_store_that_differs_by_one_fact_is_found() {
    let update = |job_id: &str, status: &str, at: u64| {
        let at = Some(TimestampMs(NOW + at));
        let fields = UpdateFields { job_id, status: Some(status), at, ..UpdateFields::default() };
        Request::new(vec![Update::new(fields).expect("the fields are valid")])
    };
    let same: Vec<Request> =
        (0..8).map(|job| update(&format!("job-{job}"), "queued", job)).collect();
    let differ = |of_oracle: Option<Request>, of_subject: Option<Request>| {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut oracle, mut subject) = (Subject::memory(), Subject::disk(directory.path()));
        for (side, other) in [(&mut oracle, of_oracle), (&mut subject, of_subject)] {
            let batch: Vec<Request> = same.iter().cloned().chain(other).collect();
            side.write().append(&batch, TimestampMs(NOW)).expect("append");
        }
        subject.fold();
        std::panic::catch_unwind(AssertUnwindSafe(|| compare(&oracle, &subject))).is_err()
    };
    let done = |at| Some(update("job-3", "completed", at));
    assert!(!differ(None, None) && !differ(done(90), done(90)));
    assert!(differ(done(90), None) && differ(None, done(90)), "an update more or less");
    assert!(differ(done(90), done(91)), "another time");
    assert!(differ(done(90), Some(update("job-4", "completed", 90))), "another job");
    assert!(differ(done(90), Some(update("job-3", "error", 90))), "another status");
}

/// Rounds of the property test; `JOBSLATE_PROPERTY_CASES` asks for more.
fn cases() -> u32 {
    let wanted = std::env::var("JOBSLATE_PROPERTY_CASES").ok();
    wanted.and_then(|it| it.parse().ok()).unwrap_or(100)
}
