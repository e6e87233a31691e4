//! One page of numbers since the start of the process. Bytes and milliseconds say so in the name.
//!
//! ```json
//! {"updates":{"accepted":12000,"applied":12000,"stale":0,"merged":0,"rejected":0,
//!             "rejected_at_commit":0,"queued_now":0},
//!  "batches":{"committed":240,"closed_by":{"waiter":0,"size":238,"interval":2,"flush":0,
//!             "drain":0},"saved_percent":98.0},
//!  "commit_ms":{"p50":0.6,"p99":2.1,"max":9.7},"queue":{},"tail":{},"fold":{},"files":{},
//!  "backups":{},"scrub":{},"retention":{},"http":{},"process":{}}
//! ```

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RetentionBody, ScrubBody, TimeBody};
use crate::service::{BackupTotals, ServiceStats};

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Stats, examples(json!(example())))]
pub struct StatsBody {
    pub updates: UpdatesBody,
    pub batches: BatchesBody,
    pub commit_ms: CommitMsBody,
    pub queue: QueueBody,
    pub idempotency: IdempotencyBody,
    pub tail: TailBody,
    pub fold: FoldBody,
    pub files: FilesBody,
    pub backups: BackupsBody,
    pub scrub: ScrubBody,
    pub retention: RetentionBody,
    pub http: HttpBody,
    pub process: ProcessBody,
}

/// What became of updates. `accepted = applied + stale + merged + queued_now`, once at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UpdatesStats, examples(json!({
    "accepted": 12_000, "applied": 11_990, "stale": 6, "merged": 4, "rejected": 2,
    "rejected_at_commit": 1, "queued_now": 0,
})))]
pub struct UpdatesBody {
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    pub rejected: u64,
    pub rejected_at_commit: u64,
    pub queued_now: u64,
}

/// Write transactions, and what batching saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = BatchesStats, examples(json!({
    "committed": 240, "saved_percent": 98.0,
    "closed_by": {"waiter": 0, "size": 238, "interval": 2, "flush": 0, "drain": 0},
})))]
pub struct BatchesBody {
    pub committed: u64,
    pub closed_by: ClosedByBody,
    /// `100 * (1 - committed / accepted)` with one decimal; 0 when nothing was accepted.
    pub saved_percent: f64,
}

/// Batches by the reason that closed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClosedByStats, examples(json!({
    "waiter": 0, "size": 238, "interval": 2, "flush": 0, "drain": 0,
})))]
pub struct ClosedByBody {
    pub waiter: u64,
    pub size: u64,
    pub interval: u64,
    pub flush: u64,
    pub drain: u64,
}

/// How long commits took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CommitMsStats, examples(json!({"p50": 0.6, "p99": 2.1, "max": 9.7})))]
pub struct CommitMsBody {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// The queue now, its bounds, its highest mark in updates, and how often it refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = QueueStats, examples(json!({
    "updates": 50, "bytes": 12_400, "updates_max": 100_000, "bytes_max": 67_108_864,
    "peak": 1200, "full": 0,
})))]
pub struct QueueBody {
    pub updates: u64,
    pub bytes: u64,
    pub updates_max: u64,
    pub bytes_max: u64,
    pub peak: u64,
    pub full: u64,
}

/// Calls with an idempotency key: in all, answered from the first answer, and refused for another
/// body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = IdempotencyStats, examples(
    json!({"calls": 240, "replayed": 3, "reused": 0, "hit_percent": 1.3}),
))]
pub struct IdempotencyBody {
    pub calls: u64,
    pub replayed: u64,
    pub reused: u64,
    /// `100 * replayed / calls` with one decimal; 0 without calls.
    pub hit_percent: f64,
}

/// What is durable in the journal and not yet folded into the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TailStats, examples(json!({"jobs": 1200, "updates": 3600, "bytes": 900_000})))]
pub struct TailBody {
    pub jobs: u64,
    pub updates: u64,
    pub bytes: u64,
}

