//! The disk turns a byte of the tables under a running store: a job is told right, or not at all,
//! and so are the list by id, the feed and the timeline; the scrub finds what was met.
//!
//! NB: rows of the indexes by seq carry no checksum, and redb verifies no page on the way to them:
//! a list from the newest or the oldest on may be short. What it has is right.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::machine::{Bytes, Machine, Random};
use super::power::{Home, Script, first_seed};
use super::*;
use crate::model::{JobFilter, JobRecord, Order, PageQuery, Resolution, TimelineQuery};
use crate::store::redb::codec::tests::IGNORES_CHECKSUMS;
use crate::store::redb::open::open_on;
use crate::store::{ScrubPlace, StoreError, memory};

const JOBS: u64 = 800;
const TABLES_FILE: usize = 1;
/// Bytes that are turned, one at a time, each under a store of its own.
const FLIPS: u64 = 400;
const LIST_FLIPS: u64 = 200;

fn name(number: u64) -> JobId {
    JobId::parse(&format!("job-{:016x}", Random(number).next())).unwrap()
}

/// A store whose jobs are all in the tables, and what it knows of them.
struct Lived {
    home: Home,
    files: [Bytes; 2],
    jobs: Vec<(JobId, Arc<JobRecord>)>,
    /// The oracle, which lived the same.
    known: Arc<dyn ReadStore>,
}

impl Lived {
    fn new() -> Self {
        let (home, before) = Home::new();
        let machine = Machine::with(before);
        let (mut write, read) = home.open(&machine).unwrap();
        let (mut oracle, known) = memory::open(home.options());
        let mut script = Script::new(first_seed());
        for status in ["queued", "processing", "error"] {
            let update = |number| Update::status(name(number).as_str(), status).unwrap();
            for part in 0..4 {
                let all = (0..JOBS).filter(|number| number % 4 == part).map(update).collect();
                let batch = [Request::new(all)];
                write.append(&batch, TimestampMs(NOW)).unwrap();
                oracle.append(&batch, TimestampMs(NOW)).unwrap();
                script.rest(&mut *write, &*read);
            }
        }
        let jobs = (0..JOBS).map(name).map(|id| (id.clone(), read.get(&id).unwrap().unwrap()));
        let jobs = jobs.collect();
        drop(read);
        write.close().unwrap();
        Self { home, files: machine.files(), jobs, known }
    }

    /// A running store that keeps next to nothing in memory.
    fn open(&self) -> (Sides, Machine) {
        let machine = Machine::with(self.files.clone());
        let options = StoreOptions { cache_bytes: 16 << 10, ..self.home.options() };
        let media = Arc::new(machine.clone());
        (open_on(options, OpenHooks::default(), media).unwrap(), machine)
    }
}

/// What came of turning bytes.
#[derive(Debug, Default)]
struct Came {
    right: u64,
    refused: u64,
    /// Panics of redb over a page: a server answers 500 for them.
    panics: u64,
    wrong: Vec<String>,
    /// Lists by seq that lack jobs.
    short: u64,
    /// Bytes that made an answer fail, and which of them the scrub did not find.
    met: u64,
    not_found: Vec<String>,
}

/// Problems that a whole scrub finds. It must end, whatever it reads.
fn scrub(read: &dyn ReadStore) -> Vec<String> {
    let (mut place, mut problems) = (Some(ScrubPlace::default()), Vec::new());
    for steps in 0.. {
        let Some(from) = place else { break };
        let step = catch_unwind(AssertUnwindSafe(|| read.scrub(&from, 64)));
        let Ok(Ok(step)) = step else {
            problems.push("a panic, or a store that is closed".to_owned());
            break;
        };
        problems.extend(step.problems);
        place = step.next;
        assert!(steps < 10_000, "the scrub goes in a circle");
    }
    problems
}

fn turn_bytes() -> Came {
    let (lived, mut random, mut came) = (Lived::new(), Random(first_seed()), Came::default());
    for number in 0..FLIPS {
        let ((_write, read), machine) = lived.open();
        let offset = random.below(machine.length(TABLES_FILE) as u64) as usize;
        let bits = 1 << random.below(8);
        machine.flip(TABLES_FILE, offset, bits);
        let note = |what: &str| format!("flip {number}, {bits:#x} at {offset}: {what}");
        let mut failed = 0;
        for (job_id, known) in &lived.jobs {
            match catch_unwind(AssertUnwindSafe(|| read.get(job_id))) {
                Ok(Ok(Some(record))) if record == *known => came.right += 1,
                Ok(Ok(Some(_))) => came.wrong.push(note("another value")),
                Ok(Ok(None)) => came.wrong.push(note("an unknown job")),
                Ok(Err(StoreError::CorruptRecord { .. } | StoreError::Failed(_))) => failed += 1,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => came.panics += 1,
            }
        }
        came.refused += failed;
        if failed > 0 {
            came.met += 1;
            if scrub(&*read).is_empty() {
                came.not_found.push(note("the scrub found nothing"));
            }
        }
    }
    came
}

#[test]
fn a_byte_turned_under_a_running_store_never_gives_a_wrong_answer_and_the_scrub_finds_it() {
    let came = turn_bytes();
    println!(
        "{FLIPS} bytes turned, {} met: {} answers right, {} refused, {} panics",
        came.met, came.right, came.refused, came.panics
    );
    assert!(came.wrong.is_empty(), "{} wrong: {:#?}", came.wrong.len(), came.wrong.first());
    assert!(came.not_found.is_empty(), "{:#?}", came.not_found);
    assert!(came.met > 20 && came.panics == 0, "{came:?}");
}

