//! What an opening does to the files, and in which order: each is synced, and after an unclean stop
//! dropped from memory, before it is read; and once one of them refused something, nothing more is
//! written to it or synced, whatever redb does when its handle is dropped. What the system refuses
//! is no damage of the store: the next start may find it whole.

use super::machine::{Bytes, Event, Fault, Kind, Machine, NAMES};
use super::power::{Facts, Home, Script, first_seed, settle};
use super::*;
use crate::store::redb::directory::IGNORES_UNSETTLED_FILES;
use crate::store::redb::disk::tests::RELEASE_NOTES_NOTHING;
use crate::store::redb::site::tests::{OPENS_IN_TURN, TAKES_ERRORS_FOR_DAMAGE};
use crate::store::{AppendError, OpenError, memory};

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
        behind.push(machine.changes_behind(at));
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
        assert_eq!(machine.changes_behind(at), 0, "change {at}");
        // The next start finds no store, and makes one.
        let (_write, read) = home.open(&Machine::with(<[Bytes; 2]>::default())).unwrap();
        assert_eq!(read.counts().1, 0);
    }
}

/// Which file refuses something while the store is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Journal,
    Tables,
}

/// A store that is opened again while each change of that fails once; how many failed.
fn fail_each_change_of_a_reopening(broken: Broken) -> usize {
    let update = |number: u64| {
        Request::new(vec![Update::status(&format!("late-{number}"), "queued").unwrap()])
    };
    for at in 0.. {
        let (home, before) = Home::new();
        let machine = Machine::with(before);
        let (mut write, read) = home.open(&machine).unwrap();
        let (mut oracle, known) = memory::open(home.options());
        let mut script = Script::new(first_seed());
        for number in 0..3 {
            write.append(&[update(number)], TimestampMs(NOW)).unwrap();
            oracle.append(&[update(number)], TimestampMs(NOW)).unwrap();
        }
        let _ = machine.clone().failing(once(machine.changes()));
        match broken {
            Broken::Journal => {
                let refused = write.append(&[update(3)], TimestampMs(NOW));
                assert!(matches!(refused, Err(AppendError::Unknown(_))), "{refused:?}");
            }
            Broken::Tables => script.rest(&mut *write, &*read),
        }
        assert!(write.maintain(script.now).is_err(), "{broken:?} refused something");
        let begin = machine.changes();
        let (events, file) = (FILES.map(|it| machine.events(it)), broken as usize);
        let _ = machine.clone().failing(once(begin + at));
        let reopened = write.reopen();
        let opened = machine.events(file)[events[file].len()..].to_vec();
        let protocol = [Event::Synced, Event::Forgotten, Event::Read];
        assert!(opened.starts_with(&protocol), "{broken:?}, change {at}: {opened:?}");
        let is_over = reopened.is_ok();
        if is_over {
            // The fold that goes on after it may have met the fault.
            let is_met = machine.changes() > begin + at;
            assert!(!is_met || broken == Broken::Tables, "change {at}: all is said to be well");
        } else {
            assert_eq!(machine.changes_behind(begin + at), 0, "{broken:?}, change {at}");
        }
        machine.heal();
        let mut has_batch = reopened.is_ok_and(|it| it.has_batch);
        settle(&*read);
        while write.maintain(script.now).is_err() {
            has_batch |= write.reopen().unwrap().has_batch;
            settle(&*read);
        }
        if has_batch {
            oracle.append(&[update(3)], TimestampMs(NOW)).unwrap();
        }
        write.append(&[update(4)], TimestampMs(NOW)).unwrap();
        oracle.append(&[update(4)], TimestampMs(NOW)).unwrap();
        drop(read);
        write.close().unwrap();
        let (_write, read) = home.open(&machine).unwrap();
        assert_eq!(Facts::of(&*read, 0), Facts::of(&*known, 0), "{broken:?}, change {at}");
        assert!(read.check().unwrap().is_clean());
        if is_over {
            return at;
        }
    }
    unreachable!("an opening has an end")
}

