//! A job as it is shown, and its history.
//!
//! ```json
//! {"job_id":"doc-0001","pipeline":"pdf","status":"error","kind":"failed",
//!  "error":"ocr timed out","message":null,"attempt":2,"progress":0.4,
//!  "labels":{"source":"scan"},"created_at":"2025-11-24T16:00:00.123Z","status_at":"...",
//!  "seen_at":"...","started_at":"...","finished_at":null,"updated_at":"...","seq":918273,
//!  "transitions":5}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::time::TimeBody;
use super::words;
use crate::model::{JobId, JobRecord, Kind, Transition};

/// The present state of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Job, examples(json!(example())))]
pub struct JobBody<'a> {
    #[schema(value_type = words::JobId)]
    pub job_id: Cow<'a, str>,
    #[schema(value_type = words::PipelineName)]
    pub pipeline: Cow<'a, str>,
    #[schema(value_type = words::Status)]
    pub status: Cow<'a, str>,
    /// `waiting`, `running`, `succeeded`, `failed` or `cancelled`; derived from the status.
    #[schema(value_type = words::Kind)]
    pub kind: Cow<'a, str>,
    /// `null`: the last status came without one.
    #[schema(required, max_length = 8192)]
    pub error: Option<Cow<'a, str>>,
    #[schema(required, max_length = 1024)]
    pub message: Option<Cow<'a, str>>,
    #[schema(value_type = u64, maximum = 4_294_967_295_u64)]
    pub attempt: u32,
    /// From 0 to 1.
    #[schema(required, minimum = 0, maximum = 1)]
    pub progress: Option<f64>,
    #[schema(value_type = words::Labels)]
    pub labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub created_at: TimeBody,
    pub status_at: TimeBody,
    pub seen_at: TimeBody,
    /// `null`: this attempt has not begun to run.
    #[schema(required)]
    pub started_at: Option<TimeBody>,
    /// `null`: the job is not finished.
    #[schema(required)]
    pub finished_at: Option<TimeBody>,
    /// When the last change became durable.
    pub updated_at: TimeBody,
    /// The last applied update.
    pub seq: u64,
    /// How many there ever were; the history holds the last 32.
    pub transitions: u64,
}

/// A job for the API document.
pub(super) fn example() -> serde_json::Value {
    json!({
        "job_id": "doc-0001", "pipeline": "pdf", "status": "error", "kind": "failed",
        "error": "ocr timed out", "message": null, "attempt": 2, "progress": 0.4,
        "labels": {"source": "scan"}, "created_at": "2025-11-24T16:00:00.123Z",
        "status_at": "2025-11-24T16:00:05.000Z", "seen_at": "2025-11-24T16:00:05.000Z",
        "started_at": "2025-11-24T16:00:01.250Z", "finished_at": "2025-11-24T16:00:05.000Z",
        "updated_at": "2025-11-24T16:00:05.012Z", "seq": 918_273, "transitions": 5,
    })
}

impl<'a> JobBody<'a> {
    /// The job `job_id`; `kind` is what its status means now. Copies no text of the record.
    pub fn of(job_id: &'a JobId, record: &'a JobRecord, kind: Kind) -> Self {
        let labels = record.labels.iter().map(|(name, value)| (name.into(), value.into()));
        Self {
            job_id: job_id.as_str().into(),
            pipeline: record.pipeline.as_str().into(),
            status: record.status.as_str().into(),
            kind: kind.as_str().into(),
            error: record.error.as_deref().map(Cow::Borrowed),
            message: record.message.as_deref().map(Cow::Borrowed),
            attempt: record.attempt,
            progress: record.progress,
            labels: labels.collect(),
            created_at: TimeBody(record.created_at),
            status_at: TimeBody(record.status_at),
            seen_at: TimeBody(record.seen_at),
            started_at: record.started_at.map(TimeBody),
            finished_at: record.finished_at.map(TimeBody),
            updated_at: TimeBody(record.updated_at),
            seq: record.seq,
            transitions: record.transition_count,
        }
    }
}

