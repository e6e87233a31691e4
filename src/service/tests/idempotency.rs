//! One call, many arrivals: applied once, answered alike.

use super::*;
use crate::model::IdempotencyKey;
use crate::service::idempotency::{Claim, Reservation, Reservations};

fn keyed(key: &str, fingerprint: u8, ack: Ack) -> Request {
    let idempotency = IdempotencyKey::new(key, [fingerprint; 32]);
    Request { idempotency, ..request(&["a", "reject"], ack) }
}

fn call(key: &str) -> Request {
    keyed(key, 1, Ack::Durable)
}

fn reservations(bench: &Bench) -> usize {
    bench.service.inner.reservations.count()
}

#[test]
fn eighty_twins_are_applied_once_and_answered_alike() {
    let bench = Bench::new();
    bench.store.hold();
    let mut calls: Vec<_> = (0..80).map(|_| Box::pin(bench.service.submit(call("k")))).collect();
    assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
    bench.store.release();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receipts = calls.into_iter().map(|call| runtime.block_on(call).unwrap());
    let receipts: Vec<Receipt> = receipts.collect();
    assert!(receipts.iter().all(|receipt| receipt.answer == receipts[0].answer));
    assert_eq!(receipts[0].answer.seqs, Some((1, 1)));
    assert_eq!(receipts.iter().filter(|receipt| receipt.replayed).count(), 79);
    assert_eq!(bench.store.sizes(), [1]);
    assert_eq!(bench.service.stats().idempotent_replayed, 79);
    assert_eq!(reservations(&bench), 0);
}

#[test]
fn eighty_threads_with_one_key_are_applied_once_and_answered_alike() {
    for ack in [Ack::Durable, Ack::Queued] {
        let bench = Bench::with(|options| options.batch_size = 1);
        let barrier = Barrier::new(80);
        let receipts = std::thread::scope(|scope| {
            let submit = || {
                barrier.wait();
                bench.service.submit_blocking(keyed("k", 1, ack)).unwrap()
            };
            let threads: Vec<_> = (0..80).map(|_| scope.spawn(submit)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(receipts.iter().all(|receipt| receipt.answer == receipts[0].answer));
        assert_eq!(receipts.iter().filter(|receipt| !receipt.replayed).count(), 1);
        bench.service.flush_blocking().unwrap();
        assert_eq!(bench.store.sizes(), [1]);
        assert_eq!(reservations(&bench), 0);
    }
}

#[test]
fn a_key_outlives_the_caller_that_hung_up() {
    let bench = Bench::new();
    bench.store.hold();
    {
        let mut submit = pin!(bench.service.submit(call("k")));
        assert!(poll_once(submit.as_mut()).is_pending());
    }
    let mut repeat = Box::pin(bench.service.submit(call("k")));
    assert!(poll_once(repeat.as_mut()).is_pending(), "the first is still on its way");
    bench.store.release();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receipt = runtime.block_on(repeat).unwrap();
    assert!(receipt.replayed);
    assert_eq!(bench.service.submit_blocking(call("k")).unwrap(), receipt);
    assert_eq!(bench.store.sizes(), [1]);
}

#[test]
fn a_key_belongs_to_one_call_in_flight_and_kept() {
    let bench = Bench::new();
    bench.service.submit_blocking(keyed("k", 1, Ack::Queued)).unwrap();
    let other = || bench.service.submit_blocking(keyed("k", 2, Ack::Durable)).unwrap_err();
    assert!(matches!(other(), SubmitError::KeyReused));
    bench.service.flush_blocking().unwrap();
    assert!(matches!(other(), SubmitError::KeyReused));
    assert_eq!(bench.service.stats().idempotent_reused, 2);
    assert_eq!((bench.store.sizes(), reservations(&bench)), (vec![1], 0));
}

#[test]
fn a_queued_call_replays_its_first_answer_before_and_after_the_commit() {
    let bench = Bench::new();
    let submit = || bench.service.submit_blocking(keyed("k", 1, Ack::Queued)).unwrap();
    let first = submit();
    assert!(!first.replayed && !first.answer.durable);
    let repeat = submit();
    assert_eq!((repeat.answer, repeat.replayed), (first.answer.clone(), true));
    assert_eq!((bench.service.stats().queued_now, reservations(&bench)), (2, 1));
    bench.service.flush_blocking().unwrap();
    assert_eq!(reservations(&bench), 0, "the reservation ends with the commit");
    let repeat = submit();
    assert!(repeat.replayed && !repeat.answer.durable);
    assert_eq!(bench.store.sizes(), [1]);
}

#[test]
fn a_refused_call_frees_its_key() {
    let bench = Bench::with(|options| {
        (options.batch_size, options.batch_updates_max, options.queue_updates_max) = (3, 3, 3);
    });
    bench.service.submit_blocking(request(&["x", "y"], Ack::Queued)).unwrap();
    let refused = bench.service.submit_blocking(call("k")).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { .. }));
    assert_eq!(reservations(&bench), 0);
    bench.service.flush_blocking().unwrap();
    // Another call may have the key now, as the first was not applied.
    let receipt = bench.service.submit_blocking(keyed("k", 2, Ack::Durable)).unwrap();
    assert!(!receipt.replayed);
    let all_rejected = Request { updates: vec![], ..call("r") };
    assert_eq!(bench.service.submit_blocking(all_rejected).unwrap().answer.accepted, 0);
    bench.service.drain_blocking().unwrap();
    let refused = bench.service.submit_blocking(call("d")).unwrap_err();
    assert!(matches!(refused, SubmitError::Draining));
    assert_eq!(reservations(&bench), 0);
}

#[test]
fn a_kept_answer_is_replayed_while_draining_and_after_a_failure() {
    let bench = Bench::new();
    let first = bench.service.submit_blocking(call("k")).unwrap();
    bench.store.end(End::FailAt(2));
    bench.service.submit_blocking(call("x")).unwrap_err();
    let replayed = Receipt { replayed: true, ..first };
    assert_eq!(bench.service.submit_blocking(call("k")).unwrap(), replayed);
}

#[test]
fn a_call_that_may_be_stored_keeps_its_key_and_one_that_is_not_frees_it() {
    let bench = Bench::new();
    bench.store.end(End::FailAt(1));
    bench.store.hold();
    bench.service.submit_blocking(keyed("queued", 1, Ack::Queued)).unwrap();
    let mut calls = ["k", "k"].map(|key| Box::pin(bench.service.submit(call(key))));
    assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
    bench.store.wait(|state| state.appends == 1);
    let mut behind = ["b", "b"].map(|key| Box::pin(bench.service.submit(call(key))));
    assert!(behind.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
    bench.store.release();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for call in calls {
        assert_eq!(runtime.block_on(call).unwrap_err().outcome(), Outcome::Unknown);
    }
    for call in behind {
        assert_eq!(runtime.block_on(call).unwrap_err().outcome(), Outcome::NotApplied);
    }
    for (key, outcome) in [("k", Outcome::Unknown), ("b", Outcome::NotApplied)] {
        let repeat = bench.service.submit_blocking(call(key)).unwrap_err();
        assert_eq!(repeat.outcome(), outcome, "{key}");
    }
    let repeat = bench.service.submit_blocking(keyed("queued", 1, Ack::Queued)).unwrap_err();
    assert_eq!(repeat.outcome(), Outcome::Unknown, "its 202 is no promise any more");
    assert_eq!(reservations(&bench), 2);
}

#[test]
fn a_key_that_cannot_be_looked_up_refuses_the_call_and_is_freed() {
    let bench = Bench::new();
    let refused = bench.service.submit_blocking(call("unreadable")).unwrap_err();
    assert!(matches!(refused, SubmitError::StoreFailed { outcome: Outcome::NotApplied, .. }));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.service.submit_blocking(call("panics"))
    }));
    assert!(panicked.is_err());
    assert_eq!((bench.store.state().appends, reservations(&bench)), (0, 0));
    assert_eq!(bench.service.health(), HealthState::Ready);
}

