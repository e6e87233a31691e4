//! A compaction gives room back, changes no answer, and may be broken off at any moment: by a cut
//! of the power after each change of the disk, or by a disk that fails.

use std::sync::Arc;

use super::disks::{Disks, Syncs};
use super::machine::{Bytes, Change, Fault, Kind, Machine, Random};
use super::power::{Facts, Home, Script, first_seed, settle};
use super::*;
use crate::model::Command;
use crate::store::redb::compact::compact_on;
use crate::store::{Compacted, OpenError};

/// Jobs that come and go before the compaction, so that there is something to give back.
const GONE: u64 = 1_500;
/// How often a cut is made at each place, with other survivors.
const CUTS_EACH: u64 = 4;

/// A store that lived, and what it knows.
struct Lived {
    home: Home,
    files: [Bytes; 2],
    facts: Facts,
    keys: u64,
}

impl Lived {
    /// Some of what is there is in the journal alone, if the last stop was no clean one.
    fn new(seed: u64, is_clean: bool) -> Self {
        let (home, before) = Home::new();
        let machine = Machine::with(before);
        let (mut write, read) = home.open(&machine).unwrap();
        let mut script = Script::new(seed);
        let name = |number: u64| format!("gone-{number:05}");
        let all = (0..GONE).map(|it| Update::status(&name(it), "queued").unwrap()).collect();
        write.append(&[Request::new(all)], TimestampMs(NOW)).unwrap();
        script.rest(&mut *write, &*read);
        let remove = |it| Request::of_command(Command::Remove(JobId::parse(&name(it)).unwrap()));
        let all: Vec<_> = (0..GONE).map(remove).collect();
        write.append(&all, TimestampMs(NOW)).unwrap();
        script.rest(&mut *write, &*read);
        for _ in 0..12 {
            write.append(&script.batch(), TimestampMs(NOW)).unwrap();
            write.maintain(script.now).unwrap();
            settle(&*read);
        }
        let (facts, keys) = (Facts::of(&*read, script.keys()), script.keys());
        drop(read);
        if is_clean {
            write.close().unwrap();
        } else {
            drop(write);
        }
        Self { home, files: machine.files(), facts, keys }
    }

    /// A machine that compacts the store, or tries.
    fn compact(&self, machine: &Machine) -> Result<[Compacted; 2], OpenError> {
        let compacted = compact_on(self.home.options(), Arc::new(machine.clone()))?;
        Ok(compacted.expect("there is a store"))
    }

    /// Opens a store on `files`, and compares.
    fn judge(&self, files: [Bytes; 2]) -> Result<(), String> {
        let machine = Machine::with(files);
        let (_write, read) = self.home.open(&machine).map_err(|error| error.to_string())?;
        let found = Facts::try_of(&*read, self.keys).map_err(|error| error.to_string())?;
        if found != self.facts {
            return Err(format!("another store, at seq {}", found.last_seq));
        }
        let report = read.check().map_err(|error| error.to_string())?;
        if report.is_clean() { Ok(()) } else { Err(format!("{:?}", report.problems)) }
    }

    /// Cuts the power after each change of a compaction; the cuts, and what was lost.
    fn cut_everywhere(&self, log: &[(usize, Change)], syncs: Syncs) -> (u64, Vec<String>) {
        let mut disks = Disks::new(self.files.clone(), log, syncs);
        let (mut random, mut cuts, mut losses) = (Random(first_seed()), 0, Vec::new());
        for place in 0..=log.len() {
            disks.go_to(place);
            for _ in 0..CUTS_EACH {
                cuts += 1;
                let judged = self.judge(disks.after_cut(&mut random));
                losses.extend(judged.err().map(|what| format!("change {place}: {what}")));
            }
        }
        (cuts, losses)
    }
}

#[test]
fn a_compaction_gives_room_back_and_changes_no_answer() {
    for is_clean in [true, false] {
        let lived = Lived::new(first_seed(), is_clean);
        let machine = Machine::with(lived.files.clone());
        let compacted = lived.compact(&machine).unwrap();
        let before: u64 = compacted.iter().map(|it| it.before_bytes).sum();
        let after: u64 = compacted.iter().map(|it| it.after_bytes).sum();
        println!("{before} bytes before, {after} now: {compacted:?}");
        assert!(after * 2 < before, "{compacted:?}");
        assert_eq!(machine.used() as u64, after, "what is said is what there is");
        assert_eq!(lived.judge(machine.files()), Ok(()));
        let again = lived.compact(&machine).unwrap();
        assert!(again.iter().all(|it| it.after_bytes <= it.before_bytes), "{again:?}");
        assert_eq!(lived.judge(machine.files()), Ok(()));
    }
}

#[test]
fn a_power_cut_at_any_moment_of_a_compaction_changes_no_answer() {
    for is_clean in [true, false] {
        let lived = Lived::new(first_seed(), is_clean);
        let machine = Machine::with(lived.files.clone());
        lived.compact(&machine).unwrap();
        let (cuts, losses) = lived.cut_everywhere(&machine.log(), Syncs::Kept);
        println!("{cuts} cuts, losses {}", losses.len());
        assert!(losses.is_empty(), "{losses:#?}");
        assert!(cuts > 200, "{cuts}");
    }
}

/// The control: these cuts find a disk that does not keep what it was told to sync.
#[test]
fn a_disk_that_lies_while_a_store_is_compacted_is_found_out() {
    let lived = Lived::new(first_seed(), true);
    let machine = Machine::with(lived.files.clone());
    lived.compact(&machine).unwrap();
    let (cuts, losses) = lived.cut_everywhere(&machine.log(), Syncs::Lied);
    assert!(losses.len() as u64 > cuts / 10, "{} losses in {cuts} cuts", losses.len());
}

#[test]
fn a_disk_that_fails_while_a_store_is_compacted_changes_no_answer() {
    let lived = Lived::new(first_seed(), true);
    for is_lasting in [false, true] {
        for at in 0.. {
            let fault = Fault { of: Kind::Change, at, is_lasting };
            let machine = Machine::with(lived.files.clone()).failing(fault);
            let compacted = lived.compact(&machine);
            if machine.changes() <= at {
                assert!(compacted.is_ok(), "{compacted:?}");
                break;
            }
            assert!(compacted.is_err(), "change {at} failed, and all is said to be well");
            assert_eq!(lived.judge(machine.files()), Ok(()), "change {at}");
        }
    }
}

#[test]
fn a_store_in_use_is_not_compacted() {
    let lived = Lived::new(first_seed(), true);
    let machine = Machine::with(lived.files.clone());
    let (_write, _read) = lived.home.open(&machine).unwrap();
    assert!(matches!(lived.compact(&machine), Err(OpenError::Locked { .. })));
}
