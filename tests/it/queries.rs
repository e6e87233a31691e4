//! Random questions about the recorded traces: the store on disk gives the jobs that a scan of the
//! memory store gives, in every order and page size, at rest and while updates go on.
//!
//! `JOBSLATE_QUERIES` says how many questions are asked, `JOBSLATE_QUERY_UPDATES` how much of each
//! trace is stored while walks go on; at rest, all of both is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jobslate::model::{
    JobFilter, JobId, JobRecord, Kind, Order, PageQuery, PipelineName, Request, Status, TimestampMs,
};
use jobslate::store::{OpenHooks, ReadStore, Sides, StoreOptions, WriteStore, memory, redb};

use crate::model::broken::{self, Rule};
use crate::random::{Random, number_from_environment};
use crate::trace::{Trace, TraceUpdate};

const UPDATES_BESIDE_DEFAULT: usize = 30_000;
const QUERIES_DEFAULT: usize = 150;
const BATCH_UPDATES: usize = 500;
const PAGES_MAX: usize = 60;
/// Each batch becomes durable so much later than the last.
const BATCH_MS: u64 = 1_000;
const BEGUN_AT: u64 = 1_764_000_000_000;

/// The same updates in both stores.
struct Pair {
    oracle: (Box<dyn WriteStore>, Arc<dyn ReadStore>),
    subject: (Box<dyn WriteStore>, Arc<dyn ReadStore>),
    batches: u64,
    _directory: tempfile::TempDir,
}

impl Pair {
    /// Empty stores.
    fn new() -> Self {
        Self::over(|options| redb::open(options, OpenHooks::default()).unwrap())
    }

    /// With a subject of which a rule is broken, for the control.
    fn broken(rule: Rule) -> Self {
        Self::over(|options| broken::open(options, Some(rule)))
    }

    /// The tail of a store on disk is small, so that it folds often.
    fn over(open: impl FnOnce(StoreOptions) -> Sides) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            directory: directory.path().join("data"),
            tail_jobs_max: 5_000,
            ..StoreOptions::default()
        };
        let oracle = memory::open(options.clone());
        let subject = open(options);
        Self { oracle, subject, batches: 0, _directory: directory }
    }

    fn append(&mut self, updates: &[TraceUpdate]) {
        let batch = [Request::new(updates.iter().map(TraceUpdate::to_update).collect())];
        let now = TimestampMs(BEGUN_AT + self.batches * BATCH_MS);
        self.batches += 1;
        let expected = self.oracle.0.append(&batch, now).unwrap();
        let appended = self.subject.0.append(&batch, now).unwrap();
        assert_eq!(expected.answers, appended.answers);
    }

    /// What a scan gives.
    fn scan(&self, query: &PageQuery) -> Vec<(JobId, u64)> {
        let whole = PageQuery { limit: usize::MAX - 1, scan_max: usize::MAX, ..query.clone() };
        jobs(self.oracle.1.page(&whole).unwrap().jobs)
    }

    fn last_seq(&self) -> u64 {
        self.subject.1.counts().1
    }
}

fn jobs(page: Vec<(JobId, Arc<JobRecord>)>) -> Vec<(JobId, u64)> {
    page.into_iter().map(|(job_id, record)| (job_id, record.seq)).collect()
}

/// The first updates of both big traces, one after the other in turns of a batch.
fn updates(most: usize) -> Vec<TraceUpdate> {
    let traces = ["google2011-jobs", "google2011-tasks"].map(|name| {
        let updates = Trace::read(name).updates;
        updates.into_iter().take(most).collect::<Vec<_>>()
    });
    let [jobs, tasks] = &traces;
    let turns = jobs.len().max(tasks.len()).div_ceil(BATCH_UPDATES);
    let turn = |trace: &[TraceUpdate], turn: usize| {
        let start = (turn * BATCH_UPDATES).min(trace.len());
        trace[start..(start + BATCH_UPDATES).min(trace.len())].to_vec()
    };
    (0..turns).flat_map(|number| [turn(jobs, number), turn(tasks, number)].concat()).collect()
}

/// Words to build questions from, all of them in use.
struct Words {
    pipelines: Vec<String>,
    ids: Vec<String>,
}

impl Words {
    fn of(updates: &[TraceUpdate]) -> Self {
        let pipelines: HashSet<&str> = updates.iter().map(|it| &*it.pipeline).collect();
        let mut pipelines: Vec<String> = pipelines.into_iter().map(str::to_owned).collect();
        pipelines.sort();
        let ids = updates.iter().step_by(997).map(|it| it.job_id.clone()).collect();
        Self { pipelines, ids }
    }

