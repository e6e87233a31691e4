//! Runs of ids, and their merging over many folds.

use std::collections::BTreeMap;

use redb::{ReadableDatabase, ReadableTableMetadata};

use super::*;
use crate::model::{Command, Order, PageQuery};
use crate::store::redb::codec;
use crate::store::redb::schema::{FILTERS, META, RUNS, SLOTS_KEY};

/// Lists all jobs in the order of their ids.
fn ids(read: &dyn ReadStore) -> Vec<String> {
    let mut query = PageQuery { order: Order::Id, limit: 7, scan_max: 50, ..PageQuery::default() };
    let mut ids = Vec::new();
    loop {
        let page = read.page(&query).unwrap();
        ids.extend(page.jobs.iter().map(|(id, _)| id.to_string()));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return ids,
        }
    }
}

/// Folds what there is, if there is anything.
fn fold(write: &mut dyn WriteStore, read: &dyn ReadStore) {
    let folds = read.stats().folds;
    write.maintain(Duration::ZERO).unwrap();
    write.maintain(Duration::from_secs(3_600)).unwrap();
    while read.stats().folds == folds {
        write.maintain(Duration::ZERO).unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn jobs_are_found_removed_and_made_again_through_hundreds_of_folds_and_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (mut write, mut read) = open(&options);
    let mut expected: BTreeMap<String, &str> = BTreeMap::new();
    for number in 0..300_u64 {
        // Seven new jobs in no order, a change of an old one, and now and then a removal.
        let name = |it: u64| format!("{:05}", it * 7_919 % 10_007);
        let mut updates: Vec<_> =
            (number * 7..number * 7 + 7).map(|it| (name(it), "queued")).collect();
        updates.push((name(number * 3), "completed"));
        for (id, status) in &updates {
            expected.insert(id.clone(), status);
        }
        let updates = updates.iter().map(|(id, status)| Update::status(id, status).unwrap());
        write.append(&[Request::new(updates.collect())], TimestampMs(NOW)).unwrap();
        if number % 5 == 0 {
            let gone = name(number * 2);
            remove(&mut *write, &gone);
            expected.remove(&gone);
        }
        fold(&mut *write, &*read);
        if number % 50 == 49 {
            assert_eq!(read.check().unwrap().problems, Vec::<String>::new(), "fold {number}");
            assert_eq!(ids(&*read), expected.keys().cloned().collect::<Vec<_>>());
        }
        if number == 170 {
            // In the middle of a merge.
            drop(read);
            write.close().unwrap();
            (write, read) = open(&options);
        }
    }
    for (id, status) in &expected {
        let record = read.get(&JobId::parse(id).unwrap()).unwrap().unwrap();
        assert_eq!(record.status.as_str(), *status, "{id}");
    }
    drop(read);
    write.close().unwrap();
    let db = Database::open(directory.path().join("tables.redb")).unwrap();
    let tables = db.begin_write().unwrap().list_tables().unwrap().count();
    assert!(tables < 60, "merged runs are removed: {tables} tables");
}

/// Runs of ids, and the bytes of their filters.
fn runs(directory: &tempfile::TempDir) -> (u64, usize) {
    let db = Database::open(directory.path().join("tables.redb")).unwrap();
    let txn = db.begin_read().unwrap();
    let filters = txn.open_table(FILTERS).unwrap();
    let bytes = filters.iter().unwrap().map(|row| row.unwrap().1.value().len()).sum();
    (txn.open_table(RUNS).unwrap().len().unwrap(), bytes)
}

fn remove(write: &mut dyn WriteStore, job_id: &str) {
    let request = Request::of_command(Command::Remove(JobId::parse(job_id).unwrap()));
    write.append(&[request], TimestampMs(NOW)).unwrap();
}

fn add(write: &mut dyn WriteStore, numbers: std::ops::Range<u64>) {
    let updates = numbers.map(|it| Update::status(&format!("job-{it:05}"), "queued").unwrap());
    write.append(&[Request::new(updates.collect())], TimestampMs(NOW)).unwrap();
}

#[test]
fn a_check_finds_each_damage_of_ids() {
    let damages: [(&str, Damage); 6] = [
        ("ids: \"job-0\" is not at its slot 0", |txn| remove_first(txn, run("ids_0000000001"))),
        ("ids: \"job-1\" is not at its slot 1", |txn| {
            let ids = [("job-0", 0), ("job-1", 0), ("job-2", 2)];
            let ids = ids.map(|(id, slot)| (codec::PackedId::of(id), slot)).to_vec();
            let ids = codec::encode_ids(b"job-0", ids);
            txn.open_table(run("ids_0000000001")).unwrap().insert(&b"job-0"[..], &*ids).unwrap();
        }),
        ("ids, job-0: the checksum does not match", |txn| {
            let ids = b"not a block";
            txn.open_table(run("ids_0000000001")).unwrap().insert(&b"job-0"[..], &ids[..]).unwrap();
        }),
        ("runs: 1 has 3 ids, noted are 2", |txn| note_ids(txn, 2)),
        ("ids: \"job-2\" is not at its slot 2", |txn| {
            let key = 1_u32.to_be_bytes();
            let filter = codec::encode_filter(&key, &[0; 64]);
            txn.open_table(FILTERS).unwrap().insert(&key[..], &*filter).unwrap();
        }),
        ("records: slot 2 is in use, next is 2", |txn| {
            let next = codec::encode_number(SLOTS_KEY, 2);
            txn.open_table(META).unwrap().insert(SLOTS_KEY, &*next).unwrap();
        }),
    ];
    damages.into_iter().for_each(|(finding, damage)| assert_found(finding, damage));
}

#[test]
fn a_process_that_never_lives_long_still_merges_its_runs() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    for number in 0..200 {
        let (mut write, read) = open(&options);
        add(&mut *write, number * 3..number * 3 + 3);
        drop(read);
        write.close().unwrap();
    }
    let (count, _) = runs(&directory);
    assert!(count < 50, "{count} runs after 200 folds in as many lives");
    let (_write, read) = open(&options);
    assert_eq!((ids(&*read).len(), read.check().unwrap().problems), (600, vec![]));
}

