//! Restores that are refused, replace a store, or are interrupted.

use super::*;

#[test]
fn a_refused_restore_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (_write, read) = sample(&directory.path().join("from"));
    let (bytes, _) = backup(&*read);
    let (missing, empty) = (directory.path().join("missing"), directory.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    let flips = (0..bytes.len()).step_by(bytes.len() / 25);
    let cuts = flips.clone().map(|length| bytes[..length].to_vec());
    let flipped = flips.map(|at| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        damaged
    });
    for damaged in cuts.chain(flipped) {
        for to in [&missing, &empty] {
            let refused = restore(&*damaged, to, true).unwrap_err();
            assert!(matches!(refused, RestoreError::Fault(_)), "{refused}");
        }
        assert!(!missing.exists());
        assert_eq!(files(&empty), BTreeMap::new());
    }
}

#[test]
fn a_store_is_replaced_only_if_that_was_asked_and_only_by_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let (_write, read) = sample(&from);
    let (bytes, summary) = backup(&*read);
    let (mut write, old) = opened(&to);
    report(&mut *write, 100..103, "queued", NOW);
    let in_use = restore(&*bytes, &to, true).unwrap_err();
    assert!(in_use.to_string().contains("in use"), "{in_use}");
    closed((write, old));

    let before = files(&to);
    let refused = restore(&*bytes, &to, false).unwrap_err();
    assert!(matches!(refused, RestoreError::Exists { .. }), "{refused}");
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let refused = restore(&*damaged, &to, true).unwrap_err();
    assert!(matches!(refused, RestoreError::Fault(_)), "{refused}");
    assert!(files(&to) == before, "the old store was changed");
    let (write, old) = opened(&to);
    assert_eq!(old.counts().0.total(), 3);
    closed((write, old));

    assert_eq!(restore(&*bytes, &to, true).unwrap(), summary);
    assert!(files(&to).keys().eq(["LOCK", "STORE", "journal.redb", "tables.redb"]));
    assert_eq!(contents(&*opened(&to).1), contents(&*read));
}

#[test]
fn a_damaged_store_is_a_store_and_is_replaced_by_force_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let (_write, read) = sample(&from);
    let (bytes, _) = backup(&*read);
    closed(sample(&to));
    std::fs::remove_file(to.join("STORE")).unwrap();
    let refused = restore(&*bytes, &to, false).unwrap_err();
    assert!(matches!(refused, RestoreError::Exists { .. }), "{refused}");
    restore(&*bytes, &to, true).unwrap();
    assert_eq!(contents(&*opened(&to).1), contents(&*read));
}

/// The process dies between two steps of a restore: the next open has the old store or the new one.
#[test]
fn a_restore_that_a_kill_interrupts_is_undone_or_finished_by_the_next_open() {
    let directory = tempfile::tempdir().unwrap();
    let (from, new) = (directory.path().join("from"), directory.path().join("new"));
    let (_write, read) = sample(&from);
    restore(&*backup(&*read).0, &new, false).unwrap();
    for steps in 0..=4 {
        let to = directory.path().join(format!("to-{steps}"));
        let (mut write, old) = opened(&to);
        report(&mut *write, 100..103, "queued", NOW);
        closed((write, old));
        std::fs::write(to.join("INITIALISING"), "").unwrap();
        if steps == 0 {
            std::fs::remove_file(to.join("INITIALISING")).unwrap();
        }
        let place = to.join(if steps == 0 { "jobslate.restoring" } else { "jobslate.restored" });
        std::fs::create_dir(&place).unwrap();
        for (name, bytes) in files(&new) {
            std::fs::write(place.join(name), bytes).unwrap();
        }
        for name in ["journal.redb", "tables.redb", "STORE"].into_iter().take(steps.max(1) - 1) {
            std::fs::rename(place.join(name), to.join(name)).unwrap();
        }
        std::fs::write(to.join("jobslate-backup.tmp"), "cut").unwrap();
        let (_write, found) = opened(&to);
        match steps {
            0 => assert_eq!(found.counts().0.total(), 3),
            _ => assert_eq!(contents(&*found), contents(&*read)),
        }
        assert!(files(&to).keys().eq(["LOCK", "STORE", "journal.redb", "tables.redb"]), "{steps}");
    }
}

#[test]
fn a_backup_of_a_store_that_contradicts_itself_is_refused() {
    use crate::store::redb::schema::BY_STATUS;
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    closed(sample(&from));
    let db = redb::Database::open(from.join("tables.redb")).unwrap();
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    txn.open_table(BY_STATUS).unwrap().pop_first().unwrap();
    txn.commit().unwrap();
    drop(db);
    let (_write, read) = opened(&from);
    let (bytes, _) = backup(&*read);
    assert!(verify_backup(&*bytes).is_ok(), "it is a whole backup of a damaged store");
    let refused = restore(&*bytes, &to, false).unwrap_err();
    assert!(matches!(&refused, RestoreError::Unsound(what) if what.contains("by_status")));
    assert!(!to.exists());
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_keeps_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let (_write, read) = sample(&directory.path().join("from"));
    let (bytes, _) = backup(&*read);
    for name in ["notes", "jobslate.restored"] {
        let foreign = directory.path().join(format!("with-{name}"));
        std::fs::create_dir_all(foreign.join(name)).unwrap();
        std::fs::write(foreign.join(name).join("theirs"), "keep").unwrap();
        for may_replace in [false, true] {
            let refused = restore(&*bytes, &foreign, may_replace).unwrap_err();
            assert!(matches!(refused, RestoreError::Open(_)), "{refused}");
        }
        assert!(open(options(&foreign), OpenHooks::default()).is_err());
        assert!(foreign.join(name).join("theirs").exists());
        assert!(files(&foreign).keys().eq([name]));
    }
}
