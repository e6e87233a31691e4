//! The queue and its writer in every order in which their threads may run, as a scheduler tries
//! them: nobody waits for ever, each ticket is told once, nothing is admitted after the close,
//! order is kept, and no bound is passed. Also when the store fails or panics.
//!
//! A schedule that fails is printed; `shuttle::replay` plays it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use shuttle::thread;

use super::*;
use crate::batch::Limits;
use crate::batch::fake::{End, Fake};
use crate::batch::queue::Refused;
use crate::batch::sync::tried::{self, Kind};
use crate::batch::ticket::Failure;
use crate::model::{ManualClock, Update};

const LIMITS: Limits = Limits {
    batch_size: 2,
    flush_interval: Duration::from_secs(2),
    batch_updates_max: 2,
    queue_updates_max: 3,
    ..Limits::DEFAULT
};

/// Schedules of each scenario; `JOBSLATE_QUEUE_SCHEDULES` asks for more.
fn schedules() -> usize {
    crate::store::redb::tests::power::number_of("JOBSLATE_QUEUE_SCHEDULES", 2_000) as usize
}

/// One who waits, or not: what the ticket told, and how often.
struct Waiter<T>(Arc<(Told<T>, shuttle::sync::Condvar)>);

/// All that the ticket told.
type Told<T> = shuttle::sync::Mutex<Vec<Result<T, Failure>>>;

impl<T: Clone + Send + 'static> Waiter<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn ticket(&self) -> Ticket<T> {
        let shared = Arc::clone(&self.0);
        Ticket::new(move |verdict| {
            let (told, bell) = &*shared;
            told.lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
            bell.notify_one();
        })
    }

    fn wait(&self) -> Result<T, Failure> {
        let (told, bell) = &*self.0;
        let mut told = told.lock().unwrap();
        while told.is_empty() {
            told = bell.wait(told).unwrap();
        }
        told[0].clone()
    }

    fn told(&self) -> Vec<Result<T, Failure>> {
        let (told, _) = &*self.0;
        told.lock().unwrap().clone()
    }
}

/// What one caller did.
#[derive(Default)]
struct Done {
    /// The ids of its admitted updates, in order, and the tickets of those that have one.
    admitted: Vec<(String, Option<Waiter<Answer>>)>,
    /// Tickets of refused calls.
    refused: Vec<Waiter<Answer>>,
    /// Those of flushes whose callers went away.
    flushes: Vec<Waiter<u64>>,
}

/// A caller with a name, at the queue.
struct Caller {
    name: &'static str,
    queue: Arc<Queue>,
    store: Fake,
    done: Done,
}

impl Caller {
    fn push(&mut self, ack: Ack) -> Result<(), Refused> {
        let id = format!("{}-{}", self.name, self.done.admitted.len());
        let update = Update::status(&id, "processing").unwrap();
        let request = Request { ack, ..Request::new(vec![update]) };
        let waiter = (ack == Ack::Durable).then(Waiter::new);
        match self.queue.push(request, waiter.as_ref().map(Waiter::ticket)) {
            Ok(fill) => {
                assert!(fill.updates <= LIMITS.queue_updates_max, "{fill:?}");
                self.done.admitted.push((id, waiter));
                Ok(())
            }
            Err(refused) => {
                self.done.refused.extend(waiter);
                Err(refused)
            }
        }
    }

    /// Waits for the answer of the last call.
    fn wait(&self) {
        let (id, waiter) = self.done.admitted.last().unwrap();
        if waiter.as_ref().unwrap().wait().is_ok() {
            assert!(ids(&self.store).contains(id), "{id} was acknowledged and is not stored");
        }
    }

    /// All that was admitted before a flush is durable after it.
    fn flush(&self) {
        let waiter = Waiter::new();
        let is_admitted = self.queue.flush(waiter.ticket()).is_ok();
        if is_admitted && waiter.wait().is_ok() {
            let stored = ids(&self.store);
            let mut mine = self.done.admitted.iter();
            assert!(mine.all(|(id, _)| stored.contains(id)), "a flush came before {stored:?}");
        }
        assert_eq!(waiter.told().len(), usize::from(is_admitted));
    }

    /// Waits for the end; nothing is admitted from there on.
    fn drain(&mut self) {
        let waiter = Waiter::new();
        self.queue.drain(waiter.ticket());
        assert!(matches!(self.push(Ack::Durable), Err(Refused::Draining | Refused::Failed(_))));
        let drained = waiter.wait();
        assert_eq!(waiter.told().len(), 1);
        assert!(self.push(Ack::Queued).is_err());
        assert!(drained.is_err() || self.store.state().is_closed);
    }
}

