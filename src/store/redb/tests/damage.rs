//! The disk turns a byte of the tables under a running store: a job is told right, or not at all,
//! and so are lists, the feed and the timeline; the scrub finds what was met, and a fold does not
//! write it on.

use super::lived::{JOBS, Lived, name};
use super::machine::Random;
use super::power::{first_seed, number_of, settle};
use super::*;
use crate::model::{JobFilter, Order, PageQuery, Resolution, TimelineQuery};
use crate::store::redb::codec::tests::IGNORES_CHECKSUMS;
use crate::store::redb::disk::tests::BELIEVES_BLOCKS;
use crate::store::{AppendError, ScrubPlace, StoreError};

/// The place of the tables among the files.
const TABLES: usize = 1;

/// Bytes to turn, one at a time, each under a store of its own: short in the tests, more by a
/// variable. Under lists and folds half as many.
fn flips() -> u64 {
    number_of("JOBSLATE_FLIPS", 400)
}

/// What came of turning bytes.
#[derive(Debug, Default)]
struct Came {
    right: u64,
    refused: u64,
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
        let Ok(step) = read.scrub(&from, 64) else {
            problems.push("a store that is closed".to_owned());
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
    for number in 0..flips() {
        let ((_write, read), machine) = lived.open();
        let (offset, bits) = machine.turn(TABLES, &mut random);
        let note = |what: &str| format!("flip {number}, {bits:#x} at {offset}: {what}");
        let mut failed = 0;
        for (job_id, known) in &lived.jobs {
            match read.get(job_id) {
                Ok(Some(record)) if record == *known => came.right += 1,
                Ok(Some(_)) => came.wrong.push(note("another value")),
                Ok(None) => came.wrong.push(note("an unknown job")),
                Err(StoreError::CorruptRecord { .. } | StoreError::Failed(_)) => failed += 1,
                Err(error) => panic!("{error}"),
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
        "{} bytes turned, {} met: {} answers right, {} refused",
        flips(),
        came.met,
        came.right,
        came.refused
    );
    assert!(came.wrong.is_empty(), "{} wrong: {:#?}", came.wrong.len(), came.wrong.first());
    assert!(came.not_found.is_empty(), "{:#?}", came.not_found);
    assert!(came.met > 20, "{came:?}");
}

/// The control: without the checksums of records, and of blocks, wrong answers come through and are
/// noticed.
#[test]
fn without_checksums_a_turned_byte_gives_a_wrong_answer() {
    IGNORES_CHECKSUMS.set(true);
    BELIEVES_BLOCKS.set(true);
    let came = turn_bytes();
    BELIEVES_BLOCKS.set(false);
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
    for number in 0..flips() / 2 {
        let ((_write, read), machine) = lived.open();
        let (offset, bits) = machine.turn(TABLES, &mut random);
        let note = |what: &str| format!("flip {number}, {bits:#x} at {offset}: {what}");
        let mut failed = 0;
        for (question, known) in questions.iter().zip(&known) {
            match question.ask(&*read) {
                Ok(found) if found == *known => came.right += 1,
                Ok(found) => {
                    let (lines, all) = (found.len(), known.len());
                    came.wrong.push(note(&format!("{lines} of {all}: {question:?}")));
                }
                Err(StoreError::CorruptRecord { .. } | StoreError::Failed(_)) => failed += 1,
                Err(error) => panic!("{error}"),
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
fn a_byte_turned_under_a_running_store_never_makes_a_list_the_feed_or_the_timeline_wrong() {
    let came = turn_bytes_under_lists();
    println!(
        "{} bytes turned, {} met: {} answers right, {} refused",
        flips() / 2,
        came.met,
        came.right,
        came.refused
    );
    assert!(came.wrong.is_empty(), "{} wrong: {:#?}", came.wrong.len(), came.wrong);
    assert!(came.not_found.is_empty(), "{:#?}", came.not_found);
    assert!(came.met > 20, "{came:?}");
}

/// The control: rows of the indexes carry no checksum of their own.
#[test]
fn without_the_sums_of_blocks_a_turned_byte_gives_a_short_list() {
    BELIEVES_BLOCKS.set(true);
    let came = turn_bytes_under_lists();
    BELIEVES_BLOCKS.set(false);
    assert!(!came.wrong.is_empty(), "{} refused", came.refused);
}

/// Turns a byte, has the store change some jobs and fold that, and asks what it then is. What is
/// refused must be whole once the byte is turned back.
fn fold_over_turned_bytes() -> Came {
    let (lived, mut random, mut came) = (Lived::new(), Random(first_seed()), Came::default());
    // So many neighbours in the indexes that their pages are joined with others.
    let changed = || (0..JOBS).filter(|number| number % 4 == 1 && number % 16 != 1).map(name);
    let update = |job_id: JobId| Update::status(job_id.as_str(), "completed").unwrap();
    let batch = [Request::new(changed().map(update).collect())];
    for number in 0..flips() / 2 {
        let ((mut write, read), machine) = lived.open();
        let (offset, bits) = machine.turn(TABLES, &mut random);
        let note = |what: &str| format!("flip {number}, {bits:#x} at {offset}: {what}");
        // An update of a job that cannot be read is rejected; its neighbours are applied.
        let appended = write.append(&batch, TimestampMs(NOW)).unwrap();
        let applied = appended.answers.iter().map(|answer| answer.applied).sum::<u64>();
        drop(read);
        // The close folds.
        let is_closed = write.close().is_ok();
        let open = || lived.home.open(&machine);
        let mut opened = open();
        if applied < changed().count() as u64 || !is_closed || opened.is_err() {
            came.refused += 1;
        } else {
            came.right += 1;
        }
        // A page that the fold did not need is found by the open.
        if opened.is_err() {
            machine.flip(TABLES, offset, bits);
            opened = open();
        }
        let (_write, read) = match opened {
            Ok(sides) => sides,
            Err(error) => {
                came.wrong.push(note(&error.to_string()));
                continue;
            }
        };
        let report = read.check().unwrap();
        let completed = changed().filter(|job_id| {
            read.get(job_id).is_ok_and(|it| it.is_some_and(|it| it.status.as_str() == "completed"))
        });
        let found = completed.count() as u64;
        if !report.problems.is_empty() || report.jobs != JOBS || found != applied {
            came.wrong.push(note(&format!("{found} of {applied} completed, {report:#?}")));
        }
    }
    came
}

#[test]
fn a_fold_writes_no_turned_byte_on() {
    let came = fold_over_turned_bytes();
    let (turned, right) = (flips() / 2, came.right);
    println!("{turned} bytes turned: {right} folds, {} refused", came.refused);
    assert!(came.wrong.is_empty(), "{} wrong: {:#?}", came.wrong.len(), came.wrong.first());
    assert!(came.right > 20 && came.refused > 20, "{came:?}");
}

/// The control: a turned byte is written anew, and redb gives the page a sum that is right for it.
#[test]
fn without_the_sums_of_blocks_a_fold_writes_a_turned_byte_on() {
    BELIEVES_BLOCKS.set(true);
    let came = fold_over_turned_bytes();
    BELIEVES_BLOCKS.set(false);
    assert!(!came.wrong.is_empty(), "{} refused", came.refused);
}

/// A fold that meets such a byte while the store is at work: it is the tables that fail, so nothing
/// is taken until they were opened again, and nobody hears that his update was at fault.
#[test]
fn a_fold_that_meets_a_turned_byte_stops_writes_until_the_tables_are_whole_again() {
    let (lived, mut random, mut met) = (Lived::new(), Random(first_seed()), 0);
    let batch = |status| {
        let update = |number| Update::status(name(number).as_str(), status).unwrap();
        [Request::new((0..JOBS).filter(|number| number % 4 == 1).map(update).collect())]
    };
    while met < 5 {
        let ((mut write, read), machine) = lived.open();
        write.append(&batch("completed"), TimestampMs(NOW)).unwrap();
        let (offset, bits) = machine.turn(TABLES, &mut random);
        write.maintain(Duration::ZERO).unwrap();
        // Long enough for a fold to be due.
        let _ = write.maintain(Duration::from_secs(86_400));
        settle(&*read);
        let Err(error) = write.append(&batch("queued"), TimestampMs(NOW)) else { continue };
        assert!(matches!(error, AppendError::NotWritten(StoreError::Failed(_))), "{error:?}");
        // If nothing uses the byte, the page is whole when it is verified again.
        if let Err(error) = write.reopen() {
            met += 1;
            assert!(!error.may_restart_help, "{error:?}");
            machine.flip(TABLES, offset, bits);
            write.reopen().unwrap();
        }
        settle(&*read);
        write.append(&batch("queued"), TimestampMs(NOW)).unwrap();
        let report = read.check().unwrap();
        assert!(report.is_clean() && report.jobs == JOBS, "{report:?}");
    }
}
