//! A wall clock that jumps, while the service runs and between its lives: order, the interval, the
//! feed and the keys go by what happened and by the time that passed, not by what the clock says.

use std::path::Path;

use super::*;
use crate::model::{IdempotencyKey, JobId, Operation, TimestampMs};

/// 2025-11-24T16:00:00Z.
const NOW: u64 = 1_764_000_000_000;
const DAY: u64 = 86_400_000;
const YEAR_1970: u64 = 1_000;
const YEAR_2100: u64 = 4_102_444_800_000;

/// Where the clock stands in each life of the process.
const LIVES: [u64; 6] = [NOW, YEAR_1970, NOW - DAY, NOW + DAY, YEAR_1970, YEAR_2100];

fn open(directory: &Path, wall: u64) -> (Service, ManualClock) {
    let clock = ManualClock::at(TimestampMs(wall));
    let mut options =
        ServiceOptions { clock: Clock::Manual(clock.clone()), ..ServiceOptions::default() };
    options.store.directory = directory.to_owned();
    // Every batch is folded, and so judged by its age.
    options.store.tail_jobs_max = 1;
    (Service::open(options, Arc::new(|_| ())).unwrap(), clock)
}

fn keyed(number: usize) -> Request {
    let idempotency = IdempotencyKey::new(&format!("key-{number}"), [1; 32]);
    Request { idempotency, ..request(&["keyed"], Ack::Durable) }
}

/// Every operation that the feed holds.
fn feed(service: &Service) -> Vec<Operation> {
    let (mut operations, (_, last)) = (Vec::<Operation>::new(), service.counts());
    while operations.last().map_or(0, Operation::seq) < last {
        let after = operations.last().map_or(0, Operation::seq);
        operations.extend(service.feed(after, 1_000).unwrap().operations);
    }
    operations
}

fn record(service: &Service, job_id: &str) -> Arc<crate::model::JobRecord> {
    service.get(&JobId::parse(job_id).unwrap()).unwrap().unwrap()
}

/// Reports one job again, and sees that it is newer than what was before.
fn report(service: &Service, job_id: &str) {
    let before = service.get(&JobId::parse(job_id).unwrap()).unwrap();
    let answer = service.submit_blocking(request(&[job_id], Ack::Durable)).unwrap().answer;
    assert_eq!((answer.applied, answer.stale), (1, 0), "an update without `at` is never late");
    let after = record(service, job_id);
    let Some(before) = before else { return };
    assert!(after.seq > before.seq && after.updated_at >= before.updated_at);
    assert!(after.status_at >= before.status_at && after.created_at <= after.status_at);
    assert!(service.now() >= after.updated_at);
}

#[test]
fn jumps_of_the_clock_within_a_life_change_no_order_and_no_interval() {
    let directory = tempfile::tempdir().unwrap();
    let (service, clock) = open(directory.path(), NOW);
    for wall in LIVES {
        clock.set_wall(TimestampMs(wall));
        service.poke();
        report(&service, "a");
        // The interval is one of time that passes.
        service.queue(update("b")).unwrap();
        clock.advance(Duration::from_millis(1_999));
        clock.set_wall(TimestampMs(wall + 30 * DAY));
        service.poke();
        assert_eq!(service.stats().queued_now, 1, "a jump is no time that passed");
        clock.set_wall(TimestampMs(wall));
        clock.advance(Duration::from_millis(1));
        service.poke();
        let mut durable = service.durable();
        let interval = service.stats().closed_by.interval;
        while service.stats().closed_by.interval == interval && service.stats().queued_now > 0 {
            std::thread::yield_now();
        }
        service.flush_blocking().unwrap();
        assert_eq!(*durable.borrow_and_update(), service.counts().1);
        report(&service, "b");
    }
    let operations = feed(&service);
    assert!(operations.iter().map(Operation::seq).eq(1..=service.counts().1), "no gap");
    let updated = |it: &Operation| record(&service, it.job_id().unwrap().as_str()).updated_at;
    assert!(operations.iter().map(updated).max() >= Some(TimestampMs(YEAR_2100)));
    assert_eq!(service.check().unwrap().problems, [] as [String; 0]);
    service.drain_blocking().unwrap();
}

