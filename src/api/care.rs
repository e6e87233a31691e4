//! The small answers of the care of a running store: flush, check, scrub, health.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TimeBody;
use crate::service::ScrubTotals;

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