/// Folds, how long they took, and how often and how long the writer waited for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FoldStats, examples(json!({
    "count": 12, "ms_last": 85.0, "ms_max": 140.5, "waits": 0, "wait_ms": 0.0,
})))]
pub struct FoldBody {
    pub count: u64,
    pub ms_last: f64,
    pub ms_max: f64,
    pub waits: u64,
    pub wait_ms: f64,
}

/// The files of the store, and what was written to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FilesStats, examples(json!({
    "journal_bytes": 1_052_672, "tables_bytes": 16_846_848, "written_bytes": 52_428_800,
    "syncs": 264, "last_seq": 11_996, "moments_held": 1,
})))]
pub struct FilesBody {
    pub journal_bytes: u64,
    pub tables_bytes: u64,
    pub written_bytes: u64,
    pub syncs: u64,
    /// The last durable update.
    pub last_seq: u64,
    /// Moments of the tables that are held: the present one, and older ones that long reads have.
    pub moments_held: u64,
}

/// The backups that the server makes by itself at intervals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupsStats, examples(json!({
    "scheduled": true, "made": 7, "failed": 0, "failing": false,
    "last_at": "2025-11-24T16:00:00.123Z", "last_seq": 11_996, "last_bytes": 1_048_576,
    "last_ms": 85.0,
})))]
pub struct BackupsBody {
    /// True if it makes any: `backup_dir` is set.
    pub scheduled: bool,
    pub made: u64,
    pub failed: u64,
    /// True if the last try failed; the log says why.
    pub failing: bool,
    /// When the last was made, what it reflects, its length and how long it took; `null` if none
    /// was made since the start.
    #[schema(required)]
    pub last_at: Option<TimeBody>,
    #[schema(required)]
    pub last_seq: Option<u64>,
    #[schema(required)]
    pub last_bytes: Option<u64>,
    #[schema(required)]
    pub last_ms: Option<f64>,
}

impl BackupsBody {
    fn of(totals: &BackupTotals) -> Self {
        let last = totals.last.as_ref();
        Self {
            scheduled: totals.is_scheduled,
            made: totals.made,
            failed: totals.failed,
            failing: totals.is_failing,
            last_at: last.map(|it| TimeBody(it.made_at)),
            last_seq: last.map(|it| it.as_of_seq),
            last_bytes: last.map(|it| it.bytes),
            last_ms: last.map(|it| it.ms),
        }
    }
}

/// The server's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HttpStats, examples(json!({
    "requests": 12_400, "in_flight": 1, "watchers": 2,
    "responses": {"2xx": 12_380, "3xx": 12, "4xx": 7, "5xx": 0},
    "connections": {
        "now": 4, "peak": 64, "max": 1024, "turned_away": 0, "idle_closed": 0,
    },
})))]
pub struct HttpBody {
    pub requests: u64,
    pub in_flight: u64,
    /// Streams of the feed that are open, and pages of it that wait.
    pub watchers: u64,
    pub responses: ResponsesBody,
    pub connections: ConnectionsBody,
}

/// Responses by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ResponsesStats, examples(json!({"2xx": 12_380, "3xx": 12, "4xx": 7, "5xx": 0})))]
pub struct ResponsesBody {
    #[serde(rename = "2xx")]
    pub success: u64,
    #[serde(rename = "3xx")]
    pub redirect: u64,
    #[serde(rename = "4xx")]
    pub client_error: u64,
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

/// Connections: open now, the most ever open, the most served, those turned away, and those that
/// were closed while they were idle, to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConnectionsStats, examples(
    json!({"now": 4, "peak": 64, "max": 1024, "turned_away": 0, "idle_closed": 0}),
))]
pub struct ConnectionsBody {
    pub now: u64,
    pub peak: u64,
    pub max: u64,
    pub turned_away: u64,
    pub idle_closed: u64,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProcessStats, examples(json!({
    "version": "0.1.0", "pid": 4711, "uptime_s": 86_400, "resident_bytes": 41_943_040,
    "open_files": 19,
})))]
pub struct ProcessBody {
    pub version: String,
    pub pid: u32,
    pub uptime_s: u64,
    /// Memory held now; `null` where the system does not say.
    #[schema(required)]
    pub resident_bytes: Option<u64>,
    #[schema(required)]
    pub open_files: Option<u64>,
}