#[test]
fn jumps_of_the_clock_between_lives_forget_no_key_and_nothing_of_the_feed() {
    let directory = tempfile::tempdir().unwrap();
    let mut answers = Vec::new();
    for (life, wall) in LIVES.into_iter().enumerate() {
        let (service, _clock) = open(directory.path(), wall);
        let replay_all = |answers: &[Answer]| {
            for (number, first) in answers.iter().enumerate() {
                let receipt = service.submit_blocking(keyed(number)).unwrap();
                assert!(receipt.replayed && receipt.answer == *first, "life {life}: {number}");
            }
        };
        // Before the first batch of this life, and after it, and after folds.
        replay_all(&answers);
        report(&service, "a");
        replay_all(&answers);
        answers.push(service.submit_blocking(keyed(life)).unwrap().answer);
        report(&service, &format!("of-life-{life}"));
        report(&service, "a");
        replay_all(&answers);
        let operations = feed(&service);
        assert!(operations.iter().map(Operation::seq).eq(1..=service.counts().1), "{life}");
        service.drain_blocking().unwrap();
    }
    let (service, _clock) = open(directory.path(), NOW);
    assert_eq!(service.check().unwrap().problems, [] as [String; 0]);
    service.drain_blocking().unwrap();
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// One moment of a store in the random lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    /// The last seq, and when its update was made durable.
    seq: u64,
    updated_at: TimestampMs,
    /// What the wall clock said then.
    wall: TimestampMs,
}

/// The first place where a later update is not later.
fn goes_back(moments: &[Moment], at: fn(&Moment) -> TimestampMs) -> Option<usize> {
    let is_back = |two: &[Moment]| two[1].seq <= two[0].seq || at(&two[1]) < at(&two[0]);
    moments.windows(2).position(is_back)
}

/// A jump to anywhere; `is_bounded` leaves 2100 out, behind which nothing goes back any more.
fn jump(random: &mut Random, wall: u64, is_bounded: bool) -> u64 {
    let day = random.next() % DAY;
    match random.next() % if is_bounded { 5 } else { 6 } {
        0 => YEAR_1970,
        1 => wall.saturating_sub(DAY).max(YEAR_1970),
        2 => wall.saturating_add(DAY).min(YEAR_2100),
        3 => wall.saturating_sub(day).max(YEAR_1970),
        4 => NOW + day,
        _ => YEAR_2100,
    }
}

/// Queues an update and lets the flush interval pass, in two parts with a jump between them.
fn wait_for_interval(service: &Service, clock: &ManualClock, jump_to: u64, first_ms: u64) {
    const INTERVAL_MS: u64 = 2_000;
    service.queue(update("queued")).unwrap();
    let before = service.stats().closed_by.interval;
    clock.advance(Duration::from_millis(first_ms));
    clock.set_wall(TimestampMs(jump_to));
    let turns = service.turns();
    service.poke();
    while service.turns() == turns {
        std::thread::yield_now();
    }
    assert_eq!(service.stats().queued_now, 1, "a jump is no time that passed");
    clock.advance(Duration::from_millis(INTERVAL_MS - first_ms));
    service.poke();
    while service.stats().closed_by.interval == before || service.stats().queued_now > 0 {
        std::thread::yield_now();
    }
}

/// One life: jumps, and after each an update at once and one of the interval.
fn live(
    service: &Service,
    clock: &ManualClock,
    wall: &mut u64,
    random: &mut Random,
) -> [Moment; 3] {
    let is_bounded = !random.next().is_multiple_of(8);
    [(); 3].map(|()| {
        *wall = jump(random, *wall, is_bounded);
        clock.set_wall(TimestampMs(*wall));
        report(service, "a");
        *wall = jump(random, *wall, is_bounded);
        wait_for_interval(service, clock, *wall, 1 + random.next() % 1_998);
        *wall = Clock::Manual(clock.clone()).wall().0;
        report(service, "b");
        let record = record(service, "b");
        Moment { seq: record.seq, updated_at: record.updated_at, wall: TimestampMs(*wall) }
    })
}

