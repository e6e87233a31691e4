//! The service over the fake store: admission, acknowledgement, failure, stop.

mod idempotency;
mod power;
mod room;
mod stores;
mod time;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::batch::fake::{End, Fake};
use crate::model::{Clock, ManualClock, Rejection, RejectionCode, UpdateFields};
use crate::telemetry::capture::logged;

/// A service over a fake store, with time in the hand of the test.
struct Bench {
    service: Service,
    store: Fake,
    clock: ManualClock,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut ServiceOptions)) -> Self {
        Self::over(Fake::default(), change)
    }

    fn over(store: Fake, change: impl FnOnce(&mut ServiceOptions)) -> Self {
        let clock = ManualClock::default();
        let mut options =
            ServiceOptions { clock: Clock::Manual(clock.clone()), ..ServiceOptions::default() };
        change(&mut options);
        let sides = store.sides();
        let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
        Self { service, store, clock }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.service.poke();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A held store must not hold the service, which drains when it goes away.
        self.store.release();
    }
}

fn update(job_id: &str) -> Update {
    Update::status(job_id, "processing").unwrap()
}

fn request(job_ids: &[&str], ack: Ack) -> Request {
    Request { ack, ..Request::new(job_ids.iter().map(|id| update(id)).collect()) }
}

/// Polls once, as a handler does before its client hangs up.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn queued_updates_are_admitted_at_once_and_become_one_transaction() {
    let bench = Bench::new();
    for index in 0..25 {
        bench.service.queue(update(&format!("doc-{index}"))).unwrap();
    }
    assert_eq!(bench.service.stats().queued_now, 25);
    assert_eq!(bench.store.state().appends, 0);
    bench.advance(Duration::from_secs(2));
    bench.store.wait(|state| state.batches.len() == 1);
    assert_eq!(bench.service.flush_blocking().unwrap(), 25);
    let stats = bench.service.stats();
    assert_eq!((stats.accepted, stats.batches, stats.closed_by.interval), (25, 1, 1));
    assert_eq!((stats.queued_now, stats.queued_peak, stats.queued_bytes), (0, 25, 0));
    assert_eq!(bench.store.sizes(), [25]);
}

#[test]
fn a_durable_answer_comes_from_the_store_and_a_queued_one_from_the_door() {
    let bench = Bench::new();
    let receipt = bench.service.submit_blocking(request(&["a", "reject"], Ack::Queued)).unwrap();
    let queued = Answer { accepted: 2, ..Answer::default() };
    assert_eq!(receipt, Receipt { answer: queued, replayed: false });
    let receipt = bench.service.submit_blocking(request(&["b", "reject"], Ack::Durable)).unwrap();
    let answer = receipt.answer;
    assert_eq!((answer.accepted, answer.applied, answer.rejected), (1, 1, 1));
    assert_eq!((answer.durable, answer.seqs), (true, Some((2, 2))));
    let stats = bench.service.stats();
    assert_eq!((stats.rejected, stats.rejected_at_commit), (2, 2));
}

#[test]
fn a_full_queue_refuses_the_whole_request_and_says_so() {
    let bench = Bench::with(|options| {
        (options.batch_size, options.batch_updates_max, options.queue_updates_max) = (10, 10, 10);
    });
    bench.service.submit_blocking(request(&["a"; 9], Ack::Queued)).unwrap();
    let refused = bench.service.submit_blocking(request(&["b"; 2], Ack::Queued)).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { updates: 9, .. }), "{refused}");
    assert_eq!((refused.outcome(), refused.is_retryable()), (Outcome::NotApplied, true));
    let refused = bench.service.submit_blocking(request(&["b"; 2], Ack::Durable)).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { .. }));
    assert_eq!(bench.service.stats().queue_full, 2);
    assert_eq!(bench.service.stats().queued_now, 9);
    let too_large = bench.service.submit_blocking(request(&["c"; 11], Ack::Durable)).unwrap_err();
    assert!(matches!(too_large, SubmitError::TooLarge { updates: 11, updates_max: 10, .. }));
    assert!(!too_large.is_retryable());
    assert_eq!(bench.service.drain_blocking().unwrap().updates, 9);
    assert_eq!(bench.store.state().batches, [vec!["a".to_owned(); 9]]);
}

