//! Which seqs are old: as the tables have it, after a restore, and where they have it not.

use redb::ReadableDatabase as _;

use super::*;
use crate::store::ScrubPlace;
use crate::store::ages::{Ages, Sample};
use crate::store::redb::backup::restore;
use crate::store::redb::codec::{decode_ages, encode_ages};
use crate::store::redb::schema::{AGES_KEY, META};

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// A closed store with two updates, two hours of its time apart.
fn closed_store() -> (tempfile::TempDir, StoreOptions, ManualClock) {
    let directory = tempfile::tempdir().unwrap();
    let manual = ManualClock::default();
    let options = StoreOptions { clock: Clock::Manual(manual.clone()), ..options(&directory) };
    for number in 0..2 {
        let (mut write, read) = open(&options);
        manual.advance(hours(2 * number));
        append(&mut *write, number, NOW);
        drop(read);
        write.close().unwrap();
    }
    (directory, options, manual)
}

/// Changes the row of the ages.
fn change(options: &StoreOptions, row: Option<&[u8]>) {
    let db = Database::open(options.directory.join("tables.redb")).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    let mut meta = txn.open_table(META).unwrap();
    match row {
        Some(row) => drop(meta.insert(AGES_KEY, row).unwrap()),
        None => drop(meta.remove(AGES_KEY).unwrap().expect("a fold wrote it")),
    }
    drop(meta);
    txn.commit().unwrap();
}

#[test]
fn the_tables_keep_them_and_a_restored_store_has_them_too() {
    let (_directory, options, manual) = closed_store();
    let (write, read) = open(&options);
    let older = |read: &dyn ReadStore, age| read.seq_older_than(hours(age));
    assert_eq!((older(&*read, 1), older(&*read, 2)), (1, 0));
    let mut bytes = Vec::new();
    read.backup(&mut bytes, TimestampMs(NOW)).unwrap();
    let other = tempfile::tempdir().unwrap();
    restore(&*bytes, other.path(), false).unwrap();
    let restored = StoreOptions { directory: other.path().to_owned(), ..options.clone() };
    let (_write, restored) = open(&restored);
    assert_eq!((older(&*restored, 1), older(&*restored, 2)), (1, 0));
    manual.advance(hours(2));
    assert_eq!((older(&*read, 1), older(&*read, 3), older(&*read, 4)), (2, 1, 0));
    assert_eq!((older(&*restored, 1), older(&*restored, 3), older(&*restored, 4)), (2, 1, 0));
    assert!(restored.check().unwrap().is_clean());
    drop(read);
    write.close().unwrap();
}

#[test]
fn what_a_store_without_them_holds_counts_as_new() {
    let (_directory, options, manual) = closed_store();
    change(&options, None);
    let (mut write, read) = open(&options);
    assert_eq!(read.seq_older_than(Duration::ZERO), 0);
    assert!(read.check().unwrap().is_clean());
    manual.advance(hours(2));
    append(&mut *write, 2, NOW);
    assert_eq!((read.seq_older_than(hours(1)), read.seq_older_than(hours(2))), (2, 0));
    drop(read);
    write.close().unwrap();
    let (_write, read) = open(&options);
    assert_eq!((read.seq_older_than(hours(1)), read.seq_older_than(hours(2))), (2, 0));
}

/// How many problems a scrub finds.
fn scrubbed(read: &dyn ReadStore) -> usize {
    let (mut place, mut problems) = (Some(ScrubPlace::default()), 0);
    while let Some(from) = place {
        let step = read.scrub(&from, 100).unwrap();
        problems += step.problems.len();
        place = step.next;
    }
    problems
}

#[test]
fn damaged_ones_are_found_and_make_nothing_old() {
    let sample = Sample { at: TimestampMs(1), last_seq: 9 };
    let beyond = encode_ages(AGES_KEY, TimestampMs(1), &Ages::new(vec![sample]));
    for (row, finding, scrub_problems) in [
        (&b"no ages"[..], "meta, ages: the checksum does not match", 1),
        (&beyond, "ages: they end at 9, the mark says 2", 0),
    ] {
        let (_directory, options, manual) = closed_store();
        change(&options, Some(row));
        let (_write, read) = open(&options);
        let problems = read.check().unwrap().problems;
        assert!(problems.iter().any(|it| it == finding), "{problems:?}");
        assert_eq!(scrubbed(&*read), scrub_problems);
        manual.advance(hours(1));
        assert_eq!(read.seq_older_than(hours(1)), 0, "not longer than that");
    }
}

#[test]
fn an_idle_store_writes_its_age_once_an_hour_and_a_short_life_nothing() {
    let (_directory, options, manual) = closed_store();
    let stored = || {
        let db = Database::open(options.directory.join("tables.redb")).unwrap();
        let meta = db.begin_read().unwrap().open_table(META).unwrap();
        let row = meta.get(AGES_KEY).unwrap().unwrap();
        decode_ages(AGES_KEY, row.value()).unwrap().0.0
    };
    let begin = stored();
    let live = |looks: u64, by: Duration| {
        let (mut write, read) = open(&options);
        for _ in 0..looks {
            manual.advance(by);
            write.maintain(options.clock.monotonic()).unwrap();
            while read.stats().is_folding {
                std::thread::yield_now();
            }
        }
        assert_eq!(read.stats().tail_updates, 0, "an empty batch holds none");
        assert!(read.check().unwrap().is_clean());
        let folds = read.stats().folds;
        drop(read);
        write.close().unwrap();
        folds
    };
    assert_eq!(live(59, Duration::from_secs(1)), 0);
    assert_eq!(stored(), begin, "a life of 59 seconds");
    assert_eq!(live(59, Duration::from_mins(1)), 0);
    assert_eq!(stored(), begin + 59 * 60_000, "the stop wrote it");
    assert_eq!(live(10, hours(1)), 5, "by every second look: the other folds");
    assert_eq!(stored(), begin + 59 * 60_000 + 10 * HOUR);
}
