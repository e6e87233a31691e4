//! What the writer does after a failure of the store: it tells who waits, and has the store opened
//! again. Nothing that was accepted is dropped before that has failed for good.
//!
//! ```text
//! failure -> who waits is told; the queue refuses -> reopen --ok--> what nobody waits for goes on
//!                                                    |  ^
//!                                                    |  10 s: three times, or for ever if the
//!                                                    v  disk is full, also one that lets itself
//!                                                       be opened and has no room for the batch
//!                                                  failed for good
//! ```

use std::time::Duration;

use super::{Loop, guarded};
use crate::batch::Drained;
use crate::batch::queue::Fatal;
use crate::batch::ticket::{Failure, Outcome, Ticket, Tickets};
use crate::model::{Ack, Answer, Request};
use crate::store::{ReopenError, Reopened, StoreError, WriteStore};
use crate::telemetry::{STORE_REOPENED, STORE_TROUBLE};

/// How often a store is opened again before the writer gives up (DESIGN, section 4).
const TRIES_MAX: u32 = 3;
/// Between two of these tries.
const TRY_INTERVAL: Duration = Duration::from_secs(10);

/// A store that has worked for so long since it was opened again has failed anew, not still.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// How often the store was opened again in one trouble.
#[derive(Debug, Default)]
pub(super) struct Tries {
    count: u32,
    last_at: Option<Duration>,
    /// The one after the stop was asked for has been made.
    is_last_made: bool,
}

impl Tries {
    /// When the next may be made, for a failure at `now`.
    fn next_at(&mut self, now: Duration) -> Duration {
        let last_at = self.last_at.filter(|at| now < at.saturating_add(STEADY_AFTER));
        if last_at.is_none() {
            self.count = 0;
        }
        last_at.map_or(now, |at| at.saturating_add(TRY_INTERVAL))
    }
}

/// A request, and who is to be told.
type Owed = (Request, Option<Ticket<Answer>>);

/// The batch that failed.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    requests: Vec<Owed>,
    flushes: Vec<Ticket<u64>>,
    drains: Vec<Ticket<Drained>>,
    /// True if nobody knows whether it was written.
    is_unknown: bool,
}

impl InFlight {
    pub fn new(requests: Vec<Request>, tickets: Tickets, outcome: Outcome) -> Self {
        let Tickets { answers, flushes, drains } = tickets;
        let requests = requests.into_iter().zip(answers).collect();
        Self { requests, flushes, drains, is_unknown: outcome == Outcome::Unknown }
    }

    /// Those alone who wait for the end.
    pub fn of_drains(drains: Vec<Ticket<Drained>>) -> Self {
        Self { drains, is_unknown: true, ..Self::default() }
    }

    pub fn updates(&self) -> usize {
        self.requests.iter().map(|(request, _)| request.operations()).sum()
    }

    /// Tells everybody.
    pub fn fail(self, source: &StoreError) {
        let failure = self.failure(source);
        let tickets = self.requests.into_iter().filter_map(|(_, ticket)| ticket);
        tickets.for_each(|ticket| ticket.fail(failure.clone()));
        self.flushes.into_iter().for_each(|ticket| ticket.fail(failure.clone()));
        self.drains.into_iter().for_each(|ticket| ticket.fail(failure.clone()));
    }

    /// Tells who waits for an answer; what stays was accepted, or is a drain.
    fn fail_waiters(&mut self, source: &StoreError) {
        let failure = self.failure(source);
        let is_waited_for = |(request, _): &mut Owed| request.ack == Ack::Durable;
        for (_, ticket) in self.requests.extract_if(.., is_waited_for) {
            ticket.into_iter().for_each(|ticket| ticket.fail(failure.clone()));
        }
        self.flushes.drain(..).for_each(|ticket| ticket.fail(failure.clone()));
    }

