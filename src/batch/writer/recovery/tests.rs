use super::*;
use crate::batch::Limits;
use crate::batch::fake::End;
use crate::batch::queue::{Phase, Refused};
use crate::batch::writer::tests::{Bench, outcome};

fn full() -> StoreError {
    StoreError::Full("no room".to_owned())
}

fn broken() -> StoreError {
    StoreError::Failed("no sector".to_owned())
}

/// A writer whose second batch fails: a queued update and one that somebody waits for; the same
/// stands behind it. `reopened` is what opening the store again comes to.
fn fails_twice_over(reopened: impl IntoIterator<Item = (Result<(), StoreError>, bool)>) -> Bench {
    let bench = Bench::new(Limits::DEFAULT);
    bench.push(1, Ack::Durable).blocking_recv().unwrap().unwrap();
    bench.store.end(End::FailAt(2));
    bench.store.state().reopened.extend(reopened);
    bench.store.hold();
    let _queued = bench.push(2, Ack::Queued);
    let in_flight = bench.push(1, Ack::Durable);
    bench.store.wait(|state| state.appends == 2);
    let _queued = bench.push(4, Ack::Queued);
    let (behind, flush) = (bench.push(1, Ack::Durable), bench.flush());
    bench.store.release();
    assert_eq!(outcome(in_flight), Outcome::Unknown);
    assert_eq!(outcome(behind), Outcome::NotApplied);
    assert_eq!(outcome(flush), Outcome::NotApplied);
    bench
}

/// Lets the writer see whether there is room.
fn room(bench: &Bench, is_there: bool) {
    bench.store.state().full = (!is_there).then(full);
    // At the second call it is done with the first.
    (0..2).for_each(|_| bench.settle());
}

/// Lets the time between two tries pass.
fn next_try(bench: &Bench, tries: usize) {
    bench.store.wait(|state| state.reopens == tries - 1);
    bench.advance(TRY_INTERVAL);
    bench.store.wait(|state| state.reopens == tries);
}

#[test]
fn what_nobody_waits_for_was_accepted_and_outlives_a_failure() {
    let bench = fails_twice_over([(Ok(()), false)]);
    bench.drain().unwrap();
    // What was in the batch that failed comes first; who waited was told, and is not written.
    assert_eq!(bench.store.sizes(), [1, 6]);
}

#[test]
fn a_batch_that_is_there_after_all_is_not_written_twice() {
    let bench = fails_twice_over([(Ok(()), true)]);
    bench.drain().unwrap();
    assert_eq!(bench.store.sizes(), [1, 4]);
    assert_eq!(bench.stats.lock().batches, 3);
}

#[test]
fn the_store_is_opened_again_three_times_ten_seconds_apart() {
    let mut bench = fails_twice_over((0..3).map(|_| (Err(broken()), false)));
    for tries in [2, 3] {
        bench.store.wait(|state| state.reopens == tries - 1);
        bench.advance(TRY_INTERVAL - Duration::from_millis(1));
        let refused = bench.queue.push(Request::new(vec![]), None);
        assert!(matches!(refused, Err(Refused::Failed(StoreError::Failed(_)))), "{refused:?}");
        assert_eq!(bench.store.state().reopens, tries - 1, "not before its time");
        bench.advance(Duration::from_millis(1));
        bench.store.wait(|state| state.reopens == tries);
    }
    bench.join();
    assert!(matches!(bench.queue.phase(), Phase::Failed(Fatal { must_end: true, .. })));
    assert_eq!(bench.store.state().reopens, 3);
}

#[test]
fn a_full_disk_is_waited_for_as_long_as_it_lasts_and_nothing_accepted_is_lost() {
    let refusals = (0..20).map(|_| (Err(full()), false));
    let bench = fails_twice_over(refusals.chain([(Ok(()), false)]));
    for tries in 2..=20 {
        next_try(&bench, tries);
        let refused = bench.queue.push(Request::new(vec![]), None);
        assert!(matches!(refused, Err(Refused::Failed(StoreError::Full(_)))), "{refused:?}");
    }
    next_try(&bench, 21);
    bench.drain().unwrap();
    assert_eq!(bench.store.sizes(), [1, 6]);
}

