//! A store of format 1, which had no timeline and no expected totals, is read and raised.

use super::*;
use crate::model::{Resolution, TimelineQuery};
use crate::store::redb::codec::encode_identity;
use crate::store::redb::schema::{EXPECTED, IDENTITY, IDENTITY_KEY, META, TIMELINE_KEY};

/// Takes from a store what format 1 did not have.
fn lower(directory: &std::path::Path) -> String {
    let store = std::fs::read_to_string(directory.join("STORE")).unwrap();
    assert!(store.contains("format 2"), "{store}");
    let store_id = store.lines().find_map(|line| line.strip_prefix("id ")).unwrap().to_owned();
    std::fs::write(directory.join("STORE"), store.replace("format 2", "format 1")).unwrap();
    for name in ["journal.redb", "tables.redb"] {
        let db = Database::open(directory.join(name)).unwrap();
        let mut txn = db.begin_write().unwrap();
        txn.set_quick_repair(true);
        let identity = encode_identity(IDENTITY_KEY, 1, &store_id);
        txn.open_table(IDENTITY).unwrap().insert(IDENTITY_KEY, &*identity).unwrap();
        if name == "tables.redb" {
            txn.open_table(META).unwrap().remove(TIMELINE_KEY).unwrap();
            assert!(txn.delete_table(TIMELINE).unwrap() && txn.delete_table(EXPECTED).unwrap());
        }
        txn.commit().unwrap();
    }
    store_id
}

#[test]
fn a_store_of_format_1_is_raised_by_the_first_open_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let (mut write, read) = open(&options);
    (0..5).for_each(|number| append(&mut *write, number, NOW));
    drop(read);
    write.close().unwrap();
    let store_id = lower(directory.path());

    let (mut write, read) = open(&options);
    assert_eq!((read.store_id(), read.counts().1), (&*store_id, 5));
    let marked = std::fs::read_to_string(directory.path().join("STORE")).unwrap();
    assert!(marked.contains("format 2") && marked.contains(&store_id), "{marked}");
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
    std::fs::write(directory.path().join("STORE"), store.replace("format 2", "format 1")).unwrap();
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
    std::fs::write(directory.path().join("STORE"), store.replace("format 2", "format 3")).unwrap();
    let refused = crate::store::redb::open(options, OpenHooks::default()).err().unwrap();
    assert!(refused.to_string().contains("format is 3, this build reads 1 to 2"), "{refused}");
}
