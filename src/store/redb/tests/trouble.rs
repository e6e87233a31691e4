//! A disk that refuses something while the store is at work: the store opens its files again, goes
//! on, and has lost nothing that it acknowledged. It says rightly whether a batch whose sync
//! failed is there.

use super::machine::{Fault, Kind, Machine, Met};
use super::power::{Facts, Home, Script, fault_seeds, settle};
use super::*;
use crate::store::{AppendError, StoreError, memory};

/// Steps of a life.
const STEPS: u64 = 40;

/// What is believed of a batch whose outcome is unknown once the store is open again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    /// What the store says.
    Store,
    /// The control: that it is not there.
    Lost,
}

/// What came of a life.
#[derive(Debug, Default)]
struct Came {
    failures: u64,
    /// Batches that were there though their append failed.
    found: u64,
    /// Comparisons in which the store refused to answer.
    skipped: u64,
    met: Met,
    differences: Vec<String>,
}

/// A life in which the store is opened again after each failure.
struct Life<'a> {
    home: &'a Home,
    machine: Machine,
    script: Script,
    belief: Belief,
    came: Came,
}

impl Life<'_> {
    /// Lives, and compares what the store says with the oracle, at each step and after a restart.
    fn live(mut self) -> (Came, Machine) {
        let (mut write, read) = self.home.open(&self.machine).unwrap();
        let (mut oracle, known) = memory::open(self.home.options());
        for step in 0..STEPS {
            if self.script.is_resting() {
                self.script.rest(&mut *write, &*read);
                // A reader may be the first that meets a bad sector.
                let _ = read.check();
            } else {
                let batch = self.script.batch();
                let appended = write.append(&batch, TimestampMs(NOW));
                let is_there = match appended {
                    Ok(_) => true,
                    Err(error) => {
                        let has_batch = self.reopen(&mut *write);
                        let is_unknown = matches!(error, AppendError::Unknown(_));
                        assert!(is_unknown || !has_batch, "it was said not to be written");
                        self.came.found += u64::from(has_batch);
                        has_batch && self.belief == Belief::Store
                    }
                };
                if is_there {
                    oracle.append(&batch, TimestampMs(NOW)).unwrap();
                }
            }
            if write.maintain(self.script.now).is_err() {
                self.reopen(&mut *write);
            }
            settle(&*read);
            self.compare(step, &*read, &*known);
        }
        // A fold that is begun here may be what meets the fault.
        for _ in 0..2 {
            while write.maintain(self.script.now).is_err() {
                self.reopen(&mut *write);
            }
            settle(&*read);
        }
        drop(read);
        self.machine.heal();
        write.close().unwrap();
        let (_write, read) = self.home.open(&self.machine).unwrap();
        self.compare(STEPS, &*read, &*known);
        (self.came, self.machine)
    }

    fn reopen(&mut self, write: &mut dyn WriteStore) -> bool {
        self.came.failures += 1;
        // A disk that fails once may fail the opening, too, if it is late; not twice.
        let reopened = write.reopen().or_else(|_| write.reopen()).unwrap();
        reopened.has_batch
    }

    fn compare(&mut self, step: u64, read: &dyn ReadStore, known: &dyn ReadStore) {
        let keys = self.script.keys();
        // What a reader meets first is mended at the next turn of the writer.
        let found = match Facts::try_of(read, keys) {
            Ok(found) => found,
            Err(_) if step < STEPS => {
                self.came.skipped += 1;
                return;
            }
            Err(error) => panic!("after the disk was healed: {error}"),
        };
        if found != Facts::of(known, keys) {
            self.came.differences.push(format!("step {step}: seq {}", found.last_seq));
        } else if step == STEPS {
            let report = read.check().unwrap();
            self.came.differences.extend(report.problems);
        }
    }
}

/// Lets everything of a kind fail once in a life; all that came of it.
fn fail_each(of: Kind, belief: Belief) -> Came {
    let mut sum = Came::default();
    fault_seeds().for_each(|seed| fail_each_of_a_life(seed, of, belief, &mut sum));
    let (failures, found, met) = (sum.failures, sum.found, sum.met);
    println!("{failures} failures of a {of:?}, {found} batches found: {met:?}");
    sum
}

fn fail_each_of_a_life(seed: u64, of: Kind, belief: Belief, sum: &mut Came) {
    println!("JOBSLATE_SEED={seed}");
    let (home, before) = Home::new();
    for at in 0.. {
        let machine = Machine::with(before.clone());
        // What the first opening does is judged where power is cut.
        let opened = home.open(&machine).unwrap();
        let (reads, changes) = (machine.reads(), machine.changes());
        drop(opened);
        let machine = Machine::with(before.clone());
        let first = if of == Kind::Read { reads } else { changes };
        let fault = Fault { of, at: first + at, is_lasting: false };
        let machine = machine.failing(fault);
        let script = Script::new(seed);
        let life = Life { home: &home, machine, script, belief, came: Came::default() };
        let (came, machine) = life.live();
        let done = if of == Kind::Read { machine.reads() } else { machine.changes() };
        sum.failures += came.failures;
        sum.met.add(machine.met());
        sum.found += came.found;
        assert!(came.skipped <= 1, "one failure refuses one look: {came:?}");
        let note = |it| format!("JOBSLATE_SEED={seed}, {of:?} {at}: {it}");
        sum.differences.extend(came.differences.into_iter().map(note));
        let is_found_out = belief == Belief::Lost && !sum.differences.is_empty();
        if is_found_out || done <= first + at {
            break;
        }
    }
}