/// The committed ids, in order.
fn ids(store: &Fake) -> Vec<String> {
    store.state().batches.concat()
}

/// Names, and what each does.
type Callers = &'static [(&'static str, fn(&mut Caller))];

/// A queue with its writer, and callers that do what they are told, each on a thread of its own.
/// With `comes_back`, a store that failed opens again at the second try.
fn play(end: Option<End>, comes_back: bool, callers: Callers) {
    let store = Fake::default();
    store.state().end = end;
    if comes_back {
        let refused = Err(StoreError::Failed("not yet".to_owned()));
        store.state().reopened.extend([(refused, false), (Ok(()), false)]);
    }
    let clock = ManualClock::default();
    let queue = Arc::new(Queue::new(LIMITS, Clock::Manual(clock.clone())));
    let writer = Writer {
        queue: Arc::clone(&queue),
        clock: Clock::Manual(clock.clone()),
        stats: BatchStats::default(),
        durable_seq: 0,
        durable: watch::channel(0).0,
        log_job_starts: false,
    };
    let (write, _) = store.sides();
    let writer = thread::spawn(move || writer.work(write));
    // So few threads that every order can be tried: this one is who stops.
    let is_small = callers.len() == 1;
    let callers = callers.iter().map(|(name, act)| {
        let (queue, store) = (Arc::clone(&queue), store.clone());
        let mut caller = Caller { name, queue, store, done: Done::default() };
        thread::spawn(move || {
            act(&mut caller);
            caller.done
        })
    });
    let callers: Vec<_> = callers.collect();
    if is_small {
        queue.drain(Ticket::new(|_| ()));
    } else {
        // The interval passes at some moment.
        clock.advance(LIMITS.flush_interval);
        queue.poke();
    }
    let done: Vec<Done> = callers.into_iter().map(|it| it.join().unwrap()).collect();
    if !is_small {
        queue.drain(Ticket::new(|_| ()));
    }
    writer.join().unwrap();
    judge(&done, &store);
}

fn judge(done: &[Done], store: &Fake) {
    let stored = ids(store);
    assert!(store.state().batches.iter().all(|it| it.len() <= LIMITS.batch_updates_max));
    let mut admitted = 0;
    for (id, waiter) in done.iter().flat_map(|it| &it.admitted) {
        admitted += 1;
        let is_stored = stored.contains(id);
        // Who was told that a store failed which came back later knows that it is not.
        let is_told = waiter.as_ref().is_some_and(|it| it.told().iter().all(Result::is_err));
        let is_owed = store.state().is_closed && !is_told;
        assert!(is_stored || !is_owed, "{id} was accepted and is not stored");
        let Some(waiter) = waiter else { continue };
        let told = waiter.told();
        assert_eq!(told.len(), 1, "{id}");
        assert!(is_stored || told[0].is_err(), "{id} was acknowledged and is not stored");
        let is_unknown = matches!(&told[0], Err(it) if it.outcome == Outcome::Unknown);
        assert!(!is_stored || told[0].is_ok() || is_unknown, "{id} is stored and said not to be");
    }
    assert!(stored.len() <= admitted, "something was stored twice, or never admitted");
    assert!(done.iter().flat_map(|it| &it.refused).all(|it| it.told().is_empty()));
    assert!(done.iter().flat_map(|it| &it.flushes).all(|it| it.told().len() == 1));
    for of_one in done {
        let places =
            of_one.admitted.iter().filter_map(|(id, _)| stored.iter().position(|it| it == id));
        assert!(places.is_sorted(), "the updates of one caller changed places: {stored:?}");
    }
}

fn waits_once(caller: &mut Caller) {
    if caller.push(Ack::Durable).is_ok() {
        caller.wait();
    }
}

fn leaves_once(caller: &mut Caller) {
    drop(caller.push(Ack::Durable));
}

/// Its caller does not wait: a thread more that waits, and the orders cannot all be played.
fn flushes_once(caller: &mut Caller) {
    let waiter = Waiter::new();
    match caller.queue.flush(waiter.ticket()) {
        Ok(()) => caller.done.flushes.push(waiter),
        Err(_) => assert!(waiter.told().is_empty()),
    }
}

