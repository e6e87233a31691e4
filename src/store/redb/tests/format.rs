//! Stores of formats 1 and 2 are read and raised.

use redb::{TableHandle, WriteTransaction};

use super::*;
use crate::model::{Resolution, TimelineQuery};
use crate::store::redb::codec::{decode_job, encode_identity, encode_record};
use crate::store::redb::schema::{
    EXPECTED, IDENTITY, IDENTITY_KEY, META, RUNS, SLOTS_KEY, TIMELINE_KEY, parse_index_value,
};

/// Job id to record, as formats 1 and 2 had it.
const OLD_JOBS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("jobs");

/// Makes an older store of one of now. Its id.
fn lower(directory: &std::path::Path, format: u32) -> String {
    let store = std::fs::read_to_string(directory.join("STORE")).unwrap();
    assert!(store.contains("format 3"), "{store}");
    let store_id = store.lines().find_map(|line| line.strip_prefix("id ")).unwrap().to_owned();
    let lowered = store.replace("format 3", &format!("format {format}"));
    std::fs::write(directory.join("STORE"), lowered).unwrap();
    for name in ["journal.redb", "tables.redb"] {
        let db = Database::open(directory.join(name)).unwrap();
        let mut txn = db.begin_write().unwrap();
        txn.set_quick_repair(true);
        let identity = encode_identity(IDENTITY_KEY, format, &store_id);
        txn.open_table(IDENTITY).unwrap().insert(IDENTITY_KEY, &*identity).unwrap();
        if name == "tables.redb" {
            put_jobs_under_their_ids(&txn);
            if format == 1 {
                txn.open_table(META).unwrap().remove(TIMELINE_KEY).unwrap();
                assert!(txn.delete_table(TIMELINE).unwrap() && txn.delete_table(EXPECTED).unwrap());
            }
        }
        txn.commit().unwrap();
    }
    store_id
}

/// What format 3 changed, back.
fn put_jobs_under_their_ids(txn: &WriteTransaction) {
    let mut jobs = txn.open_table(OLD_JOBS).unwrap();
    for row in txn.open_table(RECORDS).unwrap().iter().unwrap() {
        let (slot, value) = row.unwrap();
        let (job_id, record) = decode_job(slot.value(), value.value()).unwrap();
        let key = job_id.as_str().as_bytes();
        jobs.insert(key, &*encode_record(key, &record)).unwrap();
    }
    for index in [BY_STATUS, BY_PIPELINE] {
        let mut index = txn.open_table(index).unwrap();
        let rows: Vec<_> = index
            .iter()
            .unwrap()
            .map(|row| {
                let (key, value) = row.unwrap();
                (key.value().to_vec(), parse_index_value(value.value()).unwrap().1)
            })
            .collect();
        for (key, job_id) in rows {
            index.insert(&*key, job_id.as_str().as_bytes()).unwrap();
        }
    }
    txn.open_table(META).unwrap().remove(SLOTS_KEY).unwrap();
    let new: Vec<_> =
        txn.list_tables().unwrap().filter(|it| it.name().starts_with("ids_")).collect();
    new.into_iter().for_each(|table| assert!(txn.delete_table(table).unwrap()));
    assert!(txn.delete_table(RECORDS).unwrap() && txn.delete_table(RUNS).unwrap());
}

/// A closed store with five jobs, some of them only in the journal if it was `killed`.
fn five_jobs(directory: &tempfile::TempDir, is_killed: bool) {
    let (mut write, read) = open(&options(directory));
    (0..3).for_each(|number| append(&mut *write, number, NOW));
    drop(read);
    write.close().unwrap();
    let (mut write, read) = open(&options(directory));
    (3..5).for_each(|number| append(&mut *write, number, NOW));
    drop(read);
    if !is_killed {
        write.close().unwrap();
    }
}

#[test]
fn a_store_of_format_1_is_raised_by_the_first_open_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    five_jobs(&directory, false);
    let store_id = lower(directory.path(), 1);

    let (mut write, read) = open(&options);
    assert_eq!((read.store_id(), read.counts().1), (&*store_id, 5));
    let marked = std::fs::read_to_string(directory.path().join("STORE")).unwrap();
    assert!(marked.contains("format 3") && marked.contains(&store_id), "{marked}");
    assert!(read.check().unwrap().is_clean());
    append(&mut *write, 5, NOW);
    drop(read);
    write.close().unwrap();

    let (_write, read) = open(&options);
    assert_eq!((read.counts().0.total(), read.feed(0, 10).unwrap().operations.len()), (6, 6));
    let resolution = Resolution::Hour;
    let (from, to, step_ms) = (TimestampMs(0), TimestampMs(1 << 50), resolution.step_ms());
    let query = TimelineQuery { resolution, from, to, step_ms, pipeline: None };
    let timeline = read.timeline(&query).unwrap();
    let updates: u64 =
        timeline.steps.values().flat_map(|it| it.values()).map(|it| it.updates).sum();
    assert_eq!(updates, 1, "the timeline begins with the raised format");
    assert!(read.check().unwrap().is_clean());
}

#[test]
fn a_killed_store_of_format_2_is_raised_and_its_journal_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    five_jobs(&directory, true);
    lower(directory.path(), 2);
    let (mut write, read) = open(&options);
    assert!(read.check().unwrap().is_clean());
    for number in 0..5 {
        let job_id = JobId::parse(&format!("job-{number}")).unwrap();
        assert_eq!(read.get(&job_id).unwrap().unwrap().seq, number + 1);
    }
    append(&mut *write, 1, NOW);
    drop(read);
    write.close().unwrap();
    let (_write, read) = open(&options);
    assert_eq!((read.counts().0.total(), read.counts().1), (5, 6));
    assert!(read.check().unwrap().is_clean());
}

#[test]
fn a_raise_that_was_broken_off_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (mut write, read) = open(&options);
    append(&mut *write, 0, NOW);
    drop(read);
    write.close().unwrap();
    // The tables were made, and the mark was about to be.
    let store = std::fs::read_to_string(directory.path().join("STORE")).unwrap();
    let next = directory.path().join("STORE.next");
    std::fs::write(&next, &store).unwrap();
    std::fs::write(directory.path().join("STORE"), store.replace("format 3", "format 2")).unwrap();
    let (_write, read) = open(&options);
    assert_eq!(read.counts().1, 1);
    assert!(!next.exists());
    assert_eq!(std::fs::read_to_string(directory.path().join("STORE")).unwrap(), store);
}

#[test]
fn a_later_format_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (write, read) = open(&options);
    drop(read);
    write.close().unwrap();
    let store = std::fs::read_to_string(directory.path().join("STORE")).unwrap();
    std::fs::write(directory.path().join("STORE"), store.replace("format 3", "format 4")).unwrap();
    let refused = crate::store::redb::open(options, OpenHooks::default()).err().unwrap();
    assert!(refused.to_string().contains("format is 4, this build reads 1 to 3"), "{refused}");
}
