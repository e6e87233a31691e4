//! The bounded queue between callers and the writer.
//!
//! It is bounded by updates and by bytes; a request is admitted whole or not at all, and a full
//! queue refuses at once. Flush and drain markers travel in the same order and do not count. All
//! decisions fall under one lock, so nothing is admitted after the close, and everything admitted
//! before it is in front of the drain marker.

mod state;

use std::sync::PoisonError;
use std::time::Duration;

use super::Drained;
use super::limits::Limits;
use super::policy::{self, Decision};
use super::sync::{Condvar, Mutex, MutexGuard};
use super::ticket::{Failure, Outcome, Ticket, Tickets};
use crate::model::{Answer, Clock, Rejection, Request};
use crate::store::StoreError;

pub(crate) use state::Batch;
use state::{Admitted, Message, State};

/// Requests and markers on their way to the writer.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    clock: Clock,
    /// A std mutex: callers hold it for a push, the writer for taking a batch; no I/O under it.
    state: Mutex<State>,
    /// Only the writer waits on it.
    changed: Condvar,
}

/// Why a request was not admitted.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// What the queue holds now.
    Full {
        updates: usize,
        bytes: usize,
    },
    /// What the request holds; above the bounds of a batch.
    TooLarge {
        updates: usize,
        bytes: usize,
    },
    Draining,
    Failed(StoreError),
}

/// How much is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub updates: usize,
    pub bytes: usize,
    /// The most updates there ever were.
    pub updates_peak: usize,
}

/// Whether the queue admits.
///
/// ```text
/// Open -> Draining -> Drained
///   \________\______> Failed
/// ```
///
/// An open queue may be in trouble, too: while the store is opened again, or has no room.
#[derive(Clone, Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Open,
    Draining,
    Drained(Drained),
    /// The writer has ended.
    Failed(Fatal),
}

/// Why the writer ended before a drain.
#[derive(Clone, Debug)]
pub(crate) struct Fatal {
    pub source: StoreError,
    /// False if this process still reads more of the store than its successor could.
    pub must_end: bool,
}

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Next {
    Batch(Batch),
    /// Nothing to write; a deadline passed, or somebody poked.
    Tick,
}

