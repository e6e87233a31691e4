//! The disk turns a byte of the tables under a running store: a job is told right, or not at all,
//! and the scrub finds what was met.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::machine::{Bytes, Machine, Random};
use super::power::{Home, Script, first_seed};
use super::*;
use crate::model::JobRecord;
use crate::store::redb::codec::tests::IGNORES_CHECKSUMS;
use crate::store::redb::open::open_on;
use crate::store::{ScrubPlace, StoreError};

const JOBS: u64 = 800;
const TABLES_FILE: usize = 1;
/// Bytes that are turned, one at a time, each under a store of its own.
const FLIPS: u64 = 400;

fn name(number: u64) -> JobId {
    JobId::parse(&format!("job-{:016x}", Random(number).next())).unwrap()
}

/// A store whose jobs are all in the tables, and what it knows of them.
struct Lived {
    home: Home,
    files: [Bytes; 2],
    jobs: Vec<(JobId, Arc<JobRecord>)>,
}

impl Lived {
    fn new() -> Self {
        let (home, before) = Home::new();
        let machine = Machine::with(before);
        let (mut write, read) = home.open(&machine).unwrap();
        let mut script = Script::new(first_seed());
        for status in ["queued", "processing", "error"] {
            let update = |number| Update::status(name(number).as_str(), status).unwrap();
            for part in 0..4 {
                let all = (0..JOBS).filter(|number| number % 4 == part).map(update).collect();
                write.append(&[Request::new(all)], TimestampMs(NOW)).unwrap();
                script.rest(&mut *write, &*read);
            }
        }
        let jobs = (0..JOBS).map(name).map(|id| (id.clone(), read.get(&id).unwrap().unwrap()));
        let jobs = jobs.collect();
        drop(read);
        write.close().unwrap();
        Self { home, files: machine.files(), jobs }
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
