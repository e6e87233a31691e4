//! The small answers of the care of a running store: flush, check, health.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
