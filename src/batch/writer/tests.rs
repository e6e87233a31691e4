//! The writer over a store that a test holds in its hand; time stands still unless it is moved.

use tokio::sync::{oneshot, watch};

use super::*;
use crate::batch::fake::{End, Fake};
use crate::batch::queue::Refused;
use crate::batch::ticket::Failure;
use crate::batch::{ClosedBy, Limits};
use crate::model::{ManualClock, Update};
use crate::telemetry::capture::logged;

pub(super) struct Bench {
    pub queue: Arc<Queue>,
    pub store: Fake,
    clock: ManualClock,
    pub stats: BatchStats,
    thread: Option<JoinHandle<()>>,
}

pub(super) type Told<T> = oneshot::Receiver<Result<T, Failure>>;

impl Bench {
    pub fn new(limits: Limits) -> Self {
        Self::over(Fake::default(), limits)
    }

    fn over(store: Fake, limits: Limits) -> Self {
        let manual = ManualClock::default();
        let clock = Clock::Manual(manual.clone());
        let queue = Arc::new(Queue::new(limits, clock.clone()));
        let stats = BatchStats::default();
        let writer = Writer {
            queue: Arc::clone(&queue),
            clock,
            stats: stats.clone(),
            durable_seq: store.state().seq,
            durable: watch::Sender::new(0),
            log_job_starts: false,
        };
        let thread = Some(writer.spawn(store.sides().0).unwrap());
        Self { queue, store, clock: manual, stats, thread }
    }

    /// Pushes a request of this many updates.
    pub fn push(&self, updates: usize, ack: Ack) -> Told<Answer> {
        let update = |index| Update::status(&format!("job-{index}"), "processing").unwrap();
        self.push_updates((0..updates).map(update).collect(), ack)
    }

    fn push_updates(&self, updates: Vec<Update>, ack: Ack) -> Told<Answer> {
        let (ticket, told) = Ticket::pair();
        self.queue.push(Request { ack, ..Request::new(updates) }, Some(ticket)).unwrap();
        told
    }

    pub fn flush(&self) -> Told<u64> {
        let (ticket, told) = Ticket::pair();
        self.queue.flush(ticket).unwrap();
        told
    }

    pub fn drain(&self) -> Result<Drained, Failure> {
        let (ticket, told) = Ticket::pair();
        self.queue.drain(ticket);
        told.blocking_recv().unwrap()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.queue.poke();
    }

    /// Returns when the writer has looked at the queue after everything before this call.
    pub fn settle(&self) {
        let maintains = self.store.state().maintains;
        self.queue.poke();
        self.store.wait(|state| state.maintains > maintains);
    }

