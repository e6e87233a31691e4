//! The power is cut at every moment of a service's life, from the door through queue, writer,
//! journal and folds to the drain, and again while the store recovers.
//!
//! Threads call as they like, so no two lives are alike, also of one seed; what was promised is the
//! same, and the files of a loss are kept. The order in which the calls of a life became durable is
//! read from its feed, and the oracle is given them one by one in that order. After a cut the store
//! must be as the oracle was after one of them: with every call that was acknowledged by then,
//! whole, and with none that was not made yet. Whoever then repeats a call with its key is answered
//! from the first, or makes it: either way it is there once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::model::{Command, IdempotencyKey, JobId, Operation, TimestampMs};
use crate::store::memory;
use crate::store::redb::tests::disks::{Disks, Syncs};
use crate::store::redb::tests::machine::{Bytes, Change, Machine, Random};
use crate::store::redb::tests::power::{Facts, Home, cuts_wanted, first_seed};

const NOW: TimestampMs = TimestampMs(1_764_000_000_000);
const THREADS: u64 = 3;
/// Of each thread in each part of a life; the last part ends with a drain beside them.
const CALLS: u64 = 5;
const PARTS: u64 = 3;
/// How often a cut is made at each place, with other survivors.
const CUTS_EACH: u64 = 3;
/// One of so many recoveries is cut, too.
const SECOND_CUTS: u64 = 4;
/// After one of so many cuts, all calls with a key are repeated.
const REPEATS: u64 = 8;
/// Losses of a life whose files are kept.
const KEPT_MAX: u64 = 3;

/// A call that was admitted, and its answer.
struct Call {
    request: Request,
    answer: Answer,
    /// Changes of the disk when it was made.
    made: usize,
    /// Changes of the disk when it was known to be durable.
    durable: usize,
}

impl Call {
    /// The text that its updates carry, and no other's.
    fn tag(&self) -> Option<&str> {
        self.request.updates.first().and_then(|(_, update)| update.message.as_deref())
    }

    /// Its operations, by the tag.
    fn operations<'a>(&self, feed: &'a [Operation]) -> impl Iterator<Item = &'a Operation> {
        let tag = self.tag().map(str::to_owned);
        feed.iter().filter(move |it| {
            let message = it.change().and_then(|change| change.message.as_deref());
            tag.is_some() && message == tag.as_deref()
        })
    }

    /// Its place in the order of all; `None` if it came to nothing.
    fn first_seq(&self, feed: &[Operation]) -> Option<u64> {
        let of_answer = self.answer.seqs.map(|(first, _)| first);
        of_answer.or_else(|| self.operations(feed).next().map(Operation::seq))
    }
}

fn serve(home: &Home, machine: &Machine, clock: &ManualClock) -> Result<Service, OpenError> {
    let clock = Clock::Manual(clock.clone());
    let store = home.options();
    let options = ServiceOptions { batch_size: 4, clock, store, ..ServiceOptions::default() };
    let open = |store, hooks| Home::open_with(store, hooks, machine);
    Service::start(options, Arc::new(|_| ()), open)
}

/// One thread of callers.
struct Caller<'a> {
    service: &'a Service,
    machine: &'a Machine,
    name: String,
    random: Random,
    /// Calls of all threads.
    count: &'a AtomicU64,
    calls: Vec<Call>,
}