#[test]
fn what_is_kept_of_ids_shrinks_with_the_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (mut write, read) = open(&options);
    add(&mut *write, 0..3_000);
    fold(&mut *write, &*read);
    (0..2_900).for_each(|number| remove(&mut *write, &format!("job-{number:05}")));
    // The rest is copied five ids at a time; no new job makes another run.
    for _ in 0..40 {
        append(&mut *write, 1, NOW);
        fold(&mut *write, &*read);
    }
    assert_eq!(read.check().unwrap().problems, Vec::<String>::new());
    drop(read);
    write.close().unwrap();
    let (_, bytes) = runs(&directory);
    assert!(bytes < 1_000, "{bytes} bytes of filters for 101 jobs");

    let (mut write, read) = open(&options);
    ids(&*read).iter().for_each(|id| remove(&mut *write, id));
    fold(&mut *write, &*read);
    for _ in 0..40 {
        append(&mut *write, 1, NOW);
        fold(&mut *write, &*read);
    }
    assert_eq!((ids(&*read), read.check().unwrap().problems), (vec!["job-1".to_owned()], vec![]));
    drop(read);
    write.close().unwrap();
    let (count, _) = runs(&directory);
    assert!(count <= 2, "{count} runs for one job");
}

#[test]
fn a_merge_that_meets_damaged_ids_is_given_up_and_writing_goes_on() {
    let (directory, options) = damaged(|txn| {
        let mut ids = txn.open_table(run("ids_0000000001")).unwrap();
        ids.insert(&b"job-0"[..], &b"not a block"[..]).unwrap();
    });
    let (mut write, read) = open(&options);
    for number in 1..100 {
        add(&mut *write, number * 3..number * 3 + 3);
        fold(&mut *write, &*read);
    }
    assert!(read.get(&JobId::parse("job-1").unwrap()).is_err());
    for number in 3..300 {
        let record = read.get(&JobId::parse(&format!("job-{number:05}")).unwrap()).unwrap();
        assert!(record.is_some(), "{number}");
    }
    drop(read);
    write.close().unwrap();
    let (count, _) = runs(&directory);
    assert!(count < 40, "the others are merged: {count} runs");
}

#[test]
fn a_new_job_never_takes_the_slot_of_another() {
    let (_directory, options) = damaged(|txn| {
        let next = codec::encode_number(SLOTS_KEY, 0);
        txn.open_table(META).unwrap().insert(SLOTS_KEY, &*next).unwrap();
    });
    let (mut write, read) = open(&options);
    add(&mut *write, 3..4);
    let refused = write.close().unwrap_err();
    assert!(refused.to_string().contains("the slot of a new job is taken"), "{refused}");
    drop(read);
    // The journal still has it, and the tables are as they were.
    let (_write, read) = open(&options);
    assert_eq!(ids(&*read).len(), 4);
}

/// A run that is noted as shorter than it is must not be taken for an empty one.
#[test]
fn a_run_with_another_number_of_ids_than_noted_is_never_dropped() {
    for (noted, removed) in [(2, 2), (1, 2)] {
        let (_directory, options) = damaged(match noted {
            2 => |txn| note_ids(txn, 2),
            _ => |txn| note_ids(txn, 1),
        });
        let (mut write, read) = open(&options);
        (0..removed).for_each(|number| remove(&mut *write, &format!("job-{number}")));
        let refused = write.close().unwrap_err();
        assert!(refused.to_string().contains("another number of ids than is noted"), "{refused}");
        assert_eq!(ids(&*read), ["job-2"]);
    }
}

/// Notes that the first run has so many ids.
fn note_ids(txn: &WriteTransaction, ids: u64) {
    let key = 1_u32.to_be_bytes();
    let run = codec::encode_run(&key, 0, ids);
    txn.open_table(RUNS).unwrap().insert(&key[..], &*run).unwrap();
}

#[test]
fn a_merge_that_counts_other_ids_than_noted_is_given_up() {
    let (_directory, options) = damaged(|txn| note_ids(txn, 9));
    let (mut write, read) = open(&options);
    for number in 1..40 {
        add(&mut *write, number * 3..number * 3 + 3);
        fold(&mut *write, &*read);
    }
    for job_id in ["job-0", "job-2", "job-00003", "job-00119"] {
        assert!(read.get(&JobId::parse(job_id).unwrap()).unwrap().is_some(), "{job_id}");
    }
    assert_eq!(read.check().unwrap().problems, ["runs: 1 has 3 ids, noted are 9"]);
}