/// The control: without the checksums of records, wrong answers come through and are noticed.
#[test]
fn without_checksums_a_turned_byte_gives_a_wrong_answer() {
    IGNORES_CHECKSUMS.set(true);
    let came = turn_bytes();
    IGNORES_CHECKSUMS.set(false);
    assert!(!came.wrong.is_empty(), "{} refused", came.refused);
}

#[test]
fn a_scrub_of_a_whole_store_reads_every_row_and_finds_nothing() {
    let lived = Lived::new();
    let ((_write, read), _machine) = lived.open();
    let (mut place, mut rows, mut in_all) = (Some(ScrubPlace::default()), 0, 0);
    while let Some(from) = place {
        let step = read.scrub(&from, 7).unwrap();
        assert!(step.rows <= 7 && step.problems.is_empty(), "{step:?}");
        (rows, in_all, place) = (rows + step.rows, step.rows_in_all, step.next);
    }
    assert_eq!(rows, in_all);
    assert!(rows > 3 * JOBS, "{rows} rows of {JOBS} jobs, with two indexes");
}

/// What readers may ask for besides single jobs.
#[derive(Debug)]
enum Question {
    List(PageQuery),
    Feed,
    Timeline(TimelineQuery),
}

impl Question {
    fn all() -> Vec<Self> {
        let lists = Order::ALL.into_iter().flat_map(|order| {
            let status = Status::parse("error").unwrap();
            let by_status = JobFilter { statuses: vec![status], ..JobFilter::default() };
            let pipeline = Some(PipelineName::default());
            let by_pipeline = JobFilter { pipeline, ..JobFilter::default() };
            [JobFilter::default(), by_status, by_pipeline].map(|filter| {
                let (limit, scan_max) = (1_000, 10_000);
                Self::List(PageQuery { filter, order, limit, scan_max, ..PageQuery::default() })
            })
        });
        let timelines = Resolution::ALL.into_iter().map(|resolution| {
            let (step_ms, day) = (resolution.step_ms(), Resolution::Day.step_ms());
            let (from, to) = (TimestampMs(NOW / day * day), TimestampMs((NOW / day + 1) * day));
            Self::Timeline(TimelineQuery { resolution, from, to, step_ms, pipeline: None })
        });
        lists.chain([Self::Feed]).chain(timelines).collect()
    }

    fn is_by_seq(&self) -> bool {
        matches!(self, Self::List(query) if query.order != Order::Id)
    }

    /// The answer, a line for each part of it.
    fn ask(&self, read: &dyn ReadStore) -> Result<Vec<String>, StoreError> {
        Ok(match self {
            Self::List(query) => {
                read.page(query)?.jobs.iter().map(|job| format!("{job:?}")).collect()
            }
            Self::Feed => {
                let feed = read.feed(0, 10_000)?;
                feed.operations.iter().map(|it| format!("{it:?}")).collect()
            }
            Self::Timeline(query) => vec![format!("{:?}", read.timeline(query)?)],
        })
    }
}

/// Turns bytes under a store of which everything is asked.
fn turn_bytes_under_lists() -> Came {
    let (lived, mut random, mut came) = (Lived::new(), Random(first_seed()), Came::default());
    let questions = Question::all();
    let known: Vec<_> = questions.iter().map(|it| it.ask(&*lived.known).unwrap()).collect();
    for number in 0..LIST_FLIPS {
        let ((_write, read), machine) = lived.open();
        let offset = random.below(machine.length(TABLES_FILE) as u64) as usize;
        let bits = 1 << random.below(8);
        machine.flip(TABLES_FILE, offset, bits);
        let note = |what: &str| format!("flip {number}, {bits:#x} at {offset}: {what}");
        let mut failed = 0;
        for (question, known) in questions.iter().zip(&known) {
            match catch_unwind(AssertUnwindSafe(|| question.ask(&*read))) {
                Ok(Ok(found)) if found == *known => came.right += 1,
                Ok(Ok(found)) => {
                    let (lines, all) = (found.len(), known.len());
                    let is_right = found.iter().all(|line| known.contains(line));
                    if is_right && lines < all && question.is_by_seq() {
                        (came.short, failed) = (came.short + 1, failed + 1);
                        continue;
                    }
                    came.wrong.push(note(&format!("{lines} of {all}: {question:?}")));
                }
                Ok(Err(StoreError::CorruptRecord { .. } | StoreError::Failed(_))) => failed += 1,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => (came.panics, failed) = (came.panics + 1, failed + 1),
            }
        }
        came.refused += failed;
        if failed > 0 {
            came.met += 1;
            if scrub(&*read).is_empty() {
                came.not_found.push(note("the scrub found nothing"));
            }
        }
    }
    came.refused -= came.short + came.panics;
    came
}

#[test]
fn a_byte_turned_under_a_running_store_never_makes_a_list_the_feed_or_the_timeline_wrong() {
    let came = turn_bytes_under_lists();
    println!(
        "{LIST_FLIPS} bytes turned, {} met: {} answers right, {} refused, {} panics",
        came.met, came.right, came.refused, came.panics
    );
    println!("{} lists by seq short; scrub: {:#?}", came.short, came.not_found);
    assert!(came.wrong.is_empty(), "{} wrong: {:#?}", came.wrong.len(), came.wrong);
    assert!(came.not_found.is_empty(), "{:#?}", came.not_found);
    assert!(came.met > 20, "{came:?}");
}

/// The control: without the checksums of records, wrong lists come through and are noticed.
#[test]
fn without_checksums_a_turned_byte_gives_a_wrong_list() {
    IGNORES_CHECKSUMS.set(true);
    let came = turn_bytes_under_lists();
    IGNORES_CHECKSUMS.set(false);
    assert!(!came.wrong.is_empty(), "{} refused", came.refused);
}
