//! What an opening does to the files, and in which order: each is synced, and after an unclean stop
//! dropped from memory, before it is read; and once one of them refused something, nothing more is
//! written to it or synced, whatever redb does when its handle is dropped.

use super::machine::{Bytes, Event, Fault, Kind, Machine};
use super::power::{Facts, Home, Script, first_seed, settle};
use super::*;
use crate::store::OpenError;
use crate::store::redb::disk::tests::RELEASE_NOTES_NOTHING;

const BATCHES: u64 = 12;
const FILES: [usize; 2] = [0, 1];

/// A store that lived, what its files held when it was killed, and what it knows.
struct Killed {
    home: Home,
    files: [Bytes; 2],
    facts: Facts,
    keys: u64,
}

impl Killed {
    fn new() -> Self {
        let (home, before) = Home::new();
        let machine = Machine::with(before);
        let (mut write, read) = home.open(&machine).unwrap();
        let mut script = Script::new(first_seed());
        for _ in 0..BATCHES {
            write.append(&script.batch(), TimestampMs(NOW)).unwrap();
            write.maintain(script.now).unwrap();
            settle(&*read);
        }
        let (facts, keys) = (Facts::of(&*read, script.keys()), script.keys());
        // Before redb tidies up, which a killed process does not.
        let files = machine.files();
        Self { home, files, facts, keys }
    }

    /// Opens a store on `files`: it must be the one that lived.
    fn judge(&self, files: [Bytes; 2]) {
        let (_write, read) = self.home.open(&Machine::with(files)).unwrap();
        assert_eq!(Facts::of(&*read, self.keys), self.facts);
        assert!(read.check().unwrap().is_clean());
    }
}

fn once(at: usize) -> Fault {
    Fault { of: Kind::Change, at, is_lasting: false }
}

/// The changes of the file that refused the change `at`, which came after it.
fn changes_behind(machine: &Machine, at: usize) -> usize {
    let log = machine.log();
    log[at + 1..].iter().filter(|(file, _)| *file == log[at].0).count()
}

/// Lets each change of an opening fail once; how many failed, and what was done to the same file
/// after each.
fn fail_each_change_of_the_opening() -> Vec<usize> {
    let killed = Killed::new();
    let mut behind = Vec::new();
    for at in 0.. {
        let machine = Machine::with(killed.files.clone()).failing(once(at));
        let opened = killed.home.open(&machine);
        if machine.changes() <= at {
            assert!(opened.is_ok());
            break;
        }
        let refused = opened.err().expect("what the file refused is told");
        assert!(matches!(refused, OpenError::Failed { .. }), "{refused:?}");
        behind.push(changes_behind(&machine, at));
        killed.judge(machine.files());
    }
    behind
}

#[test]
fn nothing_is_done_to_a_file_that_refused_a_change_of_its_opening() {
    let behind = fail_each_change_of_the_opening();
    println!("{} changes of an opening failed", behind.len());
    assert!(behind.len() > 4 && behind.iter().all(|it| *it == 0), "{behind:?}");
}

/// The control: a hold that notes nothing lets redb write and sync on when the handle is dropped.
#[test]
fn a_release_that_notes_nothing_is_found_out() {
    RELEASE_NOTES_NOTHING.set(true);
    let behind = fail_each_change_of_the_opening();
    RELEASE_NOTES_NOTHING.set(false);
    assert!(behind.iter().any(|it| *it > 0), "{behind:?}");
}

#[test]
fn nothing_is_done_to_a_new_file_that_refused_a_change() {
    for at in 0.. {
        let home = Home::empty();
        let machine = Machine::with(<[Bytes; 2]>::default()).failing(once(at));
        let opened = home.open(&machine);
        if machine.changes() <= at {
            assert!(opened.is_ok() && at > 4);
            break;
        }
        assert!(matches!(opened.err(), Some(OpenError::Failed { .. })), "change {at}");
        assert_eq!(changes_behind(&machine, at), 0, "change {at}");
        // The next start finds no store, and makes one.
        let (_write, read) = home.open(&Machine::with(<[Bytes; 2]>::default())).unwrap();
        assert_eq!(read.counts().1, 0);
    }
}

/// What happened to both files in one opening of a store.
fn events_of_an_opening(home: &Home, files: [Bytes; 2]) -> [Vec<Event>; 2] {
    let machine = Machine::with(files);
    let (write, read) = home.open(&machine).unwrap();
    let events = FILES.map(|file| machine.events(file));
    drop(read);
    write.close().unwrap();
    events
}

#[test]
fn a_file_is_synced_then_dropped_from_memory_then_read() {
    let killed = Killed::new();
    for events in events_of_an_opening(&killed.home, killed.files.clone()) {
        let protocol = [Event::Synced, Event::Forgotten, Event::Read];
        assert!(events.starts_with(&protocol), "{events:?}");
    }
    // The control: the last stop was clean, so the pages in memory are those of the disk.
    for events in events_of_an_opening(&killed.home, killed.files.clone()) {
        assert!(events.starts_with(&[Event::Synced, Event::Read]), "{events:?}");
        assert!(!events.contains(&Event::Forgotten), "{events:?}");
    }
}

#[test]
fn a_file_that_cannot_be_synced_or_dropped_from_memory_is_neither_read_nor_changed() {
    let killed = Killed::new();
    for at in 0..4 {
        let fault = Fault { of: Kind::Settling, at, is_lasting: true };
        let machine = Machine::with(killed.files.clone()).failing(fault);
        let refused = killed.home.open(&machine).err().expect("nobody knows what it holds");
        assert!(matches!(refused, OpenError::Failed { .. }), "{refused:?}");
        assert_eq!(machine.changes(), 0);
        let unread = FILES.into_iter().filter(|it| !machine.events(*it).contains(&Event::Read));
        assert!(unread.count() > 0, "settling {at}: both were read");
        killed.judge(machine.files());
    }
}