impl Caller<'_> {
    /// Calls so often, or until the service stops.
    fn call(mut self, times: u64) -> Vec<Call> {
        for number in 0..times {
            let made = self.machine.changes();
            let is_flush = self.random.below(6) == 0;
            let called = if is_flush { self.flush() } else { self.submit(number, made) };
            self.count.fetch_add(1, Ordering::SeqCst);
            match called {
                Ok(()) => {}
                // The store may be closed already when it is asked for a key.
                Err(_) if self.service.health() == HealthState::Draining => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.calls
    }

    fn flush(&mut self) -> Result<(), SubmitError> {
        self.service.flush_blocking()?;
        let place = self.machine.changes();
        self.calls.iter_mut().for_each(|call| call.durable = call.durable.min(place));
        Ok(())
    }

    fn submit(&mut self, number: u64, made: usize) -> Result<(), SubmitError> {
        let request = self.request(number);
        let is_durable = request.ack == Ack::Durable;
        let receipt = self.service.submit_blocking(request.clone())?;
        let durable = if is_durable { self.machine.changes() } else { usize::MAX };
        assert!(!receipt.replayed && receipt.answer.durable == is_durable, "{receipt:?}");
        self.calls.push(Call { request, answer: receipt.answer, made, durable });
        Ok(())
    }

    fn request(&mut self, number: u64) -> Request {
        let random = &mut self.random;
        let name = |random: &mut Random| format!("job-{}", random.below(30));
        if random.below(8) == 0 {
            return Request::of_command(Command::Remove(JobId::parse(&name(random)).unwrap()));
        }
        let tag = format!("{}-{number}", self.name);
        let updates = (0..=random.below(5)).map(|_| {
            let status = ["queued", "processing", "completed", "error"][random.below(4) as usize];
            let job_id = name(random);
            let (status, message) = (Some(status), Some(tag.as_str()));
            let fields = UpdateFields { job_id: &job_id, status, message, ..Default::default() };
            Update::new(fields).unwrap()
        });
        let updates = updates.collect();
        let ack = [Ack::Durable, Ack::Queued][random.below(2) as usize];
        let has_key = random.below(2) == 0;
        let idempotency = has_key.then(|| IdempotencyKey::new(&tag, [0; 32])).flatten();
        Request { ack, idempotency, ..Request::new(updates) }
    }
}

/// A life that was recorded.
struct Life {
    home: Home,
    before: [Bytes; 2],
    log: Vec<(usize, Change)>,
    /// In the order in which they became durable.
    calls: Vec<Call>,
    /// What the oracle knew before the first of them, and after each.
    known: Vec<Facts>,
    keys: Vec<String>,
}

impl Life {
    fn record(seed: u64) -> Self {
        let (home, before) = Home::new();
        let (machine, clock) = (Machine::with(before.clone()), ManualClock::at(NOW));
        let service = serve(&home, &machine, &clock).unwrap();
        let (mut calls, count) = (Vec::new(), AtomicU64::new(0));
        for part in 0..PARTS {
            let target = count.load(Ordering::SeqCst) + THREADS * CALLS / 2;
            let caller = |thread: u64| {
                let random = Random((seed * PARTS + part) * THREADS + thread);
                let (name, calls) = (format!("{part}-{thread}"), Vec::new());
                let (service, machine, count) = (&service, &machine, &count);
                Caller { service, machine, name, random, count, calls }
            };
            std::thread::scope(|scope| {
                let call = |it: u64| {
                    let caller = caller(it);
                    scope.spawn(move || caller.call(CALLS))
                };
                let threads: Vec<_> = (0..THREADS).map(call).collect();
                if part == PARTS - 1 {
                    while count.load(Ordering::SeqCst) < target {
                        std::thread::yield_now();
                    }
                    service.drain_blocking().unwrap();
                }
                threads.into_iter().for_each(|it| calls.extend(it.join().unwrap()));
            });
            if part < PARTS - 1 {
                rest(&service, &clock);
            }
        }
        let place = machine.changes();
        calls.iter_mut().for_each(|call: &mut Call| call.durable = call.durable.min(place));
        drop(service);
        Self { home, before, log: machine.log(), calls, known: vec![], keys: vec![] }
            .ordered(&machine)
    }

    /// Gives the oracle the calls in the order of the feed.
    fn ordered(mut self, machine: &Machine) -> Self {
        let key = |call: &Call| call.request.idempotency.as_ref().map(|it| it.key.to_string());
        self.keys = self.calls.iter().filter_map(key).collect();
        let found = self.facts(&Machine::with(machine.files())).unwrap();
        let feed = found.operations();
        // The removal of a job that is not there comes to nothing.
        self.calls.retain(|call| call.tag().is_some() || call.answer.seqs.is_some());
        self.calls.sort_by_key(|call| call.first_seq(feed).expect("it was admitted and drained"));
        let (mut oracle, known) = memory::open(self.home.options());
        self.known.push(Facts::of_keys(&*known, &self.keys).unwrap());
        for call in &self.calls {
            let request = Request { received_at: Some(NOW), ..call.request.clone() };
            let theirs = oracle.append(&[request], NOW).unwrap().answers.remove(0);
            assert!(call.request.ack == Ack::Queued || theirs == call.answer, "{theirs:?}");
            self.known.push(Facts::of_keys(&*known, &self.keys).unwrap());
        }
        assert!(self.known.last() == Some(&found), "the life is not what its calls come to");
        self
    }

    fn facts(&self, machine: &Machine) -> Result<Facts, String> {
        let (_write, read) = self.home.open(machine).map_err(|error| error.to_string())?;
        let found = Facts::of_keys(&*read, &self.keys).map_err(|error| error.to_string())?;
        let report = read.check().map_err(|error| error.to_string())?;
        if report.is_clean() { Ok(found) } else { Err(format!("{:?}", report.problems)) }
    }

    /// Opens a store on `files`, which a disk held after `place` changes, and compares.
    fn judge(&self, files: [Bytes; 2], place: usize) -> Result<Machine, String> {
        let machine = Machine::with(files);
        let found = self.facts(&machine)?;
        let acknowledged = self.calls.iter().rposition(|call| call.durable <= place);
        let least = acknowledged.map_or(0, |it| it + 1);
        let most = self.calls.iter().take_while(|call| call.made < place).count();
        let possible = self.known.get(least..=most).unwrap_or_default();
        if possible.contains(&found) {
            return Ok(machine);
        }
        let seqs: Vec<u64> = possible.iter().map(|facts| facts.last_seq).collect();
        Err(format!("it is at seq {}, and not as at one of {seqs:?}", found.last_seq))
    }

    /// Starts a service there, and repeats every call with a key that was made by then.
    fn repeat(&self, files: [Bytes; 2], place: usize) -> Result<(), String> {
        let (machine, clock) = (Machine::with(files), ManualClock::at(NOW));
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let service = serve(&self.home, &machine, &clock).map_err(|error| text(&error))?;
        let is_keyed = |call: &&Call| call.made < place && call.request.idempotency.is_some();
        for call in self.calls.iter().filter(is_keyed) {
            let receipt = service.submit_blocking(call.request.clone());
            let Receipt { answer, replayed } = receipt.map_err(|error| text(&error))?;
            if call.durable <= place && !(replayed && answer == call.answer) {
                return Err(format!("{:?} was acknowledged, its repeat: {answer:?}", call.tag()));
            }
        }
        service.flush_blocking().map_err(|error| text(&error))?;
        let feed = service.feed(0, 10_000).map_err(|error| text(&error))?.operations;
        for call in self.calls.iter().filter(is_keyed) {
            let (found, wanted) = (call.operations(&feed).count(), call.request.updates.len());
            if found != wanted {
                return Err(format!("{:?} has {found} operations, not {wanted}", call.tag()));
            }
        }
        service.drain_blocking().map_err(|error| text(&error)).map(|_| ())
    }
}

/// Lets time pass while nobody calls, until what is due then is done.
fn rest(service: &Service, clock: &ManualClock) {
    let store = &service.options().store;
    for _ in 0..2 {
        clock.advance(store.fold_interval + store.trim_idle);
        clock.set_wall(NOW);
        let turns = service.turns();
        while service.turns() < turns + 3 || service.stats().store.is_folding {
            service.poke();
            std::thread::yield_now();
        }
    }
}

/// What came of cutting the power.
#[derive(Debug, Default)]
struct Outcome {
    cuts: u64,
    /// Acknowledged calls that were looked for.
    checked: u64,
    losses: Vec<String>,
}

/// Cuts the power after each change of one life.
fn cut_everywhere(seed: u64, syncs: Syncs, outcome: &mut Outcome) {
    println!("JOBSLATE_SEED={seed}");
    let life = Life::record(seed);
    let mut disks = Disks::new(life.before.clone(), &life.log, syncs);
    let (mut random, kept) = (Random(seed), Cell::new(0));
    for place in 0..=life.log.len() {
        disks.go_to(place);
        let acknowledged = life.calls.iter().filter(|call| call.durable <= place).count() as u64;
        let note = |what: String, files: &[Bytes; 2]| {
            let is_kept = syncs == Syncs::Kept && kept.replace(kept.get() + 1) < KEPT_MAX;
            let files = is_kept.then(|| life.home.keep(files));
            format!("JOBSLATE_SEED={seed}, change {place}: {what}; the files: {files:?}")
        };
        for _ in 0..CUTS_EACH {
            let files = disks.after_cut(&mut random);
            outcome.cuts += 1;
            outcome.checked += acknowledged;
            let recovered = match life.judge(files.clone(), place) {
                Ok(recovered) => recovered,
                Err(what) => {
                    outcome.losses.push(note(what, &files));
                    continue;
                }
            };
            if random.below(REPEATS) == 0 {
                let repeated = life.repeat(files.clone(), place);
                let repeated = repeated.err().map(|it| note(format!("repeated: {it}"), &files));
                outcome.losses.extend(repeated);
            }
            if random.below(SECOND_CUTS) != 0 {
                continue;
            }
            let log = recovered.log();
            let mut disks = Disks::new(files, &log, syncs);
            disks.go_to(random.below(log.len() as u64 + 1) as usize);
            outcome.cuts += 1;
            outcome.checked += acknowledged;
            let files = disks.after_cut(&mut random);
            if let Err(what) = life.judge(files.clone(), place) {
                outcome.losses.push(note(format!("cut while it recovered: {what}"), &files));
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_of_a_service_loses_no_acknowledged_call_and_shows_no_half_one() {
    let (wanted, next_seed) = (cuts_wanted(), AtomicU64::new(first_seed()));
    let [cuts, lives, checked] = std::array::from_fn(|_| AtomicU64::new(0));
    let live = || {
        while cuts.load(Ordering::Relaxed) < wanted {
            let mut outcome = Outcome::default();
            cut_everywhere(next_seed.fetch_add(1, Ordering::Relaxed), Syncs::Kept, &mut outcome);
            assert!(outcome.losses.is_empty(), "{:#?}", outcome.losses);
            cuts.fetch_add(outcome.cuts, Ordering::Relaxed);
            checked.fetch_add(outcome.checked, Ordering::Relaxed);
            lives.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(live)));
    });
    let [cuts, lives, checked] = [cuts, lives, checked].map(AtomicU64::into_inner);
    println!("{cuts} cuts in {lives} lives, {checked} acknowledged calls looked for, losses 0");
    assert!(checked > cuts, "a life acknowledges calls");
}

/// The control: these cuts find a disk that does not keep what it was told to sync.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out_by_a_service() {
    let mut outcome = Outcome::default();
    cut_everywhere(first_seed(), Syncs::Lied, &mut outcome);
    let found = outcome.losses.len() as u64;
    assert!(found > outcome.cuts / 4, "{found} losses in {} cuts", outcome.cuts);
}