    fn query(&self, random: &mut Random, batches: u64) -> PageQuery {
        let statuses = ["queued", "processing", "completed", "cancelled", "error", "never-seen"];
        let mut some = |count: usize| {
            let words = if random.below(2) == 0 { 0 } else { random.below(count) };
            (0..words).map(|_| random.below(count)).collect::<Vec<usize>>()
        };
        let (words, kinds) = (some(statuses.len()), some(Kind::ALL.len()));
        let mut moment = |rarity: usize| {
            (random.below(rarity) == 0).then(|| {
                let batch = random.below(batches as usize + 2) as u64;
                TimestampMs(BEGUN_AT + batch * BATCH_MS + random.below(3) as u64)
            })
        };
        let (updated_from, updated_before, stalled_since) = (moment(4), moment(4), moment(6));
        let pipeline = (random.below(3) == 0).then(|| {
            PipelineName::parse(&self.pipelines[random.below(self.pipelines.len())]).unwrap()
        });
        let prefix = if random.below(3) == 0 {
            let id = &self.ids[random.below(self.ids.len())];
            id[..1 + random.below(id.len())].to_owned()
        } else {
            String::new()
        };
        let filter = JobFilter {
            statuses: words.iter().map(|it| Status::parse(statuses[*it]).unwrap()).collect(),
            kinds: kinds.iter().map(|it| Kind::ALL[*it]).collect(),
            pipeline,
            prefix,
            updated_from,
            updated_before,
            stalled_since,
        };
        let order = [Order::Newest, Order::Oldest, Order::Id][random.below(3)];
        let limit = 1 + [10, 200, 1_000][random.below(3)].min(random.below(1_000));
        let scan_max = [1_000, 10_000][random.below(2)];
        PageQuery { filter, order, limit, cursor: None, scan_max }
    }
}

#[test]
fn every_question_about_the_traces_is_answered_as_a_scan_would() {
    let mut random = Random::from_environment();
    let updates = updates(usize::MAX);
    let words = Words::of(&updates);
    let mut pair = Pair::new();
    updates.chunks(BATCH_UPDATES).for_each(|batch| pair.append(batch));
    assert!(pair.subject.1.stats().folds > 3, "the tables are in use");
    let queries = number_from_environment("JOBSLATE_QUERIES", QUERIES_DEFAULT);
    let (mut pages, mut met) = (0, 0);
    for _ in 0..queries {
        let query = words.query(&mut random, pair.batches);
        let (page_count, job_count) =
            ask(&pair, &query).unwrap_or_else(|different| panic!("{different}"));
        (pages, met) = (pages + page_count, met + job_count);
    }
    println!("{queries} queries, {pages} pages, {met} jobs, {} updates", updates.len());
    assert!(met > 0);
}

/// Asks both; how many pages and jobs there were, or how the answers differ.
fn ask(pair: &Pair, query: &PageQuery) -> Result<(usize, usize), String> {
    let expected = pair.scan(query);
    let (walked, page_count, is_whole) = walk(&*pair.subject.1, query);
    let until = if is_whole { expected.len() } else { walked.len() };
    if Some(&*walked) != expected.get(..until) {
        return Err(format!("{} jobs, not the {} of {query:?}", walked.len(), expected.len()));
    }
    Ok((page_count, walked.len()))
}

/// The control: a window of time that begins behind its first moment is found by such questions.
#[test]
fn a_window_that_begins_too_late_is_found() {
    let mut random = Random::from_environment();
    let updates = updates(5_000);
    let words = Words::of(&updates);
    let mut pair = Pair::broken(Rule::WindowIsHalfOpen);
    updates.chunks(BATCH_UPDATES).for_each(|batch| pair.append(batch));
    let mut asked = (1..=2_000).map(|_| ask(&pair, &words.query(&mut random, pair.batches)));
    let number = asked.position(|answer| answer.is_err()).expect("it is found");
    println!("found by question {number}");
}

/// The jobs of a walk, its pages, and whether it came to its end: enough pages of a long one are
/// read to see that it goes on as it began.
fn walk(read: &dyn ReadStore, query: &PageQuery) -> (Vec<(JobId, u64)>, usize, bool) {
    let (mut query, mut walked) = (query.clone(), Vec::new());
    for page_count in 1..=PAGES_MAX {
        let page = read.page(&query).unwrap();
        assert!(page.jobs.len() <= query.limit);
        walked.extend(jobs(page.jobs));
        let Some(next) = page.next else { return (walked, page_count, true) };
        query.cursor = Some(next);
    }
    (walked, PAGES_MAX, false)
}

