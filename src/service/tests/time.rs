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