#[test]
fn the_store_goes_on_after_any_write_or_sync_that_failed_and_loses_nothing() {
    let came = fail_each(Kind::Change, Belief::Store);
    assert!(came.differences.is_empty(), "{:#?}", came.differences);
    assert!(came.failures > 100 && came.found > 0, "{came:?}");
    let met = came.met;
    assert!(met.writes > 0 && met.lengths > 0 && met.syncs > 0, "{met:?}");
}

#[test]
fn the_store_goes_on_after_any_read_that_failed() {
    let came = fail_each(Kind::Read, Belief::Store);
    assert!(came.differences.is_empty(), "{:#?}", came.differences);
    assert!(came.failures > 0 && came.met.reads > 0, "{came:?}");
}

/// The control: whoever believes that what failed is not there is found out.
#[test]
fn a_batch_that_is_there_though_its_sync_failed_is_noticed() {
    assert!(!fail_each(Kind::Change, Belief::Lost).differences.is_empty());
}

#[test]
fn while_the_disk_fails_readers_have_what_was_acknowledged_and_nothing_is_taken() {
    let (home, before) = Home::new();
    let machine = Machine::with(before);
    let (mut write, read) = home.open(&machine).unwrap();
    append(&mut *write, 1, NOW);
    let fault = Fault { of: Kind::Change, at: machine.changes(), is_lasting: true };
    let machine = machine.failing(fault);
    let update = || Request::new(vec![Update::status("job-2", "queued").unwrap()]);
    let refused = write.append(&[update()], TimestampMs(NOW));
    assert!(matches!(refused, Err(AppendError::Unknown(StoreError::Failed(_)))), "{refused:?}");
    for _ in 0..3 {
        let error = write.reopen().unwrap_err();
        assert!(error.may_restart_help, "the journal is what failed");
        let refused = write.append(&[update()], TimestampMs(NOW));
        assert!(matches!(refused, Err(AppendError::NotWritten(_))), "{refused:?}");
        assert!(read.get(&JobId::parse("job-1").unwrap()).unwrap().is_some());
        assert_eq!(read.counts().1, 1);
    }
    machine.heal();
    assert!(!write.reopen().unwrap().has_batch);
    append(&mut *write, 3, NOW);
    assert_eq!(read.counts().1, 2);
    drop(read);
    write.close().unwrap();
}

#[test]
fn a_full_disk_takes_updates_again_once_there_is_room() {
    let (home, before) = Home::new();
    let machine = Machine::with(before);
    let (mut write, read) = home.open(&machine).unwrap();
    append(&mut *write, 1, NOW);
    assert!(write.maintain(Duration::ZERO).unwrap().full.is_none());

    // Little room: what was accepted is still written.
    let room = StoreOptions::default().disk_reserve_bytes as usize;
    machine.bound(Some(machine.used() + room - 1), 0);
    let upkeep = write.maintain(Duration::ZERO).unwrap();
    assert!(matches!(upkeep.full, Some(StoreError::Full(_))), "{upkeep:?}");
    assert!(upkeep.again_at.unwrap() <= Duration::from_secs(10));
    append(&mut *write, 2, NOW);

    // None at all: the journal cannot grow.
    machine.bound(Some(machine.used()), 0);
    let mut number = 3;
    let refused = loop {
        let update = Update::status(&format!("job-{number}"), "queued").unwrap();
        match write.append(&[Request::new(vec![update])], TimestampMs(NOW)) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 100_000, "the disk is never full");
        let _ = write.maintain(Duration::ZERO);
    };
    let (AppendError::Unknown(source) | AppendError::NotWritten(source)) = refused;
    assert!(matches!(source, StoreError::Full(_)), "{source:?}");
    for _ in 0..5 {
        let error = write.reopen().unwrap_err();
        assert!(matches!(error.source, StoreError::Full(_)), "{error:?}");
        assert!(read.get(&JobId::parse("job-1").unwrap()).unwrap().is_some());
    }
    machine.bound(None, 0);
    let has_batch = write.reopen().unwrap().has_batch;
    assert!(write.maintain(Duration::ZERO).unwrap().full.is_none());
    number += u64::from(has_batch);
    append(&mut *write, number, NOW);
    assert_eq!(read.counts().0.total(), number);
    assert!(read.check().unwrap().is_clean());
    drop(read);
    write.close().unwrap();
    let (_write, read) = home.open(&machine).unwrap();
    assert_eq!(read.counts().0.total(), number);
    assert!(read.check().unwrap().is_clean());
}
