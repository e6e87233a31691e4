//! The small answers of the care of a running store: flush, check, scrub, prune, retention, health.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TimeBody;
use crate::service::{Pruned, RetentionTotals, ScrubTotals};

/// The media type of a backup.
pub const BACKUP_MEDIA_TYPE: &str = "application/octet-stream";

/// `{"durable_seq":918273}`: everything accepted before the call is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Flush, examples(json!({"durable_seq": 918_273})))]
pub struct FlushBody {
    /// The last durable update.
    pub durable_seq: u64,
}

/// `{"clean":true,"jobs":3957,"updates":12000,"last_seq":12000,"problems":[]}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Check, examples(json!({
    "clean": true, "jobs": 3957, "updates": 12_000, "last_seq": 12_000, "problems": [],
})))]
pub struct CheckBody {
    pub clean: bool,
    pub jobs: u64,
    /// Updates that the feed holds.
    pub updates: u64,
    pub last_seq: u64,
    /// One sentence each; at most 100.
    pub problems: Vec<String>,
}

/// `{"dry_run":false,"matched":1200,"removed":1199,"changed":1,"more":false,"updated_before":null,
/// "until_seq":918273}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Prune, examples(json!({
    "dry_run": false, "matched": 1200, "removed": 1199, "changed": 1, "more": false,
    "updated_before": "2025-10-25T16:00:00.123Z", "until_seq": 918_273,
})))]
pub struct PruneBody {
    /// True if the jobs were only counted.
    pub dry_run: bool,
    /// Jobs that the call means.
    pub matched: u64,
    /// Jobs that are gone for good.
    pub removed: u64,
    /// Jobs that changed before they could be removed, and stay.
    pub changed: u64,
    /// True if there may be more: `limit` was reached, or the server stops. Send it again.
    pub more: bool,
    /// That of the call; `null` if none was given.
    #[schema(required)]
    pub updated_before: Option<TimeBody>,
    /// What `older_than` came to: the last update that is old enough, 0 if none is. `null` if no
    /// age was given.
    #[schema(required)]
    pub until_seq: Option<u64>,
}

impl PruneBody {
    /// What a prune, or the count before one, came to.
    pub fn of(pruned: &Pruned, dry_run: bool) -> Self {
        let Pruned { matched, removed, changed, more, updated_before, until_seq } = *pruned;
        let updated_before = updated_before.map(TimeBody);
        Self { dry_run, matched, removed, changed, more, updated_before, until_seq }
    }
}

/// The jobs that the server removes by itself because they are old or many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RetentionStats, examples(json!({
    "on": true, "runs": 144, "failed": 0, "last_at": "2025-11-24T16:00:00.123Z",
    "removed_last": 12, "removed": 3957,
})))]
pub struct RetentionBody {
    /// True if it removes any: a key `retain_..._for` or `retain_..._max` is set.
    pub on: bool,
    /// Rounds, and how many of them the store failed.
    pub runs: u64,
    pub failed: u64,
    /// When the last round ended; `null` if there was none since the start.
    #[schema(required)]
    pub last_at: Option<TimeBody>,
    /// Jobs that the last round removed, and all rounds.
    pub removed_last: u64,
    pub removed: u64,
}

impl RetentionBody {
    /// What was done since the start of the process.
    pub fn of(totals: &RetentionTotals) -> Self {
        let RetentionTotals { is_on, runs, failed, last_at, removed_last, removed } = *totals;
        Self { on: is_on, runs, failed, last_at: last_at.map(TimeBody), removed_last, removed }
    }
}

/// `{"status":"alive"}` or `{"status":"ready"}`; a server that is not ready answers a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Health, examples(json!({"status": "ready"})))]
pub struct HealthBody {
    pub status: std::borrow::Cow<'static, str>,
}

/// The scrub: all that is stored is read again at intervals, slowly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScrubStats, examples(json!({
    "scheduled": true, "running": false, "percent": 100, "rounds": 1, "rows": 4_012,
    "last_at": "2025-11-24T16:00:00.123Z", "problems_last": 0, "problems": 0,
})))]
pub struct ScrubBody {
    /// True if there is one: `scrub_interval` is not zero.
    pub scheduled: bool,
    pub running: bool,
    /// How far the present round, or the last one, is: 0 to 100.
    pub percent: u8,
    /// Rounds that ended, and rows that were read in all.
    pub rounds: u64,
    pub rows: u64,
    /// When the last round ended; `null` if none did since the start. What it found.
    #[schema(required)]
    pub last_at: Option<TimeBody>,
    pub problems_last: u64,
    /// What all rounds found; the log says what it was.
    pub problems: u64,
}

impl ScrubBody {
    /// From the numbers of the service.
    pub fn of(totals: &ScrubTotals) -> Self {
        Self {
            scheduled: totals.is_on,
            running: totals.is_running,
            percent: totals.percent,
            rounds: totals.rounds,
            rows: totals.rows,
            last_at: totals.last_at.map(TimeBody),
            problems_last: totals.problems_last,
            problems: totals.problems,
        }
    }
}
