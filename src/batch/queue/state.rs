//! What the lock of the queue protects: the messages in order, and their sums.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Fill, Phase, Refused};
use crate::batch::Drained;
use crate::batch::limits::Limits;
use crate::batch::policy::{Backlog, Reason};
use crate::batch::ticket::{Ticket, Tickets};
use crate::model::{Ack, Answer, Request};
use crate::store::StoreError;

/// Requests for one write transaction, and who waits for it.
#[derive(Debug)]
pub(crate) struct Batch {
    pub requests: Vec<Request>,
    pub tickets: Tickets,
    pub reason: Reason,
    pub updates: usize,
    pub bytes: usize,
    /// Age of the oldest request.
    pub wait: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub messages: VecDeque<Message>,
    pub fill: Fill,
    /// Queued requests of durable callers, and queued markers.
    pub waiters: usize,
    pub flushes: usize,
    pub drains: usize,
    pub phase: Phase,
    /// Why nothing is admitted for now, though the phase would.
    pub trouble: Option<StoreError>,
    /// True while the writer takes no batch.
    pub is_suspended: bool,
    pub drain_updates: usize,
    pub is_poked: bool,
    pub turns: u64,
    /// Spares a system call for each push that the writer need not see.
    pub is_writer_waiting: bool,
}

#[derive(Debug)]
pub(super) enum Message {
    Request(Admitted),
    Flush(Ticket<u64>),
    Drain(Ticket<Drained>),
}

/// A request, and who waits for it.
#[derive(Debug)]
pub(super) struct Admitted {
    pub request: Request,
    pub ticket: Option<Ticket<Answer>>,
    pub bytes: usize,
    /// Monotonic.
    pub at: Duration,
}

impl State {
    pub fn backlog(&self) -> Backlog {
        // If a marker is in front, it closes the batch whatever the age of the requests.
        let oldest_at = self.messages.front().and_then(|message| match message {
            Message::Request(admitted) => Some(admitted.at),
            Message::Flush(_) | Message::Drain(_) => None,
        });
        Backlog {
            updates: self.fill.updates,
            oldest_at,
            has_waiter: self.waiters > 0,
            has_flush: self.flushes > 0,
            has_drain: self.drains > 0,
        }
    }

    pub fn room_for(&self, updates: usize, bytes: usize, limits: &Limits) -> Result<(), Refused> {
        self.admits()?;
        if updates > limits.batch_updates_max || bytes > limits.batch_bytes_max {
            return Err(Refused::TooLarge { updates, bytes });
        }
        let has_room = self.fill.updates + updates <= limits.queue_updates_max
            && self.fill.bytes + bytes <= limits.queue_bytes_max;
        let full = Refused::Full { updates: self.fill.updates, bytes: self.fill.bytes };
        if has_room { Ok(()) } else { Err(full) }
    }

    /// Whether anything is admitted now.
    pub fn admits(&self) -> Result<(), Refused> {
        self.phase.admits()?;
        self.trouble.clone().map_or(Ok(()), |trouble| Err(Refused::Failed(trouble)))
    }

    /// Whether somebody may wait for what was admitted before.
    pub fn takes_flushes(&self) -> Result<(), Refused> {
        if self.is_suspended { self.admits() } else { self.phase.admits() }
    }

    pub fn admit(&mut self, admitted: Admitted) {
        self.fill.updates += admitted.request.operations();
        self.fill.bytes += admitted.bytes;
        self.fill.updates_peak = self.fill.updates_peak.max(self.fill.updates);
        self.waiters += usize::from(admitted.is_waited_for());
        self.messages.push_back(Message::Request(admitted));
    }

    /// Takes out those who wait for an answer; what nobody waits for stays, and so does a drain.
    pub fn take_waiters(&mut self) -> Tickets {
        let (mut waiters, mut rest) = (VecDeque::new(), VecDeque::new());
        for message in self.messages.drain(..) {
            let is_waiter = match &message {
                Message::Request(admitted) => admitted.is_waited_for(),
                Message::Flush(_) => true,
                Message::Drain(_) => false,
            };
            if let (true, Message::Request(admitted)) = (is_waiter, &message) {
                self.fill.updates -= admitted.request.operations();
                self.fill.bytes -= admitted.bytes;
            }
            if is_waiter { waiters.push_back(message) } else { rest.push_back(message) }
        }
        self.messages = rest;
        (self.waiters, self.flushes) = (0, 0);
        waiters.into_iter().collect()
    }

    /// Puts what was taken out back in front, in its order.
    pub fn put_back(&mut self, admitted: Vec<Admitted>) {
        for admitted in admitted.into_iter().rev() {
            self.fill.updates += admitted.request.operations();
            self.fill.bytes += admitted.bytes;
            self.waiters += usize::from(admitted.is_waited_for());
            self.messages.push_front(Message::Request(admitted));
        }
    }

    /// Takes everything, whole requests only, up to the bounds of a batch.
    pub fn take(&mut self, reason: Reason, limits: &Limits, now: Duration) -> Batch {
        let oldest_at = self.backlog().oldest_at.unwrap_or(now);
        let wait = now.saturating_sub(oldest_at);
        let tickets = Tickets::default();
        let mut batch = Batch { requests: vec![], tickets, reason, updates: 0, bytes: 0, wait };
        while let Some(message) =
            self.messages.pop_front_if(|message| batch.has_room_for(message, limits))
        {
            match message {
                Message::Request(admitted) => {
                    self.waiters -= usize::from(admitted.is_waited_for());
                    batch.updates += admitted.request.operations();
                    batch.bytes += admitted.bytes;
                    batch.requests.push(admitted.request);
                    batch.tickets.answers.push(admitted.ticket);
                }
                Message::Flush(ticket) => {
                    self.flushes -= 1;
                    batch.tickets.flushes.push(ticket);
                }
                Message::Drain(ticket) => {
                    self.drains -= 1;
                    batch.tickets.drains.push(ticket);
                }
            }
        }
        self.fill.updates -= batch.updates;
        self.fill.bytes -= batch.bytes;
        batch
    }
}

impl Batch {
    fn has_room_for(&self, message: &Message, limits: &Limits) -> bool {
        let Message::Request(admitted) = message else {
            return true;
        };
        let updates = self.updates + admitted.request.operations();
        let bytes = self.bytes + admitted.bytes;
        updates <= limits.batch_updates_max && bytes <= limits.batch_bytes_max
    }
}

impl Admitted {
    fn is_waited_for(&self) -> bool {
        self.request.ack == Ack::Durable
    }
}

impl FromIterator<Message> for Tickets {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        let mut tickets = Self::default();
        for message in messages {
            match message {
                Message::Request(admitted) => tickets.answers.push(admitted.ticket),
                Message::Flush(ticket) => tickets.flushes.push(ticket),
                Message::Drain(ticket) => tickets.drains.push(ticket),
            }
        }
        tickets
    }
}