#[test]
fn a_stop_tries_once_more_and_says_what_is_not_stored() {
    let bench = fails_twice_over([(Err(broken()), false), (Ok(()), false)]);
    bench.store.wait(|state| state.reopens == 1);
    bench.drain().unwrap();
    assert_eq!(bench.store.sizes(), [1, 6], "the last try opened it");
    let bench = fails_twice_over([(Err(full()), false), (Err(full()), false)]);
    bench.store.wait(|state| state.reopens == 1);
    assert!(bench.drain().is_err());
}

#[test]
fn with_little_room_nothing_is_taken_and_what_was_accepted_is_stored() {
    let bench = Bench::new(Limits::DEFAULT);
    let _queued = bench.push(3, Ack::Queued);
    room(&bench, false);
    let refused = bench.queue.push(Request::new(vec![]), None);
    assert!(matches!(refused, Err(Refused::Failed(StoreError::Full(_)))), "{refused:?}");
    assert!(bench.flush().blocking_recv().unwrap().is_ok());
    assert_eq!(bench.store.sizes(), [3]);
    room(&bench, true);
    assert!(bench.push(1, Ack::Durable).blocking_recv().unwrap().is_ok());
    room(&bench, false);
    bench.drain().unwrap();
}

#[test]
fn a_store_that_opens_and_fails_again_is_not_opened_in_a_hot_loop() {
    let mut bench = Bench::new(Limits::DEFAULT);
    bench.store.end(End::FailFrom(1));
    bench.store.state().reopened.extend((0..9).map(|_| (Ok(()), false)));
    let _queued = bench.push(60, Ack::Queued);
    for tries in 1..=2 {
        // What was queued is written again at once, and fails again.
        bench.store.wait(|state| state.appends == tries + 1 && state.reopens == tries);
        bench.advance(TRY_INTERVAL - Duration::from_millis(1));
        assert_eq!(bench.store.state().reopens, tries, "not before its time");
        bench.advance(Duration::from_millis(1));
    }
    bench.join();
    assert!(matches!(bench.queue.phase(), Phase::Failed(Fatal { must_end: true, .. })));
    let state = bench.store.state();
    assert_eq!((state.reopens, state.appends), (3, 4));
}

#[test]
fn a_disk_that_opens_and_has_no_room_for_the_batch_is_waited_for_too() {
    let bench = Bench::new(Limits::DEFAULT);
    // Two failures of another kind before do not make it end at the first that is for want of room.
    bench.store.end(End::FailFrom(1));
    bench.store.state().reopened.extend((0..30).map(|_| (Ok(()), false)));
    let _queued = bench.push(60, Ack::Queued);
    let failed_again = |tries: usize| {
        bench.store.wait(|state| state.appends == tries + 1 && state.reopens == tries);
    };
    failed_again(1);
    bench.advance(TRY_INTERVAL);
    failed_again(2);
    bench.store.end(End::FullFrom(1));
    for tries in 3..=22 {
        bench.advance(TRY_INTERVAL);
        failed_again(tries);
    }
    bench.store.state().end = None;
    bench.advance(TRY_INTERVAL);
    bench.store.wait(|state| state.batches.len() == 1);
    bench.drain().unwrap();
    assert_eq!(bench.store.sizes(), [60]);
}

#[test]
fn a_stop_ends_at_a_disk_that_opens_and_has_no_room_for_the_batch() {
    // The marker of the stop is in the batch that fails, or still behind it.
    for requests in [1, 3] {
        let bench = Bench::new(Limits::DEFAULT);
        bench.store.end(End::FullFrom(1));
        bench.store.state().reopened.extend((0..30).map(|_| (Ok(()), false)));
        bench.store.hold();
        for _ in 0..requests {
            let _queued = bench.push(Limits::DEFAULT.batch_updates_max, Ack::Queued);
        }
        bench.store.release();
        bench.store.wait(|state| state.appends == 2);
        let failure = bench.drain().unwrap_err();
        assert!(matches!(failure.source, StoreError::Full(_)), "{failure:?}");
        assert!(bench.store.state().reopens <= 3);
    }
}
