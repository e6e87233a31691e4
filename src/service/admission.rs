//! The door: what is judged before a request is queued, and the ticket it gets.
//!
//! Nothing here waits. When [`Inner::admit`] returns, the request is in the queue whole, or
//! refused, or answered without it; a caller that goes away afterwards changes nothing.

use tokio::sync::oneshot;

use super::error::SubmitError;
use super::idempotency::{Claim, Reservation, Verdict};
use super::stats::Counters;
use super::{Inner, Receipt};
use crate::batch::{Fill, Phase, Ticket};
use crate::model::limits::ANSWER_ERRORS_MAX;
use crate::model::{Ack, Answer, IdempotencyKey, Kinds, Rejection, RejectionCode, Request};
use crate::store::StoreError;
use crate::telemetry::pressure::Pool;

/// How a call goes on after the door.
pub(super) enum Admission {
    Answered(Receipt),
    Waiting(Waiting),
}

/// Waits for the writer, or for a twin.
pub(super) struct Waiting {
    verdict: oneshot::Receiver<Verdict>,
    is_twin: bool,
}

impl Inner {
    pub(super) fn admit(&self, mut request: Request) -> Result<Admission, SubmitError> {
        if request.command.is_some() && !request.updates.is_empty() {
            return Err(SubmitError::Mixed);
        }
        if request.ack == Ack::Queued && needs_writer(&request) {
            return Err(SubmitError::AckMustBeDurable);
        }
        let reservation = match &request.idempotency {
            None => None,
            Some(key) => match self.count_and_reserve(key)? {
                Claim::First(reservation) => Some(reservation),
                Claim::Twin(verdict) => {
                    return Ok(Admission::Waiting(Waiting { verdict, is_twin: true }));
                }
                Claim::Replay(answer) => return Ok(Admission::Answered(self.replay(answer))),
            },
        };
        // Queued updates without `at` happened now, not when their batch is decided.
        request.received_at.get_or_insert_with(|| self.options.clock.wall());
        judge(&mut request, &self.options.store.kinds);
        match reservation {
            None if request.operations() == 0 => {
                Ok(Admission::Answered(self.answer_at_the_door(&request)))
            }
            // With a key, even an answer that accepts nothing is kept: the writer makes it durable.
            reservation => self.enqueue(request, reservation),
        }
    }

    fn count_and_reserve(&self, key: &IdempotencyKey) -> Result<Claim, SubmitError> {
        Counters::add(&self.counters.keyed, 1);
        self.reserve(key)
    }

    /// Claims the key, then asks the store: a first call may have been made before a restart.
    fn reserve(&self, key: &IdempotencyKey) -> Result<Claim, SubmitError> {
        let is_sure =
            || self.queue.trouble().is_none() && matches!(self.queue.phase(), Phase::Open);
        let claim = self.reservations.claim(key, is_sure).map_err(|error| self.refused(error))?;
        let reservation = match claim {
            Claim::First(reservation) => reservation,
            claim @ (Claim::Twin(_) | Claim::Replay(_)) => return Ok(claim),
        };
        let verdict = match self.read.kept_answer(&key.key, self.options.clock.wall()) {
            Ok(None) => return Ok(Claim::First(reservation)),
            Ok(Some(kept)) if kept.fingerprint == key.fingerprint => Ok(kept.answer),
            Ok(Some(_)) => Err(SubmitError::KeyReused),
            Err(source) => Err(SubmitError::not_applied(source)),
        };
        // Twins sent the same call, so they hear the same.
        reservation.settle(&verdict);
        verdict.map(Claim::Replay).map_err(|error| self.refused(error))
    }

    fn answer_at_the_door(&self, request: &Request) -> Receipt {
        let answer = request.queued_answer();
        Counters::add(&self.counters.rejected_before, answer.rejected);
        Receipt { answer, replayed: false }
    }

