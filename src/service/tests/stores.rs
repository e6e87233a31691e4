//! The service over the real stores: in memory, and on disk over restarts.

use super::*;
use crate::model::{IdempotencyKey, JobId, PageQuery};

fn manual() -> ServiceOptions {
    ServiceOptions { clock: Clock::Manual(ManualClock::default()), ..ServiceOptions::default() }
}

fn on_disk(directory: &std::path::Path, mut options: ServiceOptions) -> Service {
    options.store.directory = directory.to_owned();
    Service::open(options, Arc::new(|_| ())).unwrap()
}

/// Runs `claim` over each store.
fn over_both(options: &ServiceOptions, claim: impl Fn(&Service)) {
    let directory = tempfile::tempdir().unwrap();
    let in_memory = Service::in_memory(options.clone()).unwrap();
    for service in [in_memory, on_disk(directory.path(), options.clone())] {
        claim(&service);
        service.drain_blocking().unwrap();
    }
}

#[test]
fn twelve_thousand_queued_updates_are_at_most_240_transactions() {
    const JOBS: usize = 3_957;
    const UPDATES: usize = 12_000;
    // Time stands still, so the number does not depend on the speed of the machine.
    over_both(&manual(), |service| {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for index in (thread..UPDATES).step_by(8) {
                        let status = ["queued", "processing", "completed"][index / JOBS % 3];
                        let job_id = format!("doc-{:04}", index % JOBS);
                        service.queue(Update::status(&job_id, status).unwrap()).unwrap();
                    }
                });
            }
        });
        service.flush_blocking().unwrap();
        let stats = service.stats();
        assert_eq!((stats.accepted, stats.queued_now, stats.rejected), (12_000, 0, 0));
        assert!(stats.batches <= 240, "{stats:?}");
        assert!(stats.queued_peak * 100 <= stats.queue_updates_max * 80, "no pressure");
        let (counts, as_of_seq) = service.counts();
        assert_eq!((counts.total(), as_of_seq), (JOBS as u64, 12_000));
    });
}

#[test]
fn one_key_from_eighty_threads_is_applied_once() {
    over_both(&ServiceOptions::default(), |service| {
        let barrier = Barrier::new(80);
        let receipts = std::thread::scope(|scope| {
            let submit = || {
                let idempotency = IdempotencyKey::new("k", [1; 32]);
                let call = Request { idempotency, ..request(&["a", "b"], Ack::Durable) };
                barrier.wait();
                service.submit_blocking(call).unwrap()
            };
            let threads: Vec<_> = (0..80).map(|_| scope.spawn(submit)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(receipts.iter().all(|receipt| receipt.answer == receipts[0].answer));
        assert_eq!(receipts.iter().filter(|receipt| receipt.replayed).count(), 79);
        assert_eq!(service.counts().1, 2);
        assert_eq!(service.stats().idempotent_replayed, 79);
    });
}

#[test]
fn of_two_claimants_exactly_one_wins() {
    over_both(&ServiceOptions::default(), |service| {
        service
            .submit_blocking(Request::new(vec![Update::status("a", "queued").unwrap()]))
            .unwrap();
        let claim = || {
            let (status, if_status) = (Some("processing"), Some("queued"));
            let fields = UpdateFields { job_id: "a", status, if_status, ..UpdateFields::default() };
            let call = Request::new(vec![Update::new(fields).unwrap()]);
            service.submit_blocking(call).unwrap().answer
        };
        let answers = std::thread::scope(|scope| {
            [scope.spawn(claim), scope.spawn(claim)].map(|thread| thread.join().unwrap())
        });
        assert_eq!(answers.iter().map(|answer| answer.applied).sum::<u64>(), 1, "{answers:?}");
        assert_eq!(service.stats().rejected_at_commit, 1);
    });
}

#[test]
fn updates_keys_and_answers_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let keyed = |ack| {
        let name = format!("{ack:?}");
        let idempotency = IdempotencyKey::new(&name, [1; 32]);
        Request { idempotency, ..request(&[&name], ack) }
    };
    let service = on_disk(directory.path(), manual());
    let receipts =
        [Ack::Durable, Ack::Queued].map(|ack| service.submit_blocking(keyed(ack)).unwrap());
    for index in 0..60 {
        service.queue(update(&format!("doc-{index}"))).unwrap();
    }
    assert_eq!(service.drain_blocking().unwrap().durable_seq, 62);
    drop(service);

    let service = on_disk(directory.path(), manual());
    assert_eq!(service.flush_blocking().unwrap(), 62);
    for (ack, first) in [Ack::Durable, Ack::Queued].into_iter().zip(receipts) {
        let repeat = service.submit_blocking(keyed(ack)).unwrap();
        assert_eq!(repeat, Receipt { replayed: true, ..first });
    }
    assert_eq!(service.counts().0.total(), 62);
    let query = PageQuery { limit: 100, scan_max: 100, ..PageQuery::default() };
    assert_eq!(service.page(&query).unwrap().jobs.len(), 62);
    assert!(service.get(&JobId::parse("doc-59").unwrap()).unwrap().is_some());
    assert_eq!(service.check().unwrap().problems, [] as [String; 0]);
    assert_eq!(service.stats().batches, 0);
}

#[test]
fn the_drop_of_the_last_handle_leaves_a_store_that_opens() {
    let directory = tempfile::tempdir().unwrap();
    let service = on_disk(directory.path(), manual());
    service.queue(update("a")).unwrap();
    drop(service);
    let service = on_disk(directory.path(), manual());
    assert_eq!(service.counts().1, 1);
}

#[test]
fn a_queued_update_without_at_happened_when_it_arrived() {
    let clock = ManualClock::at(crate::model::TimestampMs(1_764_000_000_000));
    let options = ServiceOptions { clock: Clock::Manual(clock.clone()), ..manual() };
    let service = Service::in_memory(options).unwrap();
    service.queue(update("a")).unwrap();
    clock.advance(Duration::from_millis(1500));
    service.flush_blocking().unwrap();
    let record = service.get(&JobId::parse("a").unwrap()).unwrap().unwrap();
    assert_eq!(record.status_at.0, 1_764_000_000_000);
    assert_eq!(record.updated_at.0, 1_764_000_001_500);
}