impl Queue {
    pub fn new(limits: Limits, clock: Clock) -> Self {
        Self { limits, clock, state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Admits `request`, or refuses it and voids its ticket. Waits for nothing.
    pub fn push(&self, request: Request, ticket: Option<Ticket<Answer>>) -> Result<Fill, Refused> {
        let bytes = weight_bytes(&request);
        let mut state = self.lock();
        if let Err(refused) = state.room_for(request.operations(), bytes, &self.limits) {
            drop(state);
            if let Some(ticket) = ticket {
                ticket.void();
            }
            return Err(refused);
        }
        let at = self.clock.monotonic();
        let was_empty = state.messages.is_empty();
        state.admit(Admitted { request, ticket, bytes, at });
        let fill = state.fill;
        // The first request sets a deadline; a later one matters if it closes the batch.
        let is_news = was_empty
            || matches!(policy::decide(&state.backlog(), &self.limits, at), Decision::Close(_));
        self.notify(state, is_news);
        Ok(fill)
    }

    /// Sends a marker that is answered with the last durable seq when everything before it is
    /// durable. Refused after the close, and when callers have left too many markers behind.
    pub fn flush(&self, ticket: Ticket<u64>) -> Result<(), Refused> {
        let mut state = self.lock();
        let Fill { updates, bytes, .. } = state.fill;
        let is_full = state.flushes >= self.limits.queue_updates_max;
        let full = is_full.then_some(Refused::Full { updates, bytes });
        if let Err(refused) = state.takes_flushes().and(full.map_or(Ok(()), Err)) {
            drop(state);
            ticket.void();
            return Err(refused);
        }
        state.flushes += 1;
        state.messages.push_back(Message::Flush(ticket));
        self.notify(state, true);
        Ok(())
    }

    /// Closes the queue and sends a marker that is answered when all is stored and the store is
    /// closed. Each later call gets the same answer. True if this call closed it.
    pub fn drain(&self, ticket: Ticket<Drained>) -> bool {
        let mut state = self.lock();
        let was_open = matches!(state.phase, Phase::Open);
        match state.phase.clone() {
            Phase::Drained(drained) => {
                drop(state);
                ticket.complete(drained);
            }
            Phase::Failed(Fatal { source, .. }) => {
                drop(state);
                ticket.fail(Failure { outcome: Outcome::Unknown, source });
            }
            Phase::Open | Phase::Draining => {
                if was_open {
                    state.phase = Phase::Draining;
                    state.drain_updates = state.fill.updates;
                }
                state.drains += 1;
                state.messages.push_back(Message::Drain(ticket));
                self.notify(state, true);
            }
        }
        was_open
    }

    /// Waits until the policy closes a batch, `wake_at` passes, or somebody pokes. With a manual
    /// clock, time never wakes it: the test pokes. The writer's call.
    pub fn next(&self, wake_at: Option<Duration>) -> Next {
        let mut state = self.lock();
        loop {
            state.turns += 1;
            let now = self.clock.monotonic();
            let due_at = match policy::decide(&state.backlog(), &self.limits, now) {
                Decision::Close(reason) => {
                    return Next::Batch(state.take(reason, &self.limits, now));
                }
                Decision::WaitUntil(due_at) => Some(due_at),
                Decision::Wait => None,
            };
            if std::mem::take(&mut state.is_poked) || wake_at.is_some_and(|at| at <= now) {
                return Next::Tick;
            }
            let until = due_at.into_iter().chain(wake_at).min();
            state = self.wait(state, until.map(|until| until.saturating_sub(now)));
        }
    }

    /// Admits nothing while there is `trouble`; what was admitted stays. The writer's call, as are
    /// the next ones.
    pub fn refuse(&self, trouble: Option<StoreError>) {
        self.lock().trouble = trouble;
    }

    /// As [`refuse`](Self::refuse), and gives back those who wait for an answer, to be told that
    /// nothing was applied. What nobody waits for stays, as it was accepted.
    pub fn suspend(&self, trouble: StoreError) -> Tickets {
        let mut state = self.lock();
        (state.trouble, state.is_suspended) = (Some(trouble), true);
        state.take_waiters()
    }

    /// Ends the trouble: puts requests of a batch that was not written back in front, and the
    /// drains behind.
    pub fn resume(
        &self,
        requests: Vec<(Request, Option<Ticket<Answer>>)>,
        drains: Vec<Ticket<Drained>>,
    ) {
        let at = self.clock.monotonic();
        let admitted = requests.into_iter().map(|(request, ticket)| {
            let bytes = weight_bytes(&request);
            Admitted { request, ticket, bytes, at }
        });
        let admitted = admitted.collect();
        let mut state = self.lock();
        (state.trouble, state.is_suspended) = (None, false);
        state.put_back(admitted);
        state.drains += drains.len();
        state.messages.extend(drains.into_iter().map(Message::Drain));
    }

    /// Waits until `until`, or until a drain is asked for. With a manual clock, time never wakes
    /// it: the test pokes.
    pub fn pause(&self, until: Duration) {
        let mut state = self.lock();
        loop {
            state.turns += 1;
            state.is_poked = false;
            let now = self.clock.monotonic();
            if now >= until || state.drains > 0 {
                return;
            }
            state = self.wait(state, Some(until - now));
        }
    }

    pub fn is_draining(&self) -> bool {
        matches!(self.lock().phase, Phase::Draining)
    }

    /// True while the writer takes no batch, because the store is opened again.
    pub fn is_suspended(&self) -> bool {
        self.lock().is_suspended
    }

    /// Why nothing is admitted for now.
    pub fn trouble(&self) -> Option<StoreError> {
        self.lock().trouble.clone()
    }

    /// How often the writer has looked here. It rises after each [`poke`](Self::poke), unless the
    /// writer is somewhere else for good.
    pub fn turns(&self) -> u64 {
        self.lock().turns
    }

    /// Makes the writer look again: the store has work for it, or a test moved the clock.
    pub fn poke(&self) {
        let mut state = self.lock();
        state.is_poked = true;
        self.notify(state, true);
    }

    /// Lets the writer see the clock, as time itself does: it does what is due, and nothing else.
    #[cfg(test)]
    pub fn wake(&self) {
        self.notify(self.lock(), true);
    }

    /// Ends the queue for good. Returns those who still wait in it; their requests are dropped.
    pub fn end(&self, phase: Phase) -> (Tickets, Fill) {
        let mut state = self.lock();
        state.phase = phase;
        let rest = std::mem::take(&mut state.messages);
        let fill = std::mem::take(&mut state.fill);
        state.fill.updates_peak = fill.updates_peak;
        (state.waiters, state.flushes, state.drains) = (0, 0, 0);
        drop(state);
        (rest.into_iter().collect(), fill)
    }

    pub fn fill(&self) -> Fill {
        self.lock().fill
    }

    pub fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    /// The updates that were queued when the drain began.
    pub fn drain_updates(&self) -> usize {
        self.lock().drain_updates
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, mut state: MutexGuard<'_, State>, is_news: bool) {
        let must_wake = is_news && std::mem::take(&mut state.is_writer_waiting);
        // Woken under the lock, the writer would run into it at once.
        drop(state);
        if must_wake {
            self.changed.notify_one();
        }
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.is_writer_waiting = true;
        let timeout = timeout.filter(|_| !self.clock.is_manual());
        let mut state = match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout(state, timeout);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.is_writer_waiting = false;
        state
    }
}

impl Phase {
    fn admits(&self) -> Result<(), Refused> {
        match self {
            Self::Open => Ok(()),
            Self::Draining | Self::Drained(_) => Err(Refused::Draining),
            Self::Failed(fatal) => Err(Refused::Failed(fatal.source.clone())),
        }
    }
}

/// What a request weighs here, in bytes: its updates, its key, and the refusals in its answer.
fn weight_bytes(request: &Request) -> usize {
    let rejection = |rejection: &Rejection| {
        let job_id = rejection.job_id.as_ref().map_or(0, |id| id.len());
        size_of::<Rejection>() + job_id + rejection.detail.len()
    };
    request.weight_bytes() + request.rejections.iter().map(rejection).sum::<usize>()
}

#[cfg(test)]
mod tests;
