//! From calls to transactions: the bounded queue, the policy that closes a batch, the one writer.
//!
//! ```text
//! push -> Queue -> policy::decide -> Batch -> WriteStore::append -> tickets
//!           |                                                         ^
//!           +-- flush and drain markers travel in the same order -----+
//! ```
//!
//! Whoever pushes only waits afterwards; everything that changes the store happens on the thread
//! `jobslate-writer`. A ticket is released after the commit returned, and never without an answer.

mod limits;
mod policy;
mod queue;
mod stats;
mod sync;
mod ticket;
mod writer;

#[cfg(test)]
pub(crate) mod fake;

pub use limits::{InvalidLimits, Limits};
pub(crate) use queue::{Fatal, Fill, Phase, Queue, Refused};
pub(crate) use stats::BatchStats;
pub use stats::ClosedBy;
pub use ticket::Outcome;
pub(crate) use ticket::{Failure, Ticket};
pub(crate) use writer::Writer;

/// What the clean stop did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Updates that were in the queue when the drain began, now on disk.
    pub updates: u64,
    pub durable_seq: u64,
}