impl StatsBody {
    /// The page, from the numbers of the service and of the server.
    pub fn of(stats: &ServiceStats, http: HttpBody, process: ProcessBody) -> Self {
        let store = &stats.store;
        Self {
            updates: UpdatesBody::of(stats),
            batches: BatchesBody::of(stats),
            commit_ms: CommitMsBody {
                p50: stats.commit_ms_p50,
                p99: stats.commit_ms_p99,
                max: stats.commit_ms_max,
            },
            queue: QueueBody {
                updates: stats.queued_now,
                bytes: stats.queued_bytes,
                updates_max: stats.queue_updates_max,
                bytes_max: stats.queue_bytes_max,
                peak: stats.queued_peak,
                full: stats.queue_full,
            },
            idempotency: IdempotencyBody {
                calls: stats.idempotent_calls,
                replayed: stats.idempotent_replayed,
                reused: stats.idempotent_reused,
                hit_percent: percent(stats.idempotent_replayed, stats.idempotent_calls),
            },
            tail: TailBody {
                jobs: store.tail_jobs,
                updates: store.tail_updates,
                bytes: store.tail_bytes,
            },
            fold: FoldBody {
                count: store.folds,
                ms_last: store.fold_ms_last,
                ms_max: store.fold_ms_max,
                waits: store.fold_waits,
                wait_ms: store.fold_wait_ms,
            },
            files: FilesBody {
                journal_bytes: store.journal_bytes,
                tables_bytes: store.tables_bytes,
                written_bytes: store.written_bytes,
                syncs: store.syncs,
                last_seq: store.last_seq,
                moments_held: store.moments_held,
            },
            backups: BackupsBody::of(&stats.backups),
            scrub: ScrubBody::of(&stats.scrub),
            retention: RetentionBody::of(&stats.retention),
            http,
            process,
        }
    }
}

/// The page for the API document.
fn example() -> StatsBody {
    let stats = ServiceStats {
        accepted: 12_000,
        applied: 12_000,
        batches: 240,
        commit_ms_p50: 0.6,
        commit_ms_p99: 2.1,
        commit_ms_max: 9.7,
        ..ServiceStats::default()
    };
    let process = ProcessBody {
        version: "0.1.0".to_owned(),
        pid: 4711,
        uptime_s: 3_600,
        ..ProcessBody::default()
    };
    StatsBody::of(&stats, HttpBody::default(), process)
}

impl UpdatesBody {
    fn of(stats: &ServiceStats) -> Self {
        Self {
            accepted: stats.accepted,
            applied: stats.applied,
            stale: stats.stale,
            merged: stats.merged,
            rejected: stats.rejected,
            rejected_at_commit: stats.rejected_at_commit,
            queued_now: stats.queued_now,
        }
    }
}

impl BatchesBody {
    fn of(stats: &ServiceStats) -> Self {
        let by = stats.closed_by;
        let closed_by = ClosedByBody {
            waiter: by.waiter,
            size: by.size,
            interval: by.interval,
            flush: by.flush,
            drain: by.drain,
        };
        let saved_percent = saved_percent(stats.batches, stats.accepted);
        Self { committed: stats.batches, closed_by, saved_percent }
    }
}

/// The share of transactions that batching saved, against one for each update.
#[expect(clippy::cast_precision_loss, reason = "one decimal of a percentage")]
fn saved_percent(committed: u64, accepted: u64) -> f64 {
    if accepted == 0 {
        return 0.0;
    }
    let saved = 100.0 * (1.0 - committed as f64 / accepted as f64);
    (saved.max(0.0) * 10.0).round() / 10.0
}

/// `part` of `whole`, from 0 to 100.
#[expect(clippy::cast_precision_loss, reason = "one decimal of a percentage")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (1000.0 * part as f64 / whole as f64).round() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_percent_compares_transactions_with_updates() {
        assert_eq!(saved_percent(0, 0), 0.0);
        assert_eq!(saved_percent(240, 12_000), 98.0);
        assert_eq!(saved_percent(1, 3), 66.7);
        assert_eq!(saved_percent(3, 1), 0.0);
    }
}
