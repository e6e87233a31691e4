//! Calls with an idempotency key that are not yet durable: the second arrival waits for the first.
//!
//! ```text
//!              +-- refused ------------> (free)
//! (free) -> Pending -- durable --------> (free, and kept by the store)
//!              |  \--- store unknown --> Unknown, until the store has been opened again
//!              +-- queued -> Answered -- durable, refused or unknown, as above
//! ```
//!
//! The writer ends a reservation, by the ticket of the request; the caller may go away meanwhile. A
//! kept answer is published before its reservation ends, so no repeat falls between the two. There
//! are as many reservations as callers at the door and requests in the queue and the batch in
//! flight, also of each batch that failed since the store was last well; each of these is bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::error::SubmitError;
use crate::batch::Outcome;
use crate::model::{Answer, IdempotencyKey};
use crate::store::StoreError;

/// From this number on, twins whose callers went away are swept out before one more waits.
const TWINS_SWEPT_FROM: usize = 1_024;

/// What all arrivals of a call hear.
pub(super) type Verdict = Result<Answer, SubmitError>;

/// The reserved keys of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    /// Held for a look at one key; never across a wait.
    reserved: Arc<Mutex<Reserved>>,
}

#[derive(Debug, Default)]
struct Reserved {
    calls: HashMap<Arc<str>, Call>,
    /// Tells a call from a later one with the same key.
    last_number: u64,
    /// True if some may be [`State::Unknown`].
    has_unknown: bool,
}

#[derive(Debug)]
struct Call {
    fingerprint: [u8; 32],
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Somebody decides; twins wait.
    Pending(Vec<oneshot::Sender<Verdict>>),
    /// The first caller has the answer of a queued call, which is not yet durable.
    Answered(Answer),
    /// Nobody can say whether it is stored before the journal is read again.
    Unknown(StoreError),
}

/// What a call with a key may do.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is the first: it goes on, and holds the key.
    First(Reservation),
    /// The first is on its way: wait for its verdict.
    Twin(oneshot::Receiver<Verdict>),
    /// The first has been answered.
    Replay(Answer),
}

/// A reserved key, until it is handed to the ticket of the request. If it is dropped before that,
/// the key is free again.
#[derive(Debug)]
pub(super) struct Reservation {
    reservations: Reservations,
    key: Arc<str>,
    number: u64,
    is_handed_over: bool,
}

impl Reservations {
    /// Reserves the key, or says what became of the call that has it. If `is_sure`, what was
    /// unknown is not any more, of this key and of all others: the journal has been read again, and
    /// the store knows.
    ///
    /// # Errors
    /// [`SubmitError::KeyReused`] for another call; [`SubmitError::StoreFailed`] if nobody knows.
    pub fn claim(
        &self,
        key: &IdempotencyKey,
        is_sure: impl FnOnce() -> bool,
    ) -> Result<Claim, SubmitError> {
        let mut reserved = self.lock();
        // Asked under the lock: the queue was in trouble before anybody was told "unknown".
        if reserved.has_unknown && is_sure() {
            reserved.calls.retain(|_, call| !matches!(call.state, State::Unknown(_)));
            reserved.has_unknown = false;
        }
        let number = reserved.last_number + 1;
        match reserved.calls.entry(Arc::from(&*key.key)) {
            Entry::Occupied(mut call) => call.get_mut().claim_again(&key.fingerprint),
            Entry::Vacant(free) => {
                let name = Arc::clone(free.key());
                let state = State::Pending(vec![]);
                free.insert(Call { fingerprint: key.fingerprint, number, state });
                reserved.last_number = number;
                let reservations = self.clone();
                let is_handed_over = false;
                Ok(Claim::First(Reservation { reservations, key: name, number, is_handed_over }))
            }
        }
    }

    /// Ends the reservation, or keeps it if nobody knows; tells the twins.
    fn settle(&self, key: &str, number: u64, verdict: &Verdict) {
        let mut reserved = self.lock();
        let Some(call) = reserved.calls.get_mut(key).filter(|call| call.number == number) else {
            return;
        };
        let twins = match &mut call.state {
            State::Pending(twins) => std::mem::take(twins),
            State::Answered(_) | State::Unknown(_) => vec![],
        };
        match verdict {
            Err(SubmitError::StoreFailed { outcome: Outcome::Unknown, source }) => {
                call.state = State::Unknown(source.clone());
                reserved.has_unknown = true;
            }
            _ => drop(reserved.calls.remove(key)),
        }
        drop(reserved);
        tell(twins, verdict);
    }

    fn lock(&self) -> MutexGuard<'_, Reserved> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().calls.len()
    }
}

impl Call {
    fn claim_again(&mut self, fingerprint: &[u8; 32]) -> Result<Claim, SubmitError> {
        if self.fingerprint != *fingerprint {
            return Err(SubmitError::KeyReused);
        }
        match &mut self.state {
            State::Pending(twins) => {
                let (tx, rx) = oneshot::channel();
                if twins.len() >= TWINS_SWEPT_FROM {
                    twins.retain(|twin| !twin.is_closed());
                }
                twins.push(tx);
                Ok(Claim::Twin(rx))
            }
            State::Answered(answer) => Ok(Claim::Replay(answer.clone())),
            State::Unknown(source) => Err(SubmitError::unknown(source.clone())),
        }
    }
}

impl Reservation {
    /// Ends the reservation at the door: answered without the writer, or refused.
    pub fn settle(mut self, verdict: &Verdict) {
        self.is_handed_over = true;
        self.reservations.settle(&self.key, self.number, verdict);
    }

    /// For the ticket of the request: ends the reservation when the writer has decided.
    pub fn settler(&self) -> impl FnOnce(&Verdict) + Send + 'static {
        let (reservations, key, number) =
            (self.reservations.clone(), self.key.clone(), self.number);
        move |verdict| reservations.settle(&key, number, verdict)
    }

    /// The request was admitted: its ticket ends the reservation.
    pub fn hand_over(mut self) {
        self.is_handed_over = true;
    }

    /// The request was admitted and its caller has `answer`; the ticket ends the reservation.
    pub fn hand_over_answered(mut self, answer: &Answer) {
        self.is_handed_over = true;
        let mut reserved = self.reservations.lock();
        let call = reserved.calls.get_mut(&self.key).filter(|call| call.number == self.number);
        // The writer may have been faster, and ended it.
        if let Some(Call { state: state @ State::Pending(_), .. }) = call {
            let before = std::mem::replace(state, State::Answered(answer.clone()));
            drop(reserved);
            if let State::Pending(twins) = before {
                tell(twins, &Ok(answer.clone()));
            }
        }
    }
}

impl Drop for Reservation {
    /// Only if the store panicked under a caller: twins must not wait for ever.
    fn drop(&mut self) {
        if !self.is_handed_over {
            let source = StoreError::Failed("the first call of this key was given up".to_owned());
            let verdict = Err(SubmitError::not_applied(source));
            self.reservations.settle(&self.key, self.number, &verdict);
        }
    }
}

/// A twin that went away needs no verdict.
fn tell(twins: Vec<oneshot::Sender<Verdict>>, verdict: &Verdict) {
    twins.into_iter().for_each(|twin| drop(twin.send(verdict.clone())));
}
