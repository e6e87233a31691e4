//! The power is cut at every moment of a store's life, and again while it recovers.
//!
//! One life is recorded: batches, removals, folds, merges, trims. Then for a cut after each change
//! of the disk, a store is opened on what the disk may hold, and compared with what the oracle knew
//! after the last acknowledged batch, or after the one that was on its way: whole, or not there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::disks::{Disks, Syncs};
use super::machine::{Bytes, Change, Machine, NAMES, Random};
use super::*;
use crate::model::{Answer, Command, Counts, JobRecord, Order, PageQuery};
use crate::store::redb::open::open_on;
use crate::store::{OpenError, StoreError, memory};

/// Steps of a life.
pub(super) const STEPS: u64 = 40;
/// How often a cut is made at each place, with other survivors.
const CUTS_EACH: u64 = 4;
/// One of so many recoveries is cut, too.
const SECOND_CUTS: u64 = 4;

/// Cuts to make: short in the tests, longer by a variable. Lives of a service get all of them,
/// lives of the store alone a fifth as many.
pub(crate) fn cuts_wanted() -> u64 {
    number_of("JOBSLATE_POWER_CUTS", 100_000)
}

pub(crate) fn first_seed() -> u64 {
    number_of("JOBSLATE_SEED", 1)
}

/// Seeds of the lives in which something of everything fails: one in the tests, more by a variable.
pub(super) fn fault_seeds() -> std::ops::Range<u64> {
    let first = first_seed();
    first..first + number_of("JOBSLATE_FAULT_LIVES", 1)
}

pub(crate) fn number_of(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// What a store says of itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Facts {
    pub last_seq: u64,
    pub counts: Counts,
    jobs: Vec<(JobId, Arc<JobRecord>)>,
    operations: Vec<Operation>,
    kept: Vec<Option<Answer>>,
}

impl Facts {
    /// `keys` idempotency keys are asked for.
    pub fn of(read: &dyn ReadStore, keys: u64) -> Self {
        Self::try_of(read, keys).unwrap()
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// True if they are `known`, for which fewer keys may have been asked for.
    pub fn are(&self, known: &Self) -> bool {
        let mut kept = known.kept.clone();
        kept.resize(self.kept.len(), None);
        (known.last_seq, &known.counts, &known.jobs, &known.operations, &kept)
            == (self.last_seq, &self.counts, &self.jobs, &self.operations, &self.kept)
    }

    /// As [`of`](Self::of), of a store that may refuse.
    pub fn try_of(read: &dyn ReadStore, keys: u64) -> Result<Self, StoreError> {
        let keys: Vec<String> = (0..keys).map(|number| format!("key-{number}")).collect();
        Self::of_keys(read, &keys)
    }

    pub fn of_keys(read: &dyn ReadStore, keys: &[String]) -> Result<Self, StoreError> {
        let query =
            PageQuery { order: Order::Id, limit: 100, scan_max: 1_000, ..PageQuery::default() };
        let kept = keys.iter().map(|key| {
            let kept = read.kept_answer(key, TimestampMs(NOW))?;
            Ok(kept.map(|kept| kept.answer))
        });
        let kept = kept.collect::<Result<_, StoreError>>()?;
        let (counts, last_seq) = read.counts();
        let jobs = read.page(&query)?.jobs;
        let operations = read.feed(0, 10_000)?.operations;
        Ok(Self { last_seq, counts: (*counts).clone(), jobs, operations, kept })
    }
}

/// A directory in which a store finds its small files; the large ones are a machine's.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            tail_jobs_max: 5,
            merge_ids_min: 5,
            trim_segments_max: 2,
            feed_block_bytes: 200,
            ..options(&self.directory)
        }
    }

    /// A home without a store.
    pub fn empty() -> Self {
        // In memory, if there is such a place: the small files are synced for real.
        let memory = std::path::Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self { directory: tempfile::tempdir_in(place).unwrap() }
    }

    /// A home with a store, and the disk of the machine on which it was made.
    pub fn new() -> (Self, [Bytes; 2]) {
        let home = Self::empty();
        let machine = Machine::with(<[Bytes; 2]>::default());
        drop(home.open(&machine).unwrap());
        (home, machine.files())
    }

    pub fn open(&self, machine: &Machine) -> Result<Sides, OpenError> {
        Self::open_with(self.options(), OpenHooks::default(), machine)
    }

    pub fn open_with(
        options: StoreOptions,
        hooks: OpenHooks,
        machine: &Machine,
    ) -> Result<Sides, OpenError> {
        open_on(options, hooks, Arc::new(machine.clone()))
    }

    /// Keeps what a disk held as a store that every build opens: for lives that no seed repeats.
    pub fn keep(&self, files: &[Bytes; 2]) -> PathBuf {
        let kept = tempfile::Builder::new().prefix("jobslate-loss-").tempdir().unwrap().keep();
        std::fs::copy(self.directory.path().join("STORE"), kept.join("STORE")).unwrap();
        // As after a kill.
        std::fs::write(kept.join("LOCK"), "").unwrap();
        for (name, bytes) in NAMES.iter().zip(files) {
            let mut content = vec![0; bytes.length];
            bytes.read(0, &mut content).unwrap();
            std::fs::write(kept.join(name), content).unwrap();
        }
        kept
    }
}

