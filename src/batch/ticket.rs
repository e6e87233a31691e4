//! The promise to somebody who waits: exactly one verdict, whatever happens to the writer.
//!
//! A ticket that is dropped says "unknown", because a thread that ends between the sync and the
//! answer may have stored what it held. Only a refusal at the door makes a ticket void.

use std::fmt;

use tokio::sync::oneshot;

use super::Drained;
use crate::model::Answer;
use crate::store::StoreError;

/// What became of the updates of a refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was applied: retry freely.
    NotApplied,
    /// The sync failed: retry with an idempotency key.
    Unknown,
}

/// Why an admitted message was not done.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub outcome: Outcome,
    pub source: StoreError,
}

/// Tells one waiter, once. May be told on any thread; telling must not block.
pub(crate) struct Ticket<T> {
    tell: Option<Box<Tell<T>>>,
}

type Tell<T> = dyn FnOnce(Result<T, Failure>) + Send;

impl<T> Ticket<T> {
    pub fn new(tell: impl FnOnce(Result<T, Failure>) + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)) }
    }

    /// A ticket and the end to wait on, in a task or (`blocking_recv`) in a thread.
    pub fn pair() -> (Self, oneshot::Receiver<Result<T, Failure>>)
    where
        T: Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        // A waiter that went away needs no answer.
        (Self::new(move |verdict| drop(tx.send(verdict))), rx)
    }

    pub fn complete(self, value: T) {
        self.tell(Ok(value));
    }

    pub fn fail(self, failure: Failure) {
        self.tell(Err(failure));
    }

    /// Forgets the waiter, who was told at the door.
    pub fn void(mut self) {
        self.tell = None;
    }

    fn tell(mut self, verdict: Result<T, Failure>) {
        if let Some(tell) = self.tell.take() {
            tell(verdict);
        }
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            let source = StoreError::Failed("the writer ended without an answer".to_owned());
            tell(Err(Failure { outcome: Outcome::Unknown, source }));
        }
    }
}

/// Those who wait.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// One per request, in order; `None` if nobody waits.
    pub answers: Vec<Option<Ticket<Answer>>>,
    pub flushes: Vec<Ticket<u64>>,
    pub drains: Vec<Ticket<Drained>>,
}

impl Tickets {
    /// Tells everybody the same.
    pub fn fail(self, outcome: Outcome, source: &StoreError) {
        let failure = || Failure { outcome, source: source.clone() };
        self.answers.into_iter().flatten().for_each(|ticket| ticket.fail(failure()));
        self.flushes.into_iter().for_each(|ticket| ticket.fail(failure()));
        self.drains.into_iter().for_each(|ticket| ticket.fail(failure()));
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("is_void", &self.tell.is_none()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_ticket_says_unknown_and_a_void_one_says_nothing() {
        let (ticket, rx) = Ticket::<u64>::pair();
        drop(ticket);
        assert_eq!(rx.blocking_recv().unwrap().unwrap_err().outcome, Outcome::Unknown);
        let (ticket, rx) = Ticket::<u64>::pair();
        ticket.void();
        assert!(rx.blocking_recv().is_err());
        let (ticket, rx) = Ticket::pair();
        ticket.complete(7_u64);
        assert_eq!(rx.blocking_recv().unwrap().unwrap(), 7);
    }
}
