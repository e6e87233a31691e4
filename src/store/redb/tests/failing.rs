//! A disk that fails in the middle of a life, once or for good: what it refused is never
//! acknowledged, nothing more is done to the file, and nothing is lost that was acknowledged.

use super::machine::{Fault, Kind, Machine, Met};
use super::power::{Life, STEPS, Script, fault_seeds, settle};
use super::*;

/// Lives once with a disk that fails; the machine, and what was acknowledged.
fn live_with(fault: Fault, seed: u64, life: &Life) -> Option<(Machine, usize)> {
    let machine = Machine::with(life.before.clone()).failing(fault);
    let Ok((mut write, read)) = life.home.open(&machine) else { return Some((machine, 0)) };
    let mut script = Script::new(seed);
    let (mut acknowledged, mut has_failed) = (0, false);
    for _ in 0..STEPS {
        if script.is_resting() {
            script.rest(&mut *write, &*read);
            continue;
        }
        let batch = script.batch();
        let appended = write.append(&batch, TimestampMs(NOW));
        assert!(!(has_failed && appended.is_ok()), "{fault:?}: acknowledged after a failure");
        match appended {
            Ok(_) => acknowledged += 1,
            Err(_) => has_failed = true,
        }
        // What was acknowledged is still told.
        let (_, facts) = &life.acknowledged[acknowledged];
        assert_eq!(read.counts().1, facts.last_seq, "{fault:?}");
        assert_eq!(*read.counts().0, facts.counts, "{fault:?}");
        let _ = write.maintain(script.now);
        settle(&*read);
    }
    drop(read);
    let closed = write.close();
    let is_over = machine.changes() <= fault.at;
    assert!(is_over || closed.is_err() || !has_failed, "{fault:?}: a clean stop after a failure");
    (!is_over).then_some((machine, acknowledged))
}

/// Lets each change of a life fail in turn; what was done or found that must not be.
fn fail_everywhere(of: Kind, is_lasting: bool, seed: u64) -> (Met, Vec<String>) {
    println!("JOBSLATE_SEED={seed}");
    let life = Life::record(seed);
    let (mut at, mut met, mut wrong) = (0, Met::default(), Vec::new());
    while let Some((machine, acknowledged)) = live_with(Fault { at, of, is_lasting }, seed, &life) {
        let (place, _) = life.acknowledged[acknowledged];
        let note = |what: &str| format!("JOBSLATE_SEED={seed}, change {at}: {what}");
        if let Err(what) = life.judge(machine.files(), place) {
            wrong.push(note(&what));
        }
        // Nor is a failed sync ever repeated.
        if of == Kind::Change && machine.changes_behind(at) > 0 {
            wrong.push(note("the file was changed after it had failed"));
        }
        met.add(machine.met());
        at += 1;
        if of == Kind::LostChange && wrong.len() > 20 {
            break;
        }
    }
    println!("seed {seed}: {at} changes failed: {met:?}");
    (met, wrong)
}

fn nothing_is_lost_to_changes_that_fail(is_lasting: bool) {
    for seed in fault_seeds() {
        let (met, wrong) = fail_everywhere(Kind::Change, is_lasting, seed);
        assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), wrong.first());
        assert!(met.writes > 0 && met.lengths > 0 && met.syncs > 0, "{met:?}");
    }
}

#[test]
fn a_write_or_a_sync_that_fails_once_is_never_acknowledged_and_costs_nothing_before_it() {
    nothing_is_lost_to_changes_that_fail(false);
}

#[test]
fn a_disk_that_fails_for_good_costs_nothing_that_was_acknowledged() {
    nothing_is_lost_to_changes_that_fail(true);
}

/// The control: a disk that does nothing any more, and says to have done it.
#[test]
fn a_disk_that_says_to_have_done_what_it_has_not_is_found_out() {
    let (_, wrong) = fail_everywhere(Kind::LostChange, true, 1);
    assert!(wrong.len() > 20, "{wrong:#?}");
}