/// What a life does: the same for the same seed.
pub(super) struct Script {
    random: Random,
    keys: u64,
    pub now: Duration,
}

impl Script {
    /// True if the next step lets time pass.
    pub fn is_resting(&mut self) -> bool {
        self.random.below(4) == 0
    }

    /// Idempotency keys that were used so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), keys: 0, now: Duration::ZERO }
    }

    /// A batch of one to three requests.
    pub fn batch(&mut self) -> Vec<Request> {
        (0..=self.random.below(3)).map(|_| self.request()).collect()
    }

    fn request(&mut self) -> Request {
        let random = &mut self.random;
        let name = |random: &mut Random| format!("job-{}", random.below(30));
        if random.below(8) == 0 {
            return Request::of_command(Command::Remove(JobId::parse(&name(random)).unwrap()));
        }
        let statuses = ["queued", "processing", "completed", "error"];
        let updates = (0..=random.below(5)).map(|_| {
            let status = statuses[random.below(4) as usize];
            Update::status(&name(random), status).unwrap()
        });
        let updates = updates.collect();
        let has_key = random.below(3) == 0;
        self.keys += u64::from(has_key);
        let key = || IdempotencyKey::new(&format!("key-{}", self.keys - 1), [0; 32]);
        Request { idempotency: has_key.then(key).flatten(), ..Request::new(updates) }
    }

    /// Lets time pass, until whatever is due then is done.
    pub fn rest(&mut self, write: &mut dyn WriteStore, read: &dyn ReadStore) {
        let options = StoreOptions::default();
        for _ in 0..2 {
            self.now += options.fold_interval + options.trim_idle;
            // A failure shows at the next batch.
            let _ = write.maintain(self.now);
            settle(read);
        }
    }
}

/// Waits for the folder, so that the same is done in the same order each time.
pub(super) fn settle(read: &dyn ReadStore) {
    while read.stats().is_folding {
        std::thread::yield_now();
    }
}

/// A life that was recorded.
pub(super) struct Life {
    pub home: Home,
    pub before: [Bytes; 2],
    log: Vec<(usize, Change)>,
    /// What was acknowledged when so many changes were done: at the beginning, and with each batch.
    pub acknowledged: Vec<(usize, Facts)>,
    keys: u64,
}

impl Life {
    pub fn record(seed: u64) -> Self {
        let (home, before) = Home::new();
        let machine = Machine::with(before.clone());
        let (mut write, read) = home.open(&machine).unwrap();
        let (mut oracle, known) = memory::open(home.options());
        let mut script = Script::new(seed);
        let mut acknowledged = vec![(0, Facts::of(&*known, 0))];
        for _ in 0..STEPS {
            if script.is_resting() {
                script.rest(&mut *write, &*read);
                continue;
            }
            let batch = script.batch();
            let theirs = write.append(&batch, TimestampMs(NOW)).unwrap();
            let place = machine.changes();
            let ours = oracle.append(&batch, TimestampMs(NOW)).unwrap();
            assert_eq!(theirs.answers, ours.answers);
            acknowledged.push((place, Facts::of(&*known, script.keys)));
            write.maintain(script.now).unwrap();
            settle(&*read);
        }
        drop(read);
        write.close().unwrap();
        Self { home, before, log: machine.log(), acknowledged, keys: script.keys }
    }