    fn enqueue(
        &self,
        request: Request,
        reservation: Option<Reservation>,
    ) -> Result<Admission, SubmitError> {
        let rejected_before = request.rejections.len() as u64;
        let settle = reservation.as_ref().map(Reservation::settler);
        let (ticket, admission) = match request.ack {
            Ack::Durable => {
                let (tx, verdict) = oneshot::channel();
                let ticket = Ticket::new(move |told: Result<Answer, _>| {
                    let verdict = told.map_err(SubmitError::failed);
                    if let Some(settle) = settle {
                        settle(&verdict);
                    }
                    drop(tx.send(verdict));
                });
                (Some(ticket), Admission::Waiting(Waiting { verdict, is_twin: false }))
            }
            Ack::Queued => {
                let answer = request.queued_answer();
                let first = answer.clone();
                let ticket = settle.map(|settle| {
                    Ticket::new(move |told: Result<Answer, _>| {
                        // A twin hears what the first heard.
                        settle(&told.map(|_| first).map_err(SubmitError::failed));
                    })
                });
                (ticket, Admission::Answered(Receipt { answer, replayed: false }))
            }
        };
        match self.queue.push(request, ticket) {
            Ok(fill) => self.watch(fill),
            Err(refused) => {
                let error = SubmitError::refused(refused, self.queue.limits());
                if let Some(reservation) = reservation {
                    reservation.settle(&Err(error.clone()));
                }
                return Err(self.refused(error));
            }
        }
        Counters::add(&self.counters.rejected_before, rejected_before);
        match (&admission, reservation) {
            (Admission::Answered(receipt), Some(first)) => {
                first.hand_over_answered(&receipt.answer)
            }
            (Admission::Waiting(_), Some(first)) => first.hand_over(),
            (_, None) => (),
        }
        Ok(admission)
    }

    pub(super) fn replay(&self, answer: Answer) -> Receipt {
        Counters::add(&self.counters.replayed, 1);
        Receipt { answer, replayed: true }
    }

    /// Counts a refusal, and watches the queue if that was the reason.
    fn refused(&self, error: SubmitError) -> SubmitError {
        match &error {
            SubmitError::KeyReused => Counters::add(&self.counters.reused, 1),
            SubmitError::QueueFull { updates, bytes, .. } => {
                Counters::add(&self.counters.queue_full, 1);
                self.watch(Fill { updates: *updates, bytes: *bytes, updates_peak: 0 });
            }
            _ => (),
        }
        error
    }

    fn watch(&self, fill: Fill) {
        let now = self.options.clock.monotonic();
        let limits = self.queue.limits();
        for (pool, in_use, max) in [
            (Pool::QueueUpdates, fill.updates, limits.queue_updates_max),
            (Pool::QueueBytes, fill.bytes, limits.queue_bytes_max),
        ] {
            self.pressure.observe(pool, in_use, max, now);
        }
    }
}

impl Waiting {
    pub async fn finish(self, inner: &Inner) -> Result<Receipt, SubmitError> {
        let verdict = self.verdict.await;
        receipt(inner, self.is_twin, verdict)
    }

    pub fn finish_blocking(self, inner: &Inner) -> Result<Receipt, SubmitError> {
        let verdict = self.verdict.blocking_recv();
        receipt(inner, self.is_twin, verdict)
    }
}

fn receipt(
    inner: &Inner,
    is_twin: bool,
    verdict: Result<Verdict, oneshot::error::RecvError>,
) -> Result<Receipt, SubmitError> {
    // A ticket always tells, even when it is dropped.
    let lost = |_| Err(SubmitError::unknown(StoreError::Failed("the answer was lost".to_owned())));
    let answer = verdict.unwrap_or_else(lost)?;
    Ok(if is_twin { inner.replay(answer) } else { Receipt { answer, replayed: false } })
}

/// True if only the writer can answer.
fn needs_writer(request: &Request) -> bool {
    request.atomic
        || request.command.is_some()
        || request.updates.iter().any(|(_, update)| update.if_status.is_some())
}

/// Moves what cannot be admitted from the updates to the rejections.
fn judge(request: &mut Request, kinds: &Kinds) {
    let is_unknown = |status| !kinds.is_allowed(status);
    let rejected =
        request.updates.extract_if(.., |(_, update)| update.status.is_some_and(is_unknown));
    for (index, update) in rejected {
        let status = update.status.map(|status| status.to_string()).unwrap_or_default();
        let detail = format!("status {status:?} is not a known word, and strict_statuses is on");
        let job_id = Some(update.job_id.as_str());
        let code = RejectionCode::UnknownStatus;
        request.rejections.push(Rejection::new(index, job_id, code, detail));
    }
    if request.atomic && !request.rejections.is_empty() {
        for (index, update) in std::mem::take(&mut request.updates) {
            let detail = "another update of this atomic request was rejected".to_owned();
            let job_id = Some(update.job_id.as_str());
            let code = RejectionCode::AtomicNeighbour;
            request.rejections.push(Rejection::new(index, job_id, code, detail));
        }
    }
    request.rejections.sort_by_key(|rejection| rejection.index);
    // No answer lists more; the rest is a number, and must not weigh in the queue.
    for rejection in request.rejections.iter_mut().skip(ANSWER_ERRORS_MAX) {
        rejection.job_id = None;
        rejection.detail = Box::default();
    }
}
