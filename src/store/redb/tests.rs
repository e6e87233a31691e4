//! What is kept for a time, what a check finds, and the races of the folder.

mod ages;
mod blindness;
mod bytes;
mod compact;
mod damage;
pub(crate) mod disks;
mod failing;
mod format;
mod ids;
mod lived;
pub(crate) mod machine;
mod opening;
pub(crate) mod power;
mod timeline;
mod trouble;

use std::time::Duration;

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::schema::{
    BY_PIPELINE, BY_STATUS, COUNTS, FEED, KEYS, KEYS_BY_AGE, RECORDS, TIMELINE, counts_key,
};
use crate::model::{
    Clock, IdempotencyKey, JobId, ManualClock, Operation, PipelineName, Request, Status, Tally,
    TimestampMs, Update,
};
use crate::store::{OpenHooks, ReadStore, Sides, StoreOptions, WriteStore};

const NOW: u64 = 1_764_000_000_000;
const HOUR: u64 = 3_600_000;

fn options(directory: &tempfile::TempDir) -> StoreOptions {
    StoreOptions {
        directory: directory.path().to_owned(),
        cache_bytes: 1 << 20,
        feed_block_bytes: 100,
        merge_ids_min: 5,
        ..StoreOptions::default()
    }
}

fn open(options: &StoreOptions) -> Sides {
    super::open(options.clone(), OpenHooks::default()).unwrap()
}

/// Appends one update, under a key of the same number.
fn append(write: &mut dyn WriteStore, number: u64, now: u64) {
    let update = Update::status(&format!("job-{number}"), "queued").unwrap();
    let idempotency = IdempotencyKey::new(&format!("key-{number}"), [0; 32]);
    let request = Request { idempotency, ..Request::new(vec![update]) };
    write.append(&[request], TimestampMs(now)).unwrap();
}

fn has_key(read: &dyn ReadStore, number: u64, now: u64) -> bool {
    read.kept_answer(&format!("key-{number}"), TimestampMs(now)).unwrap().is_some()
}

fn run(name: &'static str) -> Table {
    TableDefinition::new(name)
}

/// Damages the record of the second job.
fn spoil_job_1(txn: &WriteTransaction) {
    let slot = 1_u64.to_be_bytes();
    txn.open_table(RECORDS).unwrap().insert(&slot[..], &b"not a record"[..]).unwrap();
}

#[test]
fn keys_are_kept_for_a_day_and_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let manual = ManualClock::default();
    let options = StoreOptions { clock: Clock::Manual(manual.clone()), ..options(&directory) };
    let (mut write, _read) = open(&options);
    append(&mut *write, 1, NOW);
    write.close().unwrap();
    drop(_read);
    let (mut write, read) = open(&options);
    manual.advance(Duration::from_hours(24));
    assert!(has_key(&*read, 1, NOW + 25 * HOUR));
    manual.advance(Duration::from_millis(1));
    assert!(!has_key(&*read, 1, NOW));
    append(&mut *write, 2, NOW + 25 * HOUR);
    write.close().unwrap();
    drop(read);
    let (_write, read) = open(&options);
    assert!(!has_key(&*read, 1, NOW), "the fold forgot it");
    assert!(has_key(&*read, 2, NOW + 25 * HOUR));
    assert!(read.check().unwrap().is_clean());
}

#[test]
fn a_clock_set_right_forgets_no_key_and_no_feed() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (mut write, read) = open(&options);
    append(&mut *write, 1, 1_000);
    append(&mut *write, 2, NOW);
    assert!(has_key(&*read, 1, NOW));
    drop(read);
    write.close().unwrap();
    let (_write, read) = open(&options);
    assert!(has_key(&*read, 1, NOW) && has_key(&*read, 2, NOW));
    assert_eq!(read.feed(0, 10).unwrap().operations.len(), 2, "the fold kept the feed");
}

#[test]
fn no_more_keys_are_kept_than_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { idempotency_keys_max: 3, ..options(&directory) };
    let (mut write, read) = open(&options);
    (0..10).for_each(|number| append(&mut *write, number, NOW + number));
    drop(read);
    write.close().unwrap();
    let (_write, read) = open(&options);
    let kept: Vec<u64> = (0..10).filter(|number| has_key(&*read, *number, NOW)).collect();
    assert_eq!(kept, [7, 8, 9]);
    assert!(read.check().unwrap().is_clean());
}

/// Fills the feed in two lives of 20 updates, `pause` apart, and closes the store after each.
fn fill_feed_twice(options: &StoreOptions, manual: &ManualClock, pause: Duration) {
    for (from, passed) in [(0, Duration::ZERO), (20, pause)] {
        let (mut write, read) = open(options);
        // The process ran for so long, whatever the wall clock says.
        manual.advance(passed);
        (from..from + 20).for_each(|number| append(&mut *write, number, NOW));
        drop(read);
        write.close().unwrap();
    }
}

/// The seqs that the feed still has of those 40, checked for gaps; no job went with the others.
fn feed_left(feed_bytes_max: u64, feed_age_max: Duration, pause: Duration) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let manual = ManualClock::default();
    let clock = Clock::Manual(manual.clone());
    let options = StoreOptions { feed_bytes_max, feed_age_max, clock, ..options(&directory) };
    fill_feed_twice(&options, &manual, pause);
    let (_write, read) = open(&options);
    let feed = read.feed(0, 100).unwrap();
    let left: Vec<u64> = feed.operations.iter().map(Operation::seq).collect();
    assert_eq!(left.first(), Some(&feed.first_held));
    assert_eq!(left.last(), Some(&40));
    assert!(left.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    let report = read.check().unwrap();
    assert_eq!((report.jobs, &*report.problems), (40, &[][..]));
    left
}