    fn failure(&self, source: &StoreError) -> Failure {
        let outcome = if self.is_unknown { Outcome::Unknown } else { Outcome::NotApplied };
        Failure { outcome, source: source.clone() }
    }
}

impl Loop {
    /// Returns when the store works again.
    ///
    /// # Errors
    /// [`Fatal`]: it does not, or this program has a bug.
    pub(super) fn recover(
        &mut self,
        store: &mut dyn WriteStore,
        source: StoreError,
    ) -> Result<(), Fatal> {
        if matches!(source, StoreError::Panicked(_)) {
            return Err(Fatal { source, must_end: true });
        }
        // Before anybody is told: who hears of the failure finds the queue closed.
        let behind = self.writer.queue.suspend(source.clone());
        tracing::error!(
            event = STORE_TROUBLE,
            error = %source,
            updates_unknown = if self.in_flight.is_unknown { self.in_flight.updates() } else { 0 },
            "The store failed; it is opened again, and takes no update meanwhile"
        );
        self.in_flight.fail_waiters(&source);
        behind.fail(Outcome::NotApplied, &source);
        self.try_to_reopen(store, source)
    }

    /// Opens the store again. One that opens and fails again soon is tried no oftener than one
    /// that does not open.
    fn try_to_reopen(
        &mut self,
        store: &mut dyn WriteStore,
        source: StoreError,
    ) -> Result<(), Fatal> {
        let (mut source, mut must_end) = (source, true);
        loop {
            let next_at = self.tries.next_at(self.writer.clock.monotonic());
            let is_enough = self.tries.count >= TRIES_MAX && !is_full(&source);
            if is_enough || self.tries.is_last_made {
                return Err(Fatal { source, must_end });
            }
            self.writer.queue.pause(next_at);
            // The last try begins after the stop was asked for.
            let is_last = !self.in_flight.drains.is_empty() || self.writer.queue.is_draining();
            self.tries.last_at = Some(self.writer.clock.monotonic());
            self.tries.is_last_made = is_last;
            let error = match reopen(store) {
                Ok(reopened) => {
                    // Until a batch is written, what it failed of may be there still.
                    self.tries.count += u32::from(!is_full(&source));
                    self.resume(reopened);
                    return Ok(());
                }
                Err(error) => error,
            };
            (source, must_end) = (error.source, error.may_restart_help);
            self.tries.count += u32::from(!is_full(&source));
            if is_last || matches!(source, StoreError::Panicked(_)) {
                return Err(Fatal { source, must_end });
            }
            tracing::error!(event = STORE_TROUBLE, error = %source, "It does not open yet");
            self.writer.queue.refuse(Some(source.clone()));
        }
    }

    fn resume(&mut self, reopened: Reopened) {
        let InFlight { requests, drains, is_unknown, .. } = std::mem::take(&mut self.in_flight);
        self.seen(reopened.durable_seq);
        let is_stored = is_unknown && reopened.has_batch;
        if is_stored {
            self.writer.stats.lock().batches += 1;
        }
        tracing::info!(
            event = STORE_REOPENED,
            seq = reopened.durable_seq,
            has_unknown = is_stored,
            "The store is open again"
        );
        let (stored, rest) = if is_stored { (requests, vec![]) } else { (vec![], requests) };
        // Whoever asks again has heard the answer of the queue, which stands.
        let tickets = stored.into_iter().filter_map(|(_, ticket)| ticket);
        tickets.for_each(|ticket| ticket.complete(Answer::default()));
        self.is_full = false;
        self.writer.queue.resume(rest, drains);
    }
}

/// What is waited for as long as it lasts.
fn is_full(source: &StoreError) -> bool {
    matches!(source, StoreError::Full(_))
}

fn reopen(store: &mut dyn WriteStore) -> Result<Reopened, ReopenError> {
    let reopened = guarded(|| Ok(store.reopen()));
    reopened.unwrap_or_else(|source| Err(ReopenError { source, may_restart_help: true }))
}

#[cfg(test)]
mod tests;
