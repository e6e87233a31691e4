//! A disk that from some moment on reads nothing any more, for ever: readers are told what was
//! acknowledged, or that the store fails, and never that a job is unknown or a list shorter.
//! Nothing is taken meanwhile; when the disk reads again, the store goes on and has lost nothing.

use super::machine::{Bytes, Fault, Kind, Machine, Met};
use super::power::{Facts, Home, Script, fault_seeds, settle};
use super::*;
use crate::model::{Order, PageQuery};
use crate::store::{AppendError, Reopened, memory};

const STEPS: u64 = 40;
/// As many reads, evenly over a life, are in turn the first that fails.
const LIVES: usize = 60;

/// What a reader makes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// What the store says.
    Store,
    /// The control: that there is no such job.
    Hiding,
}

#[derive(Debug, Default)]
struct Came {
    lives: u64,
    right: u64,
    refused: u64,
    met: Met,
    wrong: Vec<String>,
}

impl Came {
    /// `found` is what the store answered: what the oracle knows, or an error.
    fn judge<T: PartialEq + std::fmt::Debug, E>(&mut self, found: Result<T, E>, known: &T) {
        match found {
            Ok(found) if found == *known => self.right += 1,
            Ok(found) => self.wrong.push(format!("{found:?}, and not {known:?}")),
            Err(_) => self.refused += 1,
        }
    }

    /// Asks everything that readers may ask.
    fn ask(&mut self, read: &dyn ReadStore, known: &dyn ReadStore, reader: Reader, keys: u64) {
        self.judge(Ok::<_, ()>(read.counts()), &known.counts());
        for number in 0..30 {
            let job_id = JobId::parse(&format!("job-{number}")).unwrap();
            let found = match reader {
                Reader::Store => read.get(&job_id),
                Reader::Hiding => read.get(&job_id).or(Ok(None)),
            };
            self.judge(found, &known.get(&job_id).unwrap());
            let ids = [job_id];
            self.judge(read.lookup(&ids), &known.lookup(&ids).unwrap());
        }
        for order in Order::ALL {
            let query = PageQuery { order, limit: 100, scan_max: 1_000, ..PageQuery::default() };
            let found = read.page(&query).map(|page| page.jobs);
            self.judge(found, &known.page(&query).unwrap().jobs);
        }
        let found = read.feed(0, 10_000).map(|page| page.operations);
        self.judge(found, &known.feed(0, 10_000).unwrap().operations);
        for number in 0..keys {
            let answer = |read: &dyn ReadStore| {
                let kept = read.kept_answer(&format!("key-{number}"), TimestampMs(NOW));
                kept.map(|kept| kept.map(|kept| kept.answer))
            };
            self.judge(answer(read), &answer(known).unwrap());
        }
    }
}

/// A store that keeps next to nothing in memory, so that it reads.
fn options(home: &Home) -> StoreOptions {
    StoreOptions { cache_bytes: 16 << 10, ..home.options() }
}

fn open(home: &Home, machine: &Machine) -> Sides {
    Home::open_with(options(home), OpenHooks::default(), machine).unwrap()
}

/// What a life begins with.
struct Life {
    home: Home,
    before: [Bytes; 2],
    seed: u64,
}

/// Lives on a disk of which the read `at` of the life fails and all that follow; how many reads
/// there were.
fn live(life: &Life, at: usize, reader: Reader, came: &mut Came) -> usize {
    let Life { home, before, seed } = life;
    let machine = &Machine::with(before.clone());
    let (mut write, read) = open(home, machine);
    let (mut oracle, known) = memory::open(options(home));
    let mut script = Script::new(*seed);
    let begin = machine.reads();
    let fault = Fault { of: Kind::Read, at: begin.saturating_add(at), is_lasting: true };
    let machine = machine.clone().failing(fault);
    let (mut has_failed, mut unknown) = (false, None);
    for _ in 0..STEPS {
        if script.is_resting() {
            script.rest(&mut *write, &*read);
        } else {
            let batch = script.batch();
            match write.append(&batch, TimestampMs(NOW)) {
                Ok(_) => {
                    assert!(!has_failed, "read {at}: acknowledged after a failure");
                    oracle.append(&batch, TimestampMs(NOW)).unwrap();
                }
                Err(AppendError::Unknown(_)) if !has_failed => {
                    (has_failed, unknown) = (true, Some(batch));
                }
                Err(_) => has_failed = true,
            }
        }
        has_failed |= write.maintain(script.now).is_err();
        if has_failed {
            assert!(write.reopen().is_err(), "read {at}: opened without a read");
        }
        settle(&*read);
        came.ask(&*read, &*known, reader, script.keys());
    }
    let reads = machine.reads() - begin;
    came.met.add(machine.met());
    machine.heal();
    if write.maintain(script.now).is_err() {
        let Reopened { has_batch, .. } = write.reopen().unwrap();
        let batch = unknown.filter(|_| has_batch);
        batch.into_iter().for_each(|it| drop(oracle.append(&it, TimestampMs(NOW)).unwrap()));
    }
    let batch = script.batch();
    write.append(&batch, TimestampMs(NOW)).unwrap();
    oracle.append(&batch, TimestampMs(NOW)).unwrap();
    drop(read);
    write.close().unwrap();
    let (_write, read) = open(home, &machine);
    assert_eq!(Facts::of(&*read, script.keys()), Facts::of(&*known, script.keys()), "read {at}");
    assert!(read.check().unwrap().is_clean());
    came.lives += 1;
    reads
}

/// A store of its own for each of the lives; all that came of them.
fn live_each(reader: Reader) -> Came {
    let mut came = Came::default();
    for seed in fault_seeds() {
        println!("JOBSLATE_SEED={seed}");
        let (home, before) = Home::new();
        let life = Life { home, before, seed };
        let reads = live(&life, usize::MAX, reader, &mut came);
        for at in (0..reads).step_by((reads / LIVES).max(1)) {
            live(&life, at, reader, &mut came);
        }
    }
    let Came { lives, right, refused, met, .. } = &came;
    println!("{lives} lives: {right} answers right, {refused} refused; {met:?}");
    came
}

#[test]
fn a_disk_that_never_reads_again_gives_no_wrong_answer_and_loses_nothing() {
    let came = live_each(Reader::Store);
    assert!(came.wrong.is_empty(), "{} wrong: {:#?}", came.wrong.len(), came.wrong.first());
    assert!(
        came.lives > LIVES as u64 && came.refused > 100 && came.met.reads > LIVES as u64 / 2,
        "{came:?}"
    );
}

/// The control: a reader that takes an error for a job that is not there is found out.
#[test]
fn a_reader_that_hides_what_it_cannot_read_is_found_out() {
    assert!(!live_each(Reader::Hiding).wrong.is_empty());
}
