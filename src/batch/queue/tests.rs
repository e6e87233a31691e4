//! The queue against a model that is a plain list.

use proptest::prelude::*;

use super::*;
use crate::batch::policy::Reason;
use crate::model::{Ack, ManualClock, Update, UpdateFields};

const LIMITS: Limits = Limits {
    batch_size: 10,
    flush_interval: Duration::from_secs(2),
    batch_updates_max: 20,
    batch_bytes_max: 20_000,
    queue_updates_max: 50,
    queue_bytes_max: 50_000,
};

#[derive(Clone, Debug)]
enum Step {
    Push { updates: usize, message_bytes: usize, ack: Ack },
    Flush,
    Advance { ms: u64 },
    Take,
    Drain,
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    let ack = prop_oneof![8 => Just(Ack::Queued), 1 => Just(Ack::Durable)];
    prop_oneof![
        20 => (1_usize..24, 0_usize..1024, ack)
            .prop_map(|(updates, message_bytes, ack)| Step::Push { updates, message_bytes, ack }),
        1 => Just(Step::Flush),
        5 => (0_u64..1500).prop_map(|ms| Step::Advance { ms }),
        8 => Just(Step::Take),
        1 => Just(Step::Drain),
        1 => Just(Step::Fail),
    ]
}

fn request(name: usize, updates: usize, message_bytes: usize, ack: Ack) -> Request {
    let message = "m".repeat(message_bytes);
    let update = |index| {
        let job_id = format!("{name}-{index}");
        let message = Some(message.as_str());
        Update::new(UpdateFields { job_id: &job_id, message, ..UpdateFields::default() }).unwrap()
    };
    Request { ack, ..Request::new((0..updates).map(update).collect()) }
}

/// What the model knows of a queued message.
#[derive(Clone, Debug)]
enum Known {
    Request { name: usize, updates: usize, bytes: usize, ack: Ack, at: Duration },
    Flush,
    Drain,
}

#[derive(Debug, Default)]
struct Model {
    queued: Vec<Known>,
    phase: Phase,
}

impl Model {
    fn sums(&self) -> (usize, usize) {
        self.queued.iter().fold((0, 0), |(all_updates, all_bytes), known| match known {
            Known::Request { updates, bytes, .. } => (all_updates + updates, all_bytes + bytes),
            Known::Flush | Known::Drain => (all_updates, all_bytes),
        })
    }

    fn reason(&self, now: Duration) -> Option<Reason> {
        let has = |matches: fn(&Known) -> bool| self.queued.iter().any(matches);
        let oldest_at = self.queued.iter().find_map(|known| match known {
            Known::Request { at, .. } => Some(*at),
            Known::Flush | Known::Drain => None,
        });
        if has(|known| matches!(known, Known::Drain)) {
            Some(Reason::Drain)
        } else if has(|known| matches!(known, Known::Flush)) {
            Some(Reason::Flush)
        } else if has(|known| matches!(known, Known::Request { ack: Ack::Durable, .. })) {
            Some(Reason::Waiter)
        } else if self.sums().0 >= LIMITS.batch_size {
            Some(Reason::Size)
        } else if oldest_at.is_some_and(|at| at + LIMITS.flush_interval <= now) {
            Some(Reason::Interval)
        } else {
            None
        }
    }

    /// The longest front of the list that fits a batch.
    fn take(&mut self) -> Vec<Known> {
        let (mut all_updates, mut all_bytes) = (0, 0);
        let end = self.queued.iter().position(|known| {
            if let Known::Request { updates, bytes, .. } = known {
                all_updates += updates;
                all_bytes += bytes;
            }
            all_updates > LIMITS.batch_updates_max || all_bytes > LIMITS.batch_bytes_max
        });
        self.queued.drain(..end.unwrap_or(self.queued.len())).collect()
    }
}