    pub fn join(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    fn closed_by(&self) -> ClosedBy {
        self.stats.lock().closed_by
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.store.release();
        self.queue.drain(Ticket::new(|_| ()));
        self.thread.take().map(JoinHandle::join);
    }
}

pub(super) fn outcome<T: std::fmt::Debug>(told: Told<T>) -> Outcome {
    told.blocking_recv().unwrap().unwrap_err().outcome
}

#[test]
fn queued_updates_become_one_append_after_the_interval() {
    let bench = Bench::new(Limits::DEFAULT);
    let told: Vec<_> = (0..25).map(|_| bench.push(1, Ack::Queued)).collect();
    bench.advance(Duration::from_millis(1999));
    bench.settle();
    assert_eq!(bench.store.state().appends, 0);
    bench.advance(Duration::from_millis(1));
    for told in told {
        assert_eq!(told.blocking_recv().unwrap().unwrap().applied, 1);
    }
    assert_eq!(bench.store.sizes(), [25]);
    assert_eq!(bench.closed_by(), ClosedBy { interval: 1, ..ClosedBy::default() });
}

#[test]
fn the_fiftieth_queued_update_closes_the_batch() {
    let bench = Bench::new(Limits::DEFAULT);
    bench.push(30, Ack::Queued);
    bench.push(19, Ack::Queued);
    bench.settle();
    assert_eq!(bench.store.state().appends, 0);
    let told = bench.push(30, Ack::Queued);
    assert!(told.blocking_recv().unwrap().is_ok());
    assert_eq!(bench.store.sizes(), [79], "a trigger, not a cap");
    assert_eq!(bench.closed_by(), ClosedBy { size: 1, ..ClosedBy::default() });
}

#[test]
fn a_durable_caller_closes_the_batch_and_takes_the_queued_along() {
    let bench = Bench::new(Limits::DEFAULT);
    bench.push(3, Ack::Queued);
    let told = bench.push(1, Ack::Durable);
    assert_eq!(told.blocking_recv().unwrap().unwrap().seqs, Some((4, 4)));
    assert_eq!(bench.store.sizes(), [4]);
    assert_eq!(bench.closed_by(), ClosedBy { waiter: 1, ..ClosedBy::default() });
}

#[test]
fn a_thousand_callers_share_the_commit_after_the_one_that_runs() {
    let bench = Bench::new(Limits::DEFAULT);
    bench.store.hold();
    let first = bench.push(1, Ack::Durable);
    bench.store.wait(|state| state.appends == 1);
    let mut others: Vec<_> = (0..1000).map(|_| bench.push(1, Ack::Durable)).collect();
    assert!(others.iter_mut().all(|told| told.try_recv().is_err()), "released by the commit only");
    bench.store.allow(2);
    assert!(first.blocking_recv().unwrap().unwrap().durable);
    assert!(others.into_iter().all(|told| told.blocking_recv().unwrap().is_ok()));
    assert_eq!(bench.store.sizes(), [1, 1000]);
}

#[test]
fn a_flush_is_answered_when_all_before_it_is_durable() {
    let bench = Bench::new(Limits { batch_updates_max: 10, batch_size: 100, ..Limits::DEFAULT });
    assert_eq!(bench.flush().blocking_recv().unwrap().unwrap(), 0);
    for _ in 0..3 {
        bench.push(7, Ack::Queued);
    }
    bench.store.hold();
    let mut flushed = bench.flush();
    let behind = bench.push(2, Ack::Queued);
    bench.store.allow(2);
    bench.store.wait(|state| state.appends == 3);
    assert!(flushed.try_recv().is_err(), "the third request is not yet durable");
    bench.store.allow(1);
    assert_eq!(flushed.blocking_recv().unwrap().unwrap(), 23);
    assert!(behind.blocking_recv().unwrap().is_ok());
    assert_eq!(bench.store.sizes(), [7, 7, 9]);
    assert_eq!(bench.closed_by(), ClosedBy { flush: 3, ..ClosedBy::default() });
}

#[test]
fn a_drain_stores_everything_closes_the_store_and_ends_the_thread() {
    for requests in [0, 1, 9, 10, 11, 35] {
        let mut bench = Bench::new(Limits { batch_updates_max: 10, ..Limits::DEFAULT });
        bench.store.hold();
        for _ in 0..requests {
            bench.push(1, Ack::Queued);
        }
        let (ticket, first) = Ticket::pair();
        assert!(bench.queue.drain(ticket));
        let (ticket, second) = Ticket::pair();
        assert!(!bench.queue.drain(ticket));
        let refused = bench.queue.push(Request::new(vec![]), None);
        assert!(matches!(refused, Err(Refused::Draining)));
        bench.store.release();
        let drained = first.blocking_recv().unwrap().unwrap();
        assert_eq!(drained, Drained { updates: requests, durable_seq: requests });
        assert_eq!(second.blocking_recv().unwrap().unwrap(), drained);
        assert_eq!(bench.drain().unwrap(), drained, "a late call hears the same");
        bench.join();
        assert_eq!(bench.store.sizes().iter().sum::<usize>() as u64, requests);
        assert!(bench.store.state().is_closed);
    }
}

#[test]
fn a_drain_that_is_asked_for_while_the_store_closes_hears_the_same() {
    let bench = Bench::new(Limits::DEFAULT);
    bench.push(1, Ack::Queued);
    bench.store.hold();
    let (ticket, first) = Ticket::pair();
    bench.queue.drain(ticket);
    bench.store.allow(1);
    bench.store.wait(|state| state.is_closing);
    let (ticket, mut second) = Ticket::pair();
    bench.queue.drain(ticket);
    assert!(second.try_recv().is_err(), "not before the store is closed");
    bench.store.release();
    let drained = first.blocking_recv().unwrap().unwrap();
    assert_eq!(second.blocking_recv().unwrap().unwrap(), drained);
}

#[test]
fn a_failed_append_is_unknown_for_its_batch_and_not_applied_for_all_others() {
    for end in [End::FailAt(2), End::PanicAt(2)] {
        let mut bench = Bench::new(Limits::DEFAULT);
        assert!(bench.push(1, Ack::Durable).blocking_recv().unwrap().is_ok());
        bench.store.end(end);
        bench.store.hold();
        let queued_with_it = bench.push(1, Ack::Queued);
        let in_flight = bench.push(1, Ack::Durable);
        bench.store.wait(|state| state.appends == 2);
        let behind = bench.push(1, Ack::Durable);
        let queued_behind = bench.push(1, Ack::Queued);
        let flush_behind = bench.flush();
        bench.store.release();
        assert_eq!(outcome(in_flight), Outcome::Unknown);
        // Whoever heard of it finds the queue shut.
        let refused = bench.queue.push(Request::new(vec![]), None);
        assert!(matches!(refused, Err(Refused::Failed(_))));
        assert!(matches!(bench.queue.flush(Ticket::new(|_| ())), Err(Refused::Failed(_))));
        assert_eq!(outcome(queued_with_it), Outcome::Unknown);
        assert_eq!(outcome(behind), Outcome::NotApplied);
        assert_eq!(outcome(queued_behind), Outcome::NotApplied);
        assert_eq!(outcome(flush_behind), Outcome::NotApplied);
        assert!(bench.drain().is_err());
        bench.join();
        assert_eq!(bench.store.state().appends, 2, "nothing is tried again");
        assert!(!bench.store.state().is_closed);
        assert_eq!(bench.stats.lock().batches, 1);
    }
}

#[test]
fn a_drain_over_a_failing_store_is_an_error() {
    for end in [End::FailAt(1), End::FailMaintain, End::FailClose] {
        let mut bench = Bench::new(Limits::DEFAULT);
        bench.store.hold();
        bench.push(1, Ack::Queued);
        bench.store.end(end);
        let (ticket, drained) = Ticket::pair();
        bench.queue.drain(ticket);
        bench.store.release();
        assert!(drained.blocking_recv().unwrap().is_err(), "{end:?}");
        assert!(matches!(bench.queue.phase(), Phase::Failed(_)));
        assert!(bench.drain().is_err());
        bench.join();
    }
}

#[test]
fn failed_maintenance_latches_too() {
    let mut bench = Bench::new(Limits::DEFAULT);
    let told = bench.push(1, Ack::Queued);
    bench.settle();
    bench.store.end(End::FailMaintain);
    bench.queue.poke();
    assert_eq!(outcome(told), Outcome::NotApplied);
    bench.join();
}

#[test]
fn the_store_is_maintained_after_each_batch_when_poked_and_when_due() {
    let store = Fake::default();
    store.state().maintain_at = Some(Duration::from_secs(30));
    let bench = Bench::over(store, Limits::DEFAULT);
    bench.store.wait(|state| state.maintains == 1);
    assert!(bench.push(1, Ack::Durable).blocking_recv().unwrap().is_ok());
    bench.store.wait(|state| state.maintains == 2);
    bench.queue.poke();
    bench.store.wait(|state| state.maintains == 3);
    // The store always wants to be called at once; the queue gives no tick before the gap ends.
    bench.store.state().maintain_at = Some(Duration::ZERO);
    bench.advance(Duration::from_secs(30));
    bench.store.wait(|state| state.maintains >= 4);
    let (ticket, drained) = Ticket::pair();
    bench.queue.drain(ticket);
    assert!(drained.blocking_recv().unwrap().is_ok());
    assert!(bench.store.state().maintains <= 6, "{:?}", bench.store.state());
}

#[test]
fn statistics_count_what_the_store_decided_before_tickets_are_released() {
    let bench = Bench::new(Limits::DEFAULT);
    let updates = ["a", "reject-1", "b", "reject-2"];
    let updates: Vec<_> =
        updates.iter().map(|id| Update::status(id, "processing").unwrap()).collect();
    let answer = bench.push_updates(updates, Ack::Durable).blocking_recv().unwrap().unwrap();
    assert_eq!((answer.accepted, answer.rejected), (2, 2));
    let rejected = vec![Update::status("reject-3", "processing").unwrap()];
    assert!(bench.push_updates(rejected, Ack::Durable).blocking_recv().unwrap().is_ok());
    let totals = bench.stats.lock().clone();
    assert_eq!((totals.accepted, totals.applied), (2, 2));
    assert_eq!(totals.rejected_at_commit, 3);
    assert_eq!(totals.batches, 1, "the second batch changed nothing and made no transaction");
    assert_eq!(totals.closed_by, ClosedBy { waiter: 1, ..ClosedBy::default() });
    assert_eq!(totals.commits.count(), 1);
}

/// Lets a writer of its own work on this thread, and returns what it logs.
fn logged_by_writer(log_job_starts: bool, requests: Vec<Request>, end: Option<End>) -> Vec<String> {
    let clock = Clock::Manual(ManualClock::default());
    let queue = Arc::new(Queue::new(Limits::DEFAULT, clock.clone()));
    let store = Fake::default();
    store.state().end = end;
    for request in requests {
        queue.push(request, None).unwrap();
    }
    queue.drain(Ticket::new(|_| ()));
    let stats = BatchStats::default();
    let durable = watch::Sender::new(0);
    let writer = Writer { queue, clock, stats, durable_seq: 0, durable, log_job_starts };
    logged(tracing::Level::INFO, || writer.run(store.sides().0))
}

fn queued(job_ids: &[&str]) -> Request {
    let updates = job_ids.iter().map(|id| Update::status(id, "processing").unwrap());
    Request { ack: Ack::Queued, ..Request::new(updates.collect()) }
}

#[test]
fn a_started_job_is_logged_if_it_is_asked_for() {
    let lines = logged_by_writer(true, vec![queued(&["start-1", "b", "start-3"])], None);
    let starts: Vec<_> = lines.iter().filter(|line| line.contains("gestartet")).collect();
    assert!(starts[0].contains("INFO Pipeline-Job start-1 gestartet"), "{starts:?}");
    assert!(starts[1].contains("INFO Pipeline-Job start-3 gestartet"), "{starts:?}");
    assert_eq!(starts.len(), 2);
    let lines = logged_by_writer(false, vec![queued(&["start-1"])], None);
    assert!(!lines.iter().any(|line| line.contains("gestartet")), "{lines:?}");
}

#[test]
fn sums_and_rejections_are_logged_at_the_drain() {
    let requests = vec![queued(&["a", "reject-1"]), queued(&["b", "reject-2", "reject-3"])];
    let lines = logged_by_writer(false, requests, None);
    assert!(lines[0].contains("INFO Batch updated 2 job statuses"), "{lines:#?}");
    assert!(lines[0].contains("reason=\"drain\" seq=2"), "{lines:#?}");
    assert!(lines[1].contains("WARN Queued updates were rejected at commit"), "{lines:#?}");
    assert!(lines[1].contains("rejected=3 code=\"unknown_job\""), "{lines:#?}");
    assert!(lines[2].contains("INFO Drained"), "{lines:#?}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_storage_error_is_logged_with_what_it_cost() {
    let lines = logged_by_writer(false, vec![queued(&["a", "b"])], Some(End::FailAt(1)));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("ERROR The store failed; it is opened again"), "{lines:#?}");
    assert!(lines[0].contains("updates_unknown=2"), "{lines:#?}");
    assert!(lines[1].contains("ERROR The store failed; writes are refused"), "{lines:#?}");
    assert!(lines[1].contains("updates_unknown=2 updates_not_applied=0"), "{lines:#?}");
}