#[test]
fn a_late_word_about_an_ended_call_does_not_touch_the_next_one() {
    let reservations = Reservations::default();
    let key = IdempotencyKey::new("k", [1; 32]).unwrap();
    let claim = || reservations.claim(&key, || true).unwrap();
    let first = |claim| -> Reservation {
        match claim {
            Claim::First(reservation) => reservation,
            other => panic!("{other:?}"),
        }
    };
    let ended = first(claim());
    ended.settler()(&Ok(Answer::default()));
    let late = ended.settler();
    let next = first(claim());
    late(&Ok(Answer::default()));
    assert!(matches!(claim(), Claim::Twin(_)), "the next call is still on its way");
    ended.hand_over_answered(&Answer::default());
    assert!(matches!(claim(), Claim::Twin(_)), "and not yet answered");
    next.settle(&Ok(Answer::default()));
    assert_eq!(reservations.count(), 0);
}

#[test]
fn what_was_unknown_is_forgotten_once_the_store_is_well_whoever_asks() {
    let reservations = Reservations::default();
    let claim = |name: &str, is_sure: bool| {
        let key = IdempotencyKey::new(name, [1; 32]).unwrap();
        reservations.claim(&key, || is_sure)
    };
    let lost = || Err(SubmitError::unknown(StoreError::Failed("no sync".to_owned())));
    for name in ["a", "b", "c"] {
        let Ok(Claim::First(first)) = claim(name, false) else { panic!("{name} is not free") };
        first.settle(&lost());
    }
    assert_eq!(reservations.count(), 3);
    assert!(claim("a", false).is_err(), "nobody knows before the journal was read again");
    let Ok(Claim::First(other)) = claim("other", true) else { panic!("it is not free") };
    assert_eq!(reservations.count(), 1, "only the one that is on its way");
    other.settle(&Ok(Answer::default()));
    assert_eq!(reservations.count(), 0);
}