fn push(queue: &Queue, model: &mut Model, request: Request, name: usize, now: Duration) {
    let (updates, bytes, ack) = (request.updates.len(), weight_bytes(&request), request.ack);
    let (all_updates, all_bytes) = model.sums();
    let (ticket, mut told) = Ticket::pair();
    let pushed = queue.push(request, Some(ticket));
    let is_full = all_updates + updates > LIMITS.queue_updates_max
        || all_bytes + bytes > LIMITS.queue_bytes_max;
    match pushed {
        Ok(fill) => {
            assert!(matches!(model.phase, Phase::Open) && !is_full);
            assert_eq!((fill.updates, fill.bytes), (all_updates + updates, all_bytes + bytes));
            assert!(updates <= LIMITS.batch_updates_max && bytes <= LIMITS.batch_bytes_max);
            assert!(told.try_recv().is_err());
            model.queued.push(Known::Request { name, updates, bytes, ack, at: now });
            return;
        }
        Err(Refused::Full { updates, bytes }) => {
            assert!(is_full);
            assert_eq!((updates, bytes), (all_updates, all_bytes));
        }
        Err(Refused::TooLarge { .. }) => {
            assert!(updates > LIMITS.batch_updates_max || bytes > LIMITS.batch_bytes_max);
        }
        Err(Refused::Draining) => assert!(matches!(model.phase, Phase::Draining)),
        Err(Refused::Failed(_)) => assert!(matches!(model.phase, Phase::Failed(_))),
    }
    let is_void = matches!(told.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
    assert!(is_void, "the refusal is the answer");
}

fn take(queue: &Queue, model: &mut Model, now: Duration) {
    let reason = model.reason(now);
    // A deadline in the past: the queue does not wait.
    match queue.next(Some(Duration::ZERO)) {
        Next::Tick => assert_eq!(reason, None),
        Next::Batch(batch) => {
            assert_eq!(Some(batch.reason), reason);
            let known = model.take();
            let mut requests = batch.requests.iter();
            let (mut flushes, mut drains) = (0, 0);
            for known in &known {
                match known {
                    Known::Request { name, updates, .. } => {
                        let request = requests.next().unwrap();
                        assert_eq!(request.updates.len(), *updates, "a request is never split");
                        assert_eq!(request.updates[0].1.job_id.as_str(), format!("{name}-0"));
                    }
                    Known::Flush => flushes += 1,
                    Known::Drain => drains += 1,
                }
            }
            assert!(requests.next().is_none());
            assert_eq!(batch.tickets.answers.len(), batch.requests.len());
            assert_eq!(
                (batch.tickets.flushes.len(), batch.tickets.drains.len()),
                (flushes, drains)
            );
            assert!(batch.updates <= LIMITS.batch_updates_max);
            assert!(batch.bytes <= LIMITS.batch_bytes_max);
            assert!(!known.is_empty(), "a closed batch takes something");
        }
    }
}

proptest! {
    #[test]
    fn queue_and_policy_do_what_a_plain_list_does(steps in prop::collection::vec(step(), 1..200)) {
        let clock = ManualClock::default();
        let queue = Queue::new(LIMITS, Clock::Manual(clock.clone()));
        let mut model = Model::default();
        let mut peak = 0;
        for (name, step) in steps.into_iter().enumerate() {
            let now = Clock::Manual(clock.clone()).monotonic();
            match step {
                Step::Push { updates, message_bytes, ack } => {
                    let request = request(name, updates, message_bytes, ack);
                    push(&queue, &mut model, request, name, now);
                }
                Step::Flush => {
                    let flushed = queue.flush(Ticket::new(|_| ()));
                    prop_assert_eq!(flushed.is_ok(), matches!(model.phase, Phase::Open));
                    if flushed.is_ok() {
                        model.queued.push(Known::Flush);
                    }
                }
                Step::Advance { ms } => clock.advance(Duration::from_millis(ms)),
                Step::Take => take(&queue, &mut model, now),
                Step::Drain => {
                    let was_open = matches!(model.phase, Phase::Open);
                    prop_assert_eq!(queue.drain(Ticket::new(|_| ())), was_open);
                    if !matches!(model.phase, Phase::Failed(_)) {
                        model.phase = Phase::Draining;
                        model.queued.push(Known::Drain);
                    }
                }
                Step::Fail => {
                    let source = StoreError::Failed("told to".to_owned());
                    let phase = Phase::Failed(Fatal { source, must_end: true });
                    let (rest, fill) = queue.end(phase.clone());
                    prop_assert_eq!((fill.updates, fill.bytes), model.sums());
                    let requests = |known: &&Known| matches!(known, Known::Request { .. });
                    let requests = model.queued.iter().filter(requests).count();
                    prop_assert_eq!(rest.answers.len(), requests);
                    model.queued.clear();
                    model.phase = phase;
                }
            }
            let fill = queue.fill();
            prop_assert_eq!((fill.updates, fill.bytes), model.sums());
            peak = peak.max(fill.updates);
            prop_assert_eq!(fill.updates_peak, peak);
        }
    }
}

#[test]
fn rejections_in_an_answer_weigh_in_the_queue() {
    use crate::model::RejectionCode;
    let mut call = request(0, 1, 0, Ack::Queued);
    let before = weight_bytes(&call);
    let code = RejectionCode::InvalidStatus;
    call.rejections.push(Rejection::new(1, Some("job"), code, "12345".to_owned()));
    assert_eq!(weight_bytes(&call), before + size_of::<Rejection>() + 8);
}

#[test]
fn a_poke_before_the_wait_is_not_lost() {
    let queue = Queue::new(LIMITS, Clock::Manual(ManualClock::default()));
    queue.poke();
    assert!(matches!(queue.next(None), Next::Tick));
}
