//! Stores of another format are refused by name, and not touched.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::store::OpenError;
use crate::store::redb::codec::encode_identity;
use crate::store::redb::schema::{IDENTITY, IDENTITY_KEY};

/// The bytes of the store's files by their names.
fn files(directory: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let names = ["STORE", "journal.redb", "tables.redb"].into_iter();
    names.map(|name| (name, std::fs::read(directory.join(name)).unwrap())).collect()
}

/// A closed store, and the text of its mark.
fn closed_store(options: &StoreOptions) -> String {
    let (mut write, read) = open(options);
    append(&mut *write, 0, NOW);
    drop(read);
    write.close().unwrap();
    std::fs::read_to_string(options.directory.join("STORE")).unwrap()
}

/// Asserts that an open is refused for the store's format, and changes nothing.
fn assert_refused(options: &StoreOptions, format: u32) {
    let before = files(&options.directory);
    let refused = crate::store::redb::open(options.clone(), OpenHooks::default()).err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    let message = refused.to_string();
    let reason = format!("format is {format}, this build reads 4 to 5");
    assert!(message.contains(&reason) && message.contains("the build that wrote it"), "{message}");
    assert!(files(&options.directory) == before, "it was changed");
}

#[test]
fn a_store_whose_mark_has_another_format_is_refused_by_name_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let mark = closed_store(&options);
    for format in [1, 2, 3, 6] {
        let other = mark.replace("format 5", &format!("format {format}"));
        std::fs::write(directory.path().join("STORE"), other).unwrap();
        assert_refused(&options, format);
    }
    std::fs::write(directory.path().join("STORE"), mark).unwrap();
    assert_eq!(open(&options).1.counts().1, 1);
}

#[test]
fn a_file_of_another_format_is_refused_by_name_and_not_touched() {
    for name in ["journal.redb", "tables.redb"] {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&directory);
        let mark = closed_store(&options);
        let store_id = mark.lines().find_map(|line| line.strip_prefix("id ")).unwrap();
        let db = Database::open(directory.path().join(name)).unwrap();
        let mut txn = db.begin_write().unwrap();
        txn.set_quick_repair(true);
        let identity = encode_identity(IDENTITY_KEY, 2, store_id);
        txn.open_table(IDENTITY).unwrap().insert(IDENTITY_KEY, &*identity).unwrap();
        txn.commit().unwrap();
        drop(db);
        assert_refused(&options, 2);
    }
}

/// What is folded from then on, builds of format 4 would take for damaged: they must not open it.
#[test]
fn a_store_of_format_4_is_marked_as_one_of_format_5_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let mark = closed_store(&options);
    let path = directory.path().join("STORE");
    std::fs::write(&path, mark.replace("format 5", "format 4")).unwrap();
    // What a power cut left of an opening.
    std::fs::write(directory.path().join("STORE.new"), "jobslate").unwrap();
    assert_eq!(open(&options).1.counts().1, 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), mark);
    assert!(!directory.path().join("STORE.new").exists());
}
