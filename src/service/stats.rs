//! The numbers of a service: what it counts itself, joined with those of queue, writer and store.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{BackupTotals, RetentionTotals, ScrubTotals};
use crate::batch::{BatchStats, ClosedBy, Queue};
use crate::store::StoreStats;

/// Numbers since the start of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceStats {
    /// `applied + stale + merged`, durable; queued updates count when they are committed.
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    /// All rejections, before admission and at commit.
    pub rejected: u64,
    pub rejected_at_commit: u64,
    /// Updates and bytes in the queue now, and their bounds.
    pub queued_now: u64,
    pub queued_bytes: u64,
    pub queue_updates_max: u64,
    pub queue_bytes_max: u64,
    /// The most updates that were ever in the queue.
    pub queued_peak: u64,
    /// Calls refused because the queue was full.
    pub queue_full: u64,
    /// Write transactions made, in all and by the reason that closed the batch.
    pub batches: u64,
    pub closed_by: ClosedBy,
    /// Time of those transactions, in milliseconds; quantiles are at most 12.5 % too high.
    pub commit_ms_p50: f64,
    pub commit_ms_p99: f64,
    pub commit_ms_max: f64,
    /// Calls with an idempotency key.
    pub idempotent_calls: u64,
    /// Calls that got the first answer of the same call made before, kept or from a twin.
    pub idempotent_replayed: u64,
    /// Calls refused because their idempotency key belongs to another call.
    pub idempotent_reused: u64,
    pub store: StoreStats,
    pub backups: BackupTotals,
    pub scrub: ScrubTotals,
    pub retention: RetentionTotals,
}

/// What is counted at the door.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub rejected_before: AtomicU64,
    pub queue_full: AtomicU64,
    pub keyed: AtomicU64,
    pub replayed: AtomicU64,
    pub reused: AtomicU64,
}

impl Counters {
    /// Adds `count`. Relaxed: the numbers need no order among themselves.
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

pub(super) fn collect(
    counters: &Counters,
    queue: &Queue,
    batches: &BatchStats,
    store: StoreStats,
) -> ServiceStats {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let fill = queue.fill();
    let limits = queue.limits();
    let totals = batches.lock();
    ServiceStats {
        accepted: totals.accepted,
        applied: totals.applied,
        stale: totals.stale,
        merged: totals.merged,
        rejected: read(&counters.rejected_before) + totals.rejected_at_commit,
        rejected_at_commit: totals.rejected_at_commit,
        queued_now: fill.updates as u64,
        queued_bytes: fill.bytes as u64,
        queue_updates_max: limits.queue_updates_max as u64,
        queue_bytes_max: limits.queue_bytes_max as u64,
        queued_peak: fill.updates_peak as u64,
        queue_full: read(&counters.queue_full),
        batches: totals.batches,
        closed_by: totals.closed_by,
        commit_ms_p50: totals.commits.quantile_ms(0.50),
        commit_ms_p99: totals.commits.quantile_ms(0.99),
        commit_ms_max: totals.commits.max_ms(),
        idempotent_calls: read(&counters.keyed),
        idempotent_replayed: read(&counters.replayed),
        idempotent_reused: read(&counters.reused),
        store,
        backups: BackupTotals::default(),
        scrub: ScrubTotals::default(),
        retention: RetentionTotals::default(),
    }
}
