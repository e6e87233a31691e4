//! Restores that are refused, replace a store, are interrupted, or meet a disk that fails.

use super::*;
use crate::store::redb::backup::restore::{AFTER_A_REFUSAL, AfterRefusal};
use crate::store::redb::media::Media;
use crate::store::redb::open::open_on;
use crate::store::redb::tests::machine::{Fault, Kind, Machine};

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

/// A restore onto the disk of a machine, over a store that is on another and over nothing.
struct Restore {
    directory: tempfile::TempDir,
    backup: Vec<u8>,
    before: BTreeMap<String, Vec<u8>>,
}

impl Restore {
    fn new() -> Self {
        // In memory, if there is such a place: the small files are synced for real.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::tempdir_in(place).unwrap();
        let (_write, read) = sample(&directory.path().join("from"));
        let (mut write, old) = opened(&directory.path().join("to"));
        report(&mut *write, 100..103, "queued", NOW);
        closed((write, old));
        let before = files(&directory.path().join("to"));
        Self { backup: backup(&*read).0, before, directory }
    }

    fn onto(&self, machine: &Machine, to: &str) -> Result<BackupSummary, RestoreError> {
        let media: Arc<dyn Media> = Arc::new(machine.clone());
        let to = self.directory.path().join(to);
        super::super::restore::restore_on(&*self.backup, &to, true, &media)
    }

    /// Restores on machines that fail alike; false if nothing failed. What was there is there, and
    /// nothing else.
    fn fails(&self, machine: impl Fn() -> Machine, what: &str) -> bool {
        let found = ["missing", "to"].map(|to| self.onto(&machine(), to));
        if found.iter().all(Result::is_ok) {
            return false;
        }
        assert!(found.iter().all(Result::is_err), "{what}: {found:?}");
        assert!(!self.directory.path().join("missing").exists(), "{what}: something is left");
        assert!(files(&self.directory.path().join("to")) == self.before, "{what}: it was changed");
        true
    }
}

#[test]
fn a_restore_on_a_disk_that_fails_leaves_the_old_store_or_nothing() {
    let restore = Restore::new();
    for is_lasting in [true, false] {
        let restore = if is_lasting { &restore } else { &Restore::new() };
        let mut failed = 0;
        for at in 0.. {
            let fault = Fault { of: Kind::Change, at, is_lasting };
            let machine = || Machine::with(Default::default()).failing(fault);
            if !restore.fails(machine, &format!("{fault:?}")) {
                break;
            }
            failed += 1;
        }
        println!("{failed} changes of a restore failed, lasting: {is_lasting}");
        assert!(failed > 20, "{failed}");
    }
}

/// A disk that takes some of a restore and then fails for good.
fn failing() -> Machine {
    let fault = Fault { of: Kind::Change, at: 20, is_lasting: true };
    Machine::with(Default::default()).failing(fault)
}

/// A control.
#[test]
fn a_restore_that_replaces_whatever_came_of_it_changes_the_old_store() {
    AFTER_A_REFUSAL.set(AfterRefusal::Replace);
    let restore = Restore::new();
    assert!(restore.onto(&failing(), "to").is_err());
    AFTER_A_REFUSAL.set(AfterRefusal::Withdraw);
    assert!(files(&restore.directory.path().join("to")) != restore.before);
}

/// A control.
#[test]
#[should_panic(expected = "something is left")]
fn a_restore_that_leaves_what_it_made_is_found_out() {
    AFTER_A_REFUSAL.set(AfterRefusal::Leave);
    Restore::new().fails(failing, "a control");
}

#[test]
fn a_restore_on_a_full_disk_leaves_the_old_store_or_nothing_and_one_with_room_is_whole() {
    let restore = Restore::new();
    let roomy = Machine::with(Default::default());
    restore.onto(&roomy, "whole").unwrap();
    // The control: with room, it is the store that the backup is of.
    let whole = options(&restore.directory.path().join("whole"));
    let (_write, read) = open_on(whole, OpenHooks::default(), Arc::new(roomy.clone())).unwrap();
    assert_eq!(contents(&*read), contents(&*opened(&restore.directory.path().join("from")).1));
    let mut refused = 0;
    for capacity in (0..roomy.used()).step_by(64 << 10) {
        let machine = || {
            let machine = Machine::with(Default::default());
            machine.bound(Some(capacity), 0);
            machine
        };
        if !restore.fails(machine, &format!("{capacity} bytes")) {
            break;
        }
        refused += 1;
    }
    println!("{refused} restores refused for want of room");
    assert!(refused > 2, "{refused}");
}