#[test]
fn nothing_is_done_to_a_file_that_refused_a_change_when_it_was_opened_again() {
    for broken in [Broken::Journal, Broken::Tables] {
        let failed = fail_each_change_of_a_reopening(broken);
        println!("{failed} changes of a reopening of the {broken:?} failed");
        assert!(failed > 0, "{broken:?}: its reopening changes something");
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

/// Lets each step fail that comes before a file is read; what was then read or changed all the
/// same.
fn fail_each_settling() -> Vec<String> {
    let killed = Killed::new();
    let mut wrong = Vec::new();
    for at in 0..4 {
        let fault = Fault { of: Kind::Settling, at, is_lasting: true };
        let machine = Machine::with(killed.files.clone()).failing(fault);
        match killed.home.open(&machine).map(drop) {
            Ok(()) => wrong.push(format!("step {at}: it was opened")),
            Err(refused) => assert!(matches!(refused, OpenError::Failed { .. }), "{refused:?}"),
        }
        for file in FILES {
            let events = machine.events(file);
            let is_settled = events.starts_with(&[Event::Synced, Event::Forgotten]);
            if events.contains(&Event::Changed) || events.contains(&Event::Read) && !is_settled {
                wrong.push(format!("step {at} of {}: {events:?}", NAMES[file]));
            }
        }
        killed.judge(machine.files());
    }
    wrong
}

#[test]
fn a_file_that_cannot_be_synced_or_dropped_from_memory_is_neither_read_nor_changed() {
    let wrong = fail_each_settling();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The control: an opening that goes on all the same.
#[test]
fn a_file_that_is_read_though_it_was_not_synced_is_found_out() {
    IGNORES_UNSETTLED_FILES.set(true);
    OPENS_IN_TURN.set(true);
    let wrong = fail_each_settling();
    IGNORES_UNSETTLED_FILES.set(false);
    OPENS_IN_TURN.set(false);
    assert!(NAMES.iter().all(|name| wrong.iter().any(|it| it.contains(name))), "{wrong:#?}");
}

/// Lets each read of an opening fail, once or for good; how many made it fail, and what was said
/// that is not so.
fn fail_each_read_of_the_opening() -> (u64, Vec<String>) {
    let killed = Killed::new();
    // So little is kept in memory that everything is read from the disk.
    let options = || StoreOptions { cache_bytes: 16 << 10, ..killed.home.options() };
    let (mut refused, mut wrong) = (0, Vec::new());
    for is_lasting in [false, true] {
        for at in 0.. {
            let fault = Fault { of: Kind::Read, at, is_lasting };
            let machine = Machine::with(killed.files.clone()).failing(fault);
            let opened = Home::open_with(options(), OpenHooks::default(), &machine);
            let is_over = machine.met().reads == 0;
            match opened.map(drop) {
                Ok(()) => {}
                Err(OpenError::Failed { .. }) => refused += 1,
                Err(error) => wrong.push(format!("{fault:?}: {error}")),
            }
            killed.judge(machine.files());
            if is_over {
                break;
            }
        }
    }
    (refused, wrong)
}

#[test]
fn a_read_that_fails_while_a_store_is_opened_is_not_taken_for_damage() {
    let (refused, wrong) = fail_each_read_of_the_opening();
    println!("{refused} openings failed with a read");
    assert!(wrong.is_empty(), "{} of {refused}: {:#?}", wrong.len(), wrong.first());
    assert!(refused > 20, "{refused}");
}

/// The control: whoever takes every error for damage tells the user to restore a backup.
#[test]
fn a_failed_read_that_is_taken_for_damage_is_found_out() {
    TAKES_ERRORS_FOR_DAMAGE.set(true);
    OPENS_IN_TURN.set(true);
    let (_, wrong) = fail_each_read_of_the_opening();
    TAKES_ERRORS_FOR_DAMAGE.set(false);
    OPENS_IN_TURN.set(false);
    assert!(NAMES.iter().all(|name| wrong.iter().any(|it| it.contains(name))));
}