/// The files as a kill would leave them: the store that is open stays so.
fn copy_of(directory: &Path, service: &Service) -> tempfile::TempDir {
    for _ in 0..5 {
        service.poke();
        service.flush_blocking().unwrap();
        while service.stats().store.is_folding {
            std::thread::yield_now();
        }
    }
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// `JOBSLATE_CLOCK_LIVES` says how many; each ends by a stop or as by a kill. A store that has seen
/// 2100 goes back no more, whatever it does, so each lives for a few of them only.
#[test]
fn random_jumps_over_many_lives_turn_no_order_back_and_no_interval_aside() {
    const LIVES_OF_A_STORE: usize = 8;
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let lives = number("JOBSLATE_CLOCK_LIVES").unwrap_or(24) as usize;
    let seed = number("JOBSLATE_SEED").unwrap_or(1);
    println!("seed: JOBSLATE_SEED={seed}");
    let (mut random, mut updates, mut kills, mut back) = (Random(seed), 0, 0, 0);
    for _ in 0..lives.div_ceil(LIVES_OF_A_STORE) {
        let (mut directory, mut wall) = (tempfile::tempdir().unwrap(), NOW);
        let (mut moments, mut answers) = (Vec::new(), Vec::new());
        for life in 0..LIVES_OF_A_STORE {
            let (service, clock) = open(directory.path(), wall);
            moments.extend(live(&service, &clock, &mut wall, &mut random));
            answers.push(service.submit_blocking(keyed(life)).unwrap().answer);
            for (number, first) in answers.iter().enumerate() {
                let receipt = service.submit_blocking(keyed(number)).unwrap();
                assert!(receipt.answer == *first, "life {life}: {number}");
            }
            assert!(feed(&service).iter().map(Operation::seq).eq(1..=service.counts().1));
            assert_eq!(service.check().unwrap().problems, [] as [String; 0]);
            if random.next() % 2 == 0 {
                let killed = copy_of(directory.path(), &service);
                service.drain_blocking().unwrap();
                directory = killed;
                kills += 1;
            } else {
                service.drain_blocking().unwrap();
            }
        }
        assert_eq!(goes_back(&moments, |moment| moment.updated_at), None, "{moments:?}");
        // The control: the wall clock, taken at its word, does go back.
        back += usize::from(goes_back(&moments, |moment| moment.wall).is_some());
        updates += moments.last().map_or(0, |moment| moment.seq);
    }
    println!("{lives} lives, {kills} of them killed, {updates} updates, back: 0");
    assert!(back > 0, "the clock went back in some store");
}

/// The control: an interval that goes by time which did not pass is seen to end too early.
#[test]
#[should_panic(expected = "a jump is no time that passed")]
fn an_interval_that_ends_too_early_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (service, clock) = open(directory.path(), NOW);
    service.queue(update("first")).unwrap();
    wait_for_interval(&service, &clock, NOW, 2_000);
}

/// The control: the oracle in memory goes by the wall clock alone, and such a jump costs it a key.
#[test]
fn a_store_that_goes_by_the_wall_clock_forgets_a_key() {
    let clock = ManualClock::at(TimestampMs(NOW));
    let options = ServiceOptions { clock: Clock::Manual(clock.clone()), ..Default::default() };
    let service = Service::in_memory(options).unwrap();
    service.submit_blocking(keyed(0)).unwrap();
    clock.set_wall(TimestampMs(YEAR_2100));
    assert!(!service.submit_blocking(keyed(0)).unwrap().replayed);
    service.drain_blocking().unwrap();
}