    /// Opens a store on `files`, which a disk held after `place` changes, and compares.
    pub fn judge(&self, files: [Bytes; 2], place: usize) -> Result<Machine, String> {
        let machine = Machine::with(files);
        let (write, read) = self.home.open(&machine).map_err(|error| error.to_string())?;
        let known = self.acknowledged.partition_point(|(at, _)| *at <= place);
        let found = Facts::of(&*read, self.keys);
        let possible = self.acknowledged[known - 1..].iter().take(2).map(|(_, facts)| facts);
        if !possible.clone().any(|facts| found.are(facts)) {
            let seqs: Vec<u64> = possible.map(|facts| facts.last_seq).collect();
            return Err(format!("it is at seq {}, and not as at one of {seqs:?}", found.last_seq));
        }
        let report = read.check().map_err(|error| error.to_string())?;
        drop((write, read));
        if report.is_clean() { Ok(machine) } else { Err(format!("{:?}", report.problems)) }
    }
}

/// What came of cutting the power.
#[derive(Debug, Default)]
struct Outcome {
    cuts: u64,
    losses: Vec<String>,
}

/// Cuts the power after each change of one life.
fn cut_everywhere(seed: u64, syncs: Syncs, outcome: &mut Outcome) {
    println!("JOBSLATE_SEED={seed}");
    let life = Life::record(seed);
    let mut disks = Disks::new(life.before.clone(), &life.log, syncs);
    let mut random = Random(seed);
    for place in 0..=life.log.len() {
        disks.go_to(place);
        for _ in 0..CUTS_EACH {
            let files = disks.after_cut(&mut random);
            outcome.cuts += 1;
            let judged = life.judge(files.clone(), place);
            let note = |what: String| format!("JOBSLATE_SEED={seed}, change {place}: {what}");
            let recovered = match judged {
                Ok(recovered) => recovered,
                Err(what) => {
                    outcome.losses.push(note(what));
                    continue;
                }
            };
            if random.below(SECOND_CUTS) != 0 {
                continue;
            }
            let log = recovered.log();
            let mut disks = Disks::new(files, &log, syncs);
            disks.go_to(random.below(log.len() as u64 + 1) as usize);
            outcome.cuts += 1;
            if let Err(what) = life.judge(disks.after_cut(&mut random), place) {
                outcome.losses.push(note(format!("cut again while it recovered: {what}")));
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged_and_shows_no_half_batch() {
    let (wanted, next_seed) = (cuts_wanted() / 5, AtomicU64::new(first_seed()));
    let (cuts, lives) = (AtomicU64::new(0), AtomicU64::new(0));
    let live = || {
        while cuts.load(Ordering::Relaxed) < wanted {
            let mut outcome = Outcome::default();
            cut_everywhere(next_seed.fetch_add(1, Ordering::Relaxed), Syncs::Kept, &mut outcome);
            assert!(outcome.losses.is_empty(), "{:#?}", outcome.losses);
            cuts.fetch_add(outcome.cuts, Ordering::Relaxed);
            lives.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(live)));
    });
    println!("{} cuts in {} lives, losses 0", cuts.into_inner(), lives.into_inner());
}

/// The control: these cuts find a disk that does not keep what it was told to sync.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let mut outcome = Outcome::default();
    cut_everywhere(1, Syncs::Lied, &mut outcome);
    let found = outcome.losses.len() as u64;
    assert!(found > outcome.cuts / 4, "{found} losses in {} cuts", outcome.cuts);
}

/// A seed that is printed with a loss finds it again.
#[test]
fn lives_of_the_same_seed_do_the_same() {
    let done = |seed| {
        let log = Life::record(seed).log;
        [0, 1].map(|file| {
            let of_file = log.iter().filter(|(it, _)| *it == file);
            let changes = of_file.map(|(_, change)| match change {
                Change::Write(offset, data) => (*offset, Some(data.len())),
                Change::SetLength(length) => (*length, None),
                Change::Sync => (0, None),
            });
            changes.collect::<Vec<_>>()
        })
    };
    assert!(done(1) == done(1) && done(1) != done(2));
}

#[test]
fn what_is_kept_of_a_disk_is_the_store_that_it_held() {
    let life = Life::record(1);
    let mut disks = Disks::new(life.before.clone(), &life.log, Syncs::Kept);
    disks.go_to(life.log.len() / 2);
    let files = disks.after_cut(&mut Random(1));
    let machine = life.judge(files.clone(), life.log.len() / 2).unwrap();
    let known = Facts::of(&*life.home.open(&machine).unwrap().1, life.keys);
    let kept = life.home.keep(&files);
    let (write, read) = open(&StoreOptions { directory: kept.clone(), ..life.home.options() });
    assert_eq!(Facts::of(&*read, life.keys), known);
    drop((write, read));
    std::fs::remove_dir_all(kept).unwrap();
}