#[test]
fn the_queue_is_bounded_by_bytes_too() {
    let message = "m".repeat(1000);
    let weight = |updates| {
        let fields =
            UpdateFields { job_id: "a", message: Some(&message), ..UpdateFields::default() };
        Request { ack: Ack::Queued, ..Request::new(vec![Update::new(fields).unwrap(); updates]) }
    };
    let bytes = weight(1).weight_bytes();
    let bench = Bench::with(|options| {
        (options.batch_bytes_max, options.queue_bytes_max) = (bytes * 3, bytes * 5 - 1);
    });
    for _ in 0..4 {
        bench.service.submit_blocking(weight(1)).unwrap();
    }
    let refused = bench.service.submit_blocking(weight(1)).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { updates: 4, .. }), "{refused}");
    let refused = bench.service.submit_blocking(weight(4)).unwrap_err();
    assert!(matches!(refused, SubmitError::TooLarge { .. }), "{refused}");
    bench.service.drain_blocking().unwrap();
    assert_eq!(bench.store.sizes(), [3, 1]);
}

#[test]
fn a_queue_above_80_percent_is_pressure_and_each_refusal_is_not_a_line() {
    let bench = Bench::with(|options| {
        (options.batch_updates_max, options.queue_updates_max) = (100, 100);
    });
    // While this commit runs, the queue only fills.
    bench.store.hold();
    let mut submit = pin!(bench.service.submit(request(&["a"], Ack::Durable)));
    assert!(poll_once(submit.as_mut()).is_pending());
    bench.store.wait(|state| state.appends == 1);
    let queue = || bench.service.queue(update("b"));
    let calm = logged(tracing::Level::WARN, || (0..80).for_each(|_| queue().unwrap()));
    assert_eq!(calm, [] as [String; 0]);
    let lines = logged(tracing::Level::WARN, || {
        (0..20).for_each(|_| queue().unwrap());
        (0..1000).for_each(|_| drop(queue().unwrap_err()));
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("WARN Connection pool pressure"), "{lines:#?}");
    let fields = "pool=\"queue_updates\" in_use=81 max=100 percent=81";
    assert!(lines[0].contains(fields), "{lines:#?}");
}

#[test]
fn the_interval_passes_on_the_clock_of_the_machine() {
    let bench = Bench::with(|options| {
        (options.clock, options.flush_interval) = (Clock::System, Duration::from_millis(1));
    });
    bench.service.queue(update("a")).unwrap();
    bench.store.wait(|state| state.batches.len() == 1);
}

#[test]
fn a_draining_service_refuses_writes_and_answers_questions() {
    let bench = Bench::new();
    bench.service.queue(update("a")).unwrap();
    bench.store.hold();
    let mut drain = pin!(bench.service.drain());
    assert!(poll_once(drain.as_mut()).is_pending());
    assert_eq!(bench.service.health(), HealthState::Draining);
    let refused = bench.service.submit_blocking(request(&["b"], Ack::Durable)).unwrap_err();
    assert!(matches!(refused, SubmitError::Draining));
    assert!(matches!(bench.service.queue(update("b")), Err(SubmitError::Draining)));
    assert!(matches!(bench.service.flush_blocking(), Err(SubmitError::Draining)));
    assert_eq!(bench.service.counts().1, 0);
    bench.store.release();
    let drained = bench.service.drain_blocking().unwrap();
    assert_eq!(drained, Drained { updates: 1, durable_seq: 1 });
    assert_eq!(bench.service.drain_blocking().unwrap(), drained);
    assert_eq!(bench.service.health(), HealthState::Draining);
    assert!(bench.store.state().is_closed);
}

#[test]
fn graceful_stop_stores_every_accepted_update() {
    for accepted_before_drain in [0, 1, 49, 50, 51, 700] {
        let store = Fake::default();
        let bench = Bench::over(store.clone(), |options| {
            options.clock = Clock::System;
            options.flush_interval = Duration::from_millis(1);
            (options.batch_updates_max, options.queue_updates_max) = (40, 200);
        });
        let barrier = Barrier::new(9);
        let accepted = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (service, barrier, accepted) = (&bench.service, &barrier, &accepted);
                scope.spawn(move || {
                    barrier.wait();
                    for index in 0.. {
                        let ack = if index % 7 == 0 { Ack::Durable } else { Ack::Queued };
                        let job_id = format!("{thread}-{index}");
                        match service.submit_blocking(request(&[&job_id], ack)) {
                            Ok(_) => assert!(accepted.lock().unwrap().insert(job_id)),
                            Err(SubmitError::QueueFull { .. }) => std::thread::yield_now(),
                            Err(SubmitError::Draining) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            barrier.wait();
            while accepted.lock().unwrap().len() < accepted_before_drain {
                std::thread::yield_now();
            }
            bench.service.drain_blocking().unwrap();
        });
        let accepted = accepted.into_inner().unwrap();
        let batches = store.state().batches.clone();
        let stored: Vec<_> = batches.into_iter().flatten().collect();
        assert_eq!(stored.len(), accepted.len());
        assert_eq!(stored.into_iter().collect::<HashSet<_>>(), accepted);
        assert_eq!(bench.service.stats().accepted, accepted.len() as u64);
    }
}

#[test]
fn a_service_dropped_without_a_drain_stores_what_it_accepted() {
    let store = Fake::default();
    let sides = store.sides();
    let clock = Clock::Manual(ManualClock::default());
    let options = ServiceOptions { clock, ..ServiceOptions::default() };
    let service = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap();
    service.queue(update("a")).unwrap();
    let clone = service.clone();
    drop(service);
    clone.queue(update("b")).unwrap();
    assert!(!store.state().is_closed);
    let lines = logged(tracing::Level::WARN, || drop(clone));
    assert!(lines[0].contains("WARN The service was dropped without a drain"), "{lines:#?}");
    assert!(lines[0].contains("updates=2"), "{lines:#?}");
    assert_eq!(store.sizes(), [2]);
    assert!(store.state().is_closed);
}

#[test]
fn a_caller_that_goes_away_after_the_first_poll_is_stored_all_the_same() {
    let bench = Bench::new();
    bench.store.hold();
    {
        let mut submit = pin!(bench.service.submit(request(&["a"], Ack::Durable)));
        assert!(poll_once(submit.as_mut()).is_pending());
    }
    bench.store.release();
    assert_eq!(bench.service.drain_blocking().unwrap().durable_seq, 1);
}

#[test]
fn nothing_is_acknowledged_after_a_storage_error() {
    for end in [End::FailAt(1), End::PanicAt(1)] {
        let bench = Bench::new();
        assert_eq!(bench.service.health(), HealthState::Ready);
        bench.store.end(end);
        let failed = bench.service.submit_blocking(request(&["a"], Ack::Durable)).unwrap_err();
        assert_eq!((failed.outcome(), failed.is_retryable()), (Outcome::Unknown, true));
        assert_eq!(bench.service.health(), HealthState::Failed);
        for ack in [Ack::Durable, Ack::Queued] {
            let refused = bench.service.submit_blocking(request(&["b"], ack)).unwrap_err();
            assert!(matches!(refused, SubmitError::StoreFailed { .. }));
            assert_eq!(refused.outcome(), Outcome::NotApplied);
        }
        assert!(bench.service.flush_blocking().is_err());
        assert!(bench.service.drain_blocking().is_err());
        assert_eq!(bench.service.health(), HealthState::Failed);
        assert_eq!(bench.service.stats().accepted, 0);
    }
}

#[test]
fn what_only_the_writer_can_answer_needs_a_durable_ack() {
    let bench = Bench::new();
    let fields = UpdateFields { job_id: "a", if_status: Some("queued"), ..UpdateFields::default() };
    let conditional = Update::new(fields).unwrap();
    let refused = bench.service.queue(conditional.clone()).unwrap_err();
    assert!(matches!(refused, SubmitError::AckMustBeDurable));
    let atomic = Request { atomic: true, ..request(&["a"], Ack::Queued) };
    let refused = bench.service.submit_blocking(atomic).unwrap_err();
    assert!(matches!(refused, SubmitError::AckMustBeDurable));
    let atomic = Request { atomic: true, ..Request::new(vec![conditional]) };
    assert_eq!(bench.service.submit_blocking(atomic).unwrap().answer.applied, 1);
}

#[test]
fn strict_statuses_reject_unknown_words_at_the_door() {
    let bench = Bench::with(|options| options.store.kinds = Kinds::new([], true));
    let unknown = || Update::status("b", "ocr-pass").unwrap();
    let call = Request { ack: Ack::Queued, ..Request::new(vec![update("a"), unknown()]) };
    let answer = bench.service.submit_blocking(call).unwrap().answer;
    assert_eq!((answer.accepted, answer.rejected), (1, 1));
    assert_eq!(answer.errors[0].code, RejectionCode::UnknownStatus);
    assert_eq!((answer.errors[0].index, answer.errors[0].job_id.as_deref()), (1, Some("b")));
    let answer = bench.service.submit_blocking(Request::new(vec![unknown()])).unwrap().answer;
    assert_eq!((answer.accepted, answer.rejected, answer.durable), (0, 1, false));
    let refused = bench.service.queue(unknown()).unwrap_err();
    assert!(matches!(&refused, SubmitError::Rejected(_)), "{refused}");
    assert_eq!(bench.service.stats().rejected, 3);
    assert_eq!(bench.service.stats().queued_now, 1, "nothing else was admitted");
}

#[test]
fn one_rejection_before_admission_rejects_an_atomic_request_whole() {
    let bench = Bench::new();
    let mut call = Request { atomic: true, ..Request::new(vec![update("a"), update("c")]) };
    call.updates[1].0 = 2;
    let detail = "status is \"a b\"".to_owned();
    call.rejections = vec![Rejection::new(1, Some("b"), RejectionCode::InvalidStatus, detail)];
    let answer = bench.service.submit_blocking(call).unwrap().answer;
    assert_eq!((answer.accepted, answer.rejected), (0, 3));
    let codes: Vec<_> = answer.errors.iter().map(|error| (error.index, error.code)).collect();
    use RejectionCode::{AtomicNeighbour, InvalidStatus};
    assert_eq!(codes, [(0, AtomicNeighbour), (1, InvalidStatus), (2, AtomicNeighbour)]);
    assert_eq!(bench.store.state().appends, 0);
}

#[test]
fn rejections_that_no_answer_lists_do_not_weigh_in_the_queue() {
    let bench = Bench::with(|options| options.batch_bytes_max = 1 << 20);
    let mut call = request(&["a"], Ack::Queued);
    let rejection = |index| {
        let detail = "d".repeat(1000);
        Rejection::new(index, Some("id"), RejectionCode::InvalidUpdate, detail)
    };
    call.rejections = (1..10_000).map(rejection).collect();
    let answer = bench.service.submit_blocking(call).unwrap().answer;
    assert_eq!((answer.rejected, answer.errors.len()), (9_999, 100));
    assert!(
        answer.errors_truncated && answer.errors.iter().all(|error| error.detail.len() == 1000)
    );
    assert!(bench.service.stats().queued_bytes < 1 << 20);
}

#[test]
fn the_first_rejections_of_a_call_keep_their_details_whoever_found_them() {
    let bench = Bench::with(|options| options.store.kinds = Kinds::new([], true));
    let mut call = Request::new(vec![Update::status("a", "ocr-pass").unwrap()]);
    let rejection =
        |index| Rejection::new(index, Some("id"), RejectionCode::InvalidUpdate, "line".to_owned());
    call.rejections = (1..150).map(rejection).collect();
    let answer = bench.service.submit_blocking(call).unwrap().answer;
    assert_eq!((answer.rejected, answer.errors[0].index), (150, 0));
    assert!(answer.errors.iter().all(|error| !error.detail.is_empty()));
}

#[test]
fn contradicting_bounds_do_not_start() {
    let options = ServiceOptions { queue_updates_max: 9_999, ..ServiceOptions::default() };
    let sides = Fake::default().sides();
    let refused = Service::start(options, Arc::new(|_| ()), |_, _| Ok(sides)).unwrap_err();
    let text = "configuration: batch_updates_max is 10000, more than queue_updates_max, \
                which is 9999";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn the_store_can_wake_the_writer() {
    let store = Fake::default();
    let mut wake = None;
    let service = Service::start(ServiceOptions::default(), Arc::new(|_| ()), |_, hooks| {
        wake = Some(hooks.wake);
        Ok(store.sides())
    });
    store.wait(|state| state.maintains == 1);
    wake.unwrap()();
    store.wait(|state| state.maintains == 2);
    drop(service);
}
