//! What the writer has done since it started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::policy::Reason;
use crate::telemetry::histogram::Histogram;

/// Committed batches by the reason that closed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedBy {
    pub drain: u64,
    pub flush: u64,
    pub waiter: u64,
    pub size: u64,
    pub interval: u64,
}

impl ClosedBy {
    pub(crate) fn count(&mut self, reason: Reason) {
        let counter = match reason {
            Reason::Drain => &mut self.drain,
            Reason::Flush => &mut self.flush,
            Reason::Waiter => &mut self.waiter,
            Reason::Size => &mut self.size,
            Reason::Interval => &mut self.interval,
        };
        *counter += 1;
    }
}

/// Sums over all batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// `applied + stale + merged`.
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    pub rejected_at_commit: u64,
    /// Write transactions.
    pub batches: u64,
    pub closed_by: ClosedBy,
    /// Time of the appends that made a transaction.
    pub commits: Histogram,
}

/// The totals, shared by the writer and whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchStats {
    /// Locked by the writer once for each batch, and for a copy by a reader.
    totals: Arc<Mutex<Totals>>,
}

impl BatchStats {
    pub fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