/// As a call whose client hangs up: its future is polled, and dropped before or after the answer.
fn cancels_once(caller: &mut Caller) {
    let update = Update::status("cancelled", "processing").unwrap();
    let (ticket, mut verdict) = Ticket::pair();
    if caller.queue.push(Request::new(vec![update]), Some(ticket)).is_err() {
        return;
    }
    // It is owed to the store, whoever waits for it.
    caller.done.admitted.push(("cancelled".to_owned(), None));
    let polled = Pin::new(&mut verdict).poll(&mut Context::from_waker(Waker::noop()));
    let is_told = |verdict: Result<Result<Answer, Failure>, _>| match verdict {
        Ok(told) => assert!(told.is_err() || ids(&caller.store).contains(&"cancelled".to_owned())),
        Err(_) => panic!("an admitted call is told something"),
    };
    match polled {
        Poll::Ready(verdict) => is_told(verdict),
        Poll::Pending => {
            // Where the writer may go on.
            thread::yield_now();
            drop(verdict);
        }
    }
}

fn waits(caller: &mut Caller) {
    waits_once(caller);
    waits_once(caller);
}

fn queues_and_flushes(caller: &mut Caller) {
    for _ in 0..3 {
        drop(caller.push(Ack::Queued));
    }
    caller.flush();
    drop(caller.push(Ack::Queued));
}

fn goes_away(caller: &mut Caller) {
    drop(caller.push(Ack::Durable));
    drop(caller.push(Ack::Durable));
}

const EVERYBODY: Callers = &[
    ("waits", waits),
    ("queues", queues_and_flushes),
    ("leaves", goes_away),
    ("drains", Caller::drain),
];

/// Plays all orders that there are of one caller and the stop at any moment; how many.
fn every_order(callers: Callers) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    let play_one = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        play(None, false, callers);
    };
    tried::with(Kind::Tried, || shuttle::check_dfs(play_one, None));
    let orders = orders.load(Ordering::Relaxed);
    println!("{}: {orders} orders", callers[0].0);
    orders
}

#[test]
fn every_order_of_a_call_and_a_stop_keeps_the_promises() {
    assert!(every_order(&[("calls", leaves_once)]) > 1_000);
}

#[test]
fn every_order_of_a_flush_and_a_stop_keeps_the_promises() {
    assert!(every_order(&[("flushes", flushes_once)]) > 1_000);
}

#[test]
fn every_order_of_a_call_that_is_cancelled_and_a_stop_keeps_the_promises() {
    assert!(every_order(&[("cancels", cancels_once)]) > 1_000);
}

#[test]
fn many_orders_of_everybody_keep_the_promises() {
    let ends = [None, Some(End::FailAt(1)), Some(End::FailAt(2)), Some(End::PanicAt(2))];
    let all = ends.into_iter().chain([Some(End::FailMaintain), Some(End::FailClose)]);
    let back = [End::FailAt(1), End::FailAt(2), End::FailMaintain].map(Some);
    let all = all.map(|end| (end, false)).chain(back.map(|end| (end, true)));
    for (end, comes_back) in all {
        tried::with(Kind::Tried, || {
            shuttle::check_random(move || play(end, comes_back, EVERYBODY), schedules());
            shuttle::check_pct(move || play(end, comes_back, EVERYBODY), schedules(), 3);
        });
    }
}

/// The control of those that try every order: a bell that nobody hears.
#[test]
fn a_bell_that_nobody_hears_is_found_among_all_orders() {
    const EACH: [Callers; 3] =
        [&[("calls", leaves_once)], &[("flushes", flushes_once)], &[("cancels", cancels_once)]];
    for callers in EACH {
        let found = catch_unwind(AssertUnwindSafe(|| {
            tried::with(Kind::Mute, || {
                shuttle::check_dfs(move || play(None, false, callers), None);
            });
        }));
        let panic = found.expect_err("somebody waits for ever");
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("deadlock"), "{}: {text}", callers[0].0);
    }
}

/// The controls: a bell that is not heard, and one that is lost if it rings at a bad moment.
#[test]
fn a_broken_bell_is_found() {
    for kind in [Kind::Mute, Kind::Late] {
        let found = catch_unwind(AssertUnwindSafe(|| {
            tried::with(kind, || {
                shuttle::check_random(|| play(None, false, EVERYBODY), 2_000);
            });
        }));
        let panic = found.expect_err("somebody waits for ever");
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("deadlock"), "{kind:?}: {text}");
    }
}