const WEEK: Duration = Duration::from_hours(7 * 24);

#[test]
fn the_feed_is_trimmed_by_size_and_by_age() {
    let by_size = feed_left(400, WEEK, Duration::ZERO);
    assert!(by_size.len() <= 20, "{} changes are left", by_size.len());
    let by_age = feed_left(1 << 30, WEEK, WEEK + Duration::from_hours(24));
    assert_eq!(by_age, (21..=40).collect::<Vec<u64>>(), "the second life, whole");
}

/// The control: within both bounds nothing goes, so that each of the above is the work of its own.
#[test]
fn a_feed_within_its_size_and_age_keeps_everything() {
    let whole: Vec<u64> = (1..=40).collect();
    assert_eq!(feed_left(1 << 30, WEEK, Duration::ZERO), whole);
    assert_eq!(feed_left(1 << 30, WEEK, WEEK - Duration::from_hours(1)), whole);
    assert_eq!(feed_left(1 << 30, 2 * WEEK, WEEK + Duration::from_hours(24)), whole);
}

/// Changes a table behind the store's back.
type Damage = fn(&WriteTransaction);

fn remove_first(txn: &WriteTransaction, table: Table) {
    txn.open_table(table).unwrap().pop_first().unwrap();
}

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A closed store with three jobs, and what was done to its tables then.
fn damaged(damage: Damage) -> (tempfile::TempDir, StoreOptions) {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { feed_block_bytes: 1, ..options(&directory) };
    let (mut write, read) = open(&options);
    (0..3).for_each(|number| append(&mut *write, number, NOW));
    drop(read);
    write.close().unwrap();
    let db = Database::open(directory.path().join("tables.redb")).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    damage(&txn);
    txn.commit().unwrap();
    (directory, options)
}

/// Asserts that a check finds what was done.
fn assert_found(finding: &str, damage: Damage) {
    let (_directory, options) = damaged(damage);
    let (_write, read) = open(&options);
    let problems = read.check().unwrap().problems;
    assert!(problems.iter().any(|it| it.contains(finding)), "{finding}: {problems:?}");
}

#[test]
fn a_check_finds_each_damage() {
    let damages: [(&str, Damage); 11] = [
        ("by_status: no row", |txn| remove_first(txn, BY_STATUS)),
        ("by_pipeline: no row", |txn| remove_first(txn, BY_PIPELINE)),
        ("by_status: 4 rows", |txn| {
            txn.open_table(BY_STATUS).unwrap().insert(&b"x\0 12345678"[..], &b"job"[..]).unwrap();
        }),
        ("the checksum does not match", spoil_job_1),
        ("differ from a scan", |txn| {
            // Two wrongs that the total does not show.
            let mut counts = txn.open_table(COUNTS).unwrap();
            counts.pop_first().unwrap();
            let status = Status::parse("error").unwrap();
            let key = counts_key(&PipelineName::default(), status);
            counts.insert(&*key, &*super::codec::encode_number(&key, 3)).unwrap();
        }),
        ("feed: seq 3 follows 1", |txn| {
            let second = 2_u64.to_be_bytes();
            txn.open_table(FEED).unwrap().remove(&second[..]).unwrap();
        }),
        ("feed: it holds 0 bytes", |txn| {
            txn.open_table(FEED).unwrap().retain(|_, _| false).unwrap();
        }),
        ("keys: 2 answers, 3 in the order", |txn| remove_first(txn, KEYS)),
        ("do not add up", |txn| {
            let mut rows = txn.open_table(TIMELINE).unwrap();
            // The last row is that of a day of a pipeline.
            let (key, _) = rows.last().unwrap().map(|(k, v)| (k.value().to_vec(), v)).unwrap();
            let tally = Tally { updates: 7, net: 7 };
            rows.insert(&*key, &*super::codec::encode_tally(&key, tally)).unwrap();
        }),
        ("rows and steps, noted are", |txn| remove_first(txn, TIMELINE)),
        ("is not in 0..3", |txn| {
            let mut by_age = txn.open_table(KEYS_BY_AGE).unwrap();
            by_age.insert(&9_u64.to_be_bytes()[..], &b"key-0"[..]).unwrap();
        }),
    ];
    damages.into_iter().for_each(|(finding, damage)| assert_found(finding, damage));
}

#[test]
fn one_damaged_record_fails_no_neighbour_and_is_never_an_answer() {
    let (_directory, options) = damaged(spoil_job_1);
    let (mut write, read) = open(&options);
    assert!(read.get(&JobId::parse("job-1").unwrap()).is_err());
    let updates = ["job-0", "job-1", "job-2"].map(|id| Update::status(id, "error").unwrap());
    let request = Request::new(updates.into());
    let appended = write.append(&[request], TimestampMs(NOW)).unwrap();
    assert_eq!((appended.answers[0].applied, appended.answers[0].rejected), (2, 1));
    assert_eq!(appended.answers[0].errors[0].code.as_str(), "corrupt_record");
}

#[test]
fn a_fold_that_ends_while_the_next_is_due_hurts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { tail_jobs_max: 1, ..options(&directory) };
    let (mut write, read) = open(&options);
    append(&mut *write, 0, NOW);
    write.maintain(Duration::ZERO).unwrap();
    for number in 1..600 {
        let folds = read.stats().folds;
        append(&mut *write, number % 5, NOW);
        // One generation folds and the other is full: ask again and again, through the end of the
        // fold.
        while read.stats().folds == folds {
            write.maintain(Duration::ZERO).unwrap();
        }
    }
    assert!(read.check().unwrap().is_clean());
}