/// The last transitions of a job, oldest first.
///
/// ```json
/// {"job_id":"doc-0001",
///  "transitions":[{"seq":17,"status":"queued","at":"...","attempt":1,"error":null}]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = History, examples(json!({"job_id": "doc-0001", "transitions": [
    {"seq": 17, "status": "queued", "at": "2025-11-24T16:00:00.123Z", "attempt": 1, "error": null},
]})))]
pub struct HistoryBody<'a> {
    #[schema(value_type = words::JobId)]
    pub job_id: Cow<'a, str>,
    #[schema(max_items = 32)]
    pub transitions: Vec<TransitionBody<'a>>,
}

/// One change of status, given attempt or error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Transition, examples(json!({
    "seq": 21, "status": "error", "at": "2025-11-24T16:00:05.000Z", "attempt": 2,
    "error": "ocr timed out",
})))]
pub struct TransitionBody<'a> {
    pub seq: u64,
    #[schema(value_type = words::Status)]
    pub status: Cow<'a, str>,
    pub at: TimeBody,
    #[schema(value_type = u64, maximum = 4_294_967_295_u64)]
    pub attempt: u32,
    /// At most 256 bytes.
    #[schema(required, max_length = 256)]
    pub error: Option<Cow<'a, str>>,
}

impl<'a> HistoryBody<'a> {
    /// The transitions that the record still holds.
    pub fn of(job_id: &'a JobId, record: &'a JobRecord) -> Self {
        let transitions = record.transitions.iter().map(TransitionBody::of).collect();
        Self { job_id: job_id.as_str().into(), transitions }
    }
}

impl<'a> TransitionBody<'a> {
    fn of(transition: &'a Transition) -> Self {
        Self {
            seq: transition.seq,
            status: transition.status.as_str().into(),
            at: TimeBody(transition.at),
            attempt: transition.attempt,
            error: transition.error.as_deref().map(Cow::Borrowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kinds, TimestampMs, apply, decide};

    #[test]
    fn a_job_reads_as_documented_and_comes_back() {
        let update = crate::api::read_update(
            br#"{"job_id":"doc-0001","status":"error","error":"ocr timed out",
                 "at":1764000000123,"attempt":2,"pipeline":"pdf","labels":{"source":"scan"}}"#,
        )
        .unwrap();
        let now = TimestampMs(1_764_000_001_000);
        let change = decide(None, &update, &Kinds::default(), now).unwrap();
        let record = apply(None, &crate::model::Change { seq: 17, ..change }, now);
        let body = JobBody::of(&update.job_id, &record, Kind::Failed);
        let json = serde_json::to_string(&body).unwrap();
        let shape = concat!(
            r#"{"job_id":"doc-0001","pipeline":"pdf","status":"error","kind":"failed","#,
            r#""error":"ocr timed out","message":null,"attempt":2,"progress":null,"#,
            r#""labels":{"source":"scan"},"created_at":"2025-11-24T16:00:00.123Z","#,
            r#""status_at":"2025-11-24T16:00:00.123Z","seen_at":"2025-11-24T16:00:00.123Z","#,
            r#""started_at":null,"finished_at":"2025-11-24T16:00:00.123Z","#,
            r#""updated_at":"2025-11-24T16:00:01.000Z","seq":17,"transitions":1}"#,
        );
        assert_eq!(json, shape);
        assert_eq!(serde_json::from_str::<JobBody<'static>>(&json).unwrap(), body);
        let history = serde_json::to_string(&HistoryBody::of(&update.job_id, &record)).unwrap();
        let shape = concat!(
            r#"{"job_id":"doc-0001","transitions":[{"seq":17,"status":"error","#,
            r#""at":"2025-11-24T16:00:00.123Z","attempt":2,"error":"ocr timed out"}]}"#,
        );
        assert_eq!(history, shape);
    }
}