#[test]
fn every_walk_beside_the_import_shows_its_beginning() {
    let mut random = Random::from_environment();
    let most = number_from_environment("JOBSLATE_QUERY_UPDATES", UPDATES_BESIDE_DEFAULT);
    let updates = updates(most);
    let words = Words::of(&updates);
    let queries = number_from_environment("JOBSLATE_QUERIES", QUERIES_DEFAULT).max(2);
    let mut pair = Pair::new();
    // A third is there before the first question; each walk lets a few batches in.
    let (first, rest) = updates.split_at(updates.len() / 3);
    first.chunks(BATCH_UPDATES).for_each(|batch| pair.append(batch));
    let mut rest = rest.chunks(BATCH_UPDATES / 10);
    let batches_per_query = (rest.len() / queries).max(1);
    let mut walks = 0;
    while rest.len() > 0 {
        let query = words.query(&mut random, pair.batches);
        walk_beside(&mut pair, query, &mut rest, batches_per_query);
        walks += 1;
    }
    println!("{walks} walks beside {} updates", updates.len());
}

/// Walks, with some batches between the pages, and compares with the scan of its beginning.
fn walk_beside<'u>(
    pair: &mut Pair,
    mut query: PageQuery,
    rest: &mut impl Iterator<Item = &'u [TraceUpdate]>,
    batches: usize,
) {
    let (before, begun_as_of) = (pair.scan(&query), pair.last_seq());
    let mut walked = Vec::new();
    let mut between = rest.take(batches);
    loop {
        let page = pair.subject.1.page(&query).unwrap();
        assert_eq!(page.as_of_seq, begun_as_of, "a walk reflects one moment");
        walked.extend(jobs(page.jobs));
        between.next().into_iter().for_each(|batch| pair.append(batch));
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
    }
    between.for_each(|batch| pair.append(batch));
    let is_unchanged = |(job_id, seq): &(JobId, u64)| {
        let now = pair.subject.1.get(job_id).unwrap();
        now.map(|record| record.seq) == Some(*seq)
    };
    let judged = judge_walk(&before, &walked, is_unchanged);
    judged.unwrap_or_else(|wrong| panic!("{wrong}: {query:?}"));
}

/// The walk in its order is the scan of its beginning, less what changed meanwhile.
fn judge_walk(
    before: &[(JobId, u64)],
    walked: &[(JobId, u64)],
    is_unchanged: impl Fn(&(JobId, u64)) -> bool,
) -> Result<(), String> {
    let places: HashMap<&(JobId, u64), usize> = before.iter().zip(0..).collect();
    let place = |job| places.get(job).copied().ok_or_else(|| format!("{job:?} was not there"));
    let walked_places = walked.iter().map(place).collect::<Result<Vec<usize>, String>>()?;
    if !walked_places.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err("out of order, or twice".to_owned());
    }
    let walked: HashSet<&(JobId, u64)> = walked.iter().collect();
    let missed = before.iter().find(|job| !walked.contains(job) && is_unchanged(job));
    missed.map_or(Ok(()), |job| Err(format!("{job:?} was missed")))
}

/// The control: walks of which one fact is wrong.
#[test]
fn a_walk_with_one_wrong_fact_is_found() {
    let job = |number: u64| (JobId::parse(&format!("job-{number}")).unwrap(), number);
    let before: Vec<_> = (1..=9).map(job).collect();
    type Change = fn(&mut Vec<(JobId, u64)>);
    let of = |change: Change| {
        let mut walked = before.clone();
        change(&mut walked);
        // The last one changed meanwhile.
        judge_walk(&before, &walked, |(_, seq)| *seq < 9)
    };
    assert_eq!(of(|_| ()), Ok(()));
    assert_eq!(of(|walked| drop(walked.pop())), Ok(()), "what changed may be missed");
    let wrong: [Change; 4] = [
        |walked| drop(walked.remove(3)),
        |walked| walked.swap(3, 4),
        |walked| walked.insert(4, walked[3].clone()),
        |walked| walked[3].1 += 90,
    ];
    wrong.into_iter().for_each(|change| assert!(of(change).is_err()));
}
