//! The feed: every durable operation, in the order of its seq.
//!
//! ```json
//! {"updates":[{"seq":918273,"job_id":"doc-0001","pipeline":"pdf","previous_pipeline":null,
//!              "status":"error","kind":"failed","previous":"processing","applied":true,
//!              "at":"2025-11-24T16:00:00.123Z","attempt":2,"error":"ocr timed out"}],
//!  "next_after":918273,"as_of_seq":918300}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Not;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::TimeBody;
use super::words;
use crate::model::{Change, Expectation, Kinds, Operation, Removal};

/// One operation. `status`, `kind`, `pipeline` and `attempt` are absolute: what the job has now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FeedEntry, examples(json!(example()), json!({
    "seq": 918_274, "job_id": "doc-0002", "pipeline": "pdf", "previous_pipeline": null,
    "status": null, "kind": null, "previous": "completed", "applied": true,
    "at": "2025-11-24T16:00:06.000Z", "attempt": null, "error": null, "deleted": true,
}), json!({
    "seq": 918_275, "job_id": null, "pipeline": "pdf", "previous_pipeline": null,
    "status": null, "kind": null, "previous": null, "applied": true,
    "at": "2025-11-24T16:00:07.000Z", "attempt": null, "error": null, "expected_total": 3957,
})))]
pub struct FeedEntryBody<'a> {
    pub seq: u64,
    /// `null`: it is about the pipeline itself.
    #[schema(required, value_type = Option<words::JobId>)]
    pub job_id: Option<Cow<'a, str>>,
    #[schema(value_type = words::PipelineName)]
    pub pipeline: Cow<'a, str>,
    /// Where the job was before, if this moved it.
    #[schema(required, value_type = Option<words::PipelineName>)]
    pub previous_pipeline: Option<Cow<'a, str>>,
    /// `null`: the job was removed, or it is about a pipeline.
    #[schema(required, value_type = Option<words::Status>)]
    pub status: Option<Cow<'a, str>>,
    #[schema(required, value_type = Option<words::Kind>)]
    pub kind: Option<Cow<'a, str>>,
    /// The status before; `null`: this is the first that is known of the job.
    #[schema(required, value_type = Option<words::Status>)]
    pub previous: Option<Cow<'a, str>>,
    /// False: it came too late, and changed nothing.
    pub applied: bool,
    /// What the reporter said, or the time of the request.
    pub at: TimeBody,
    #[schema(required, value_type = Option<u64>, maximum = 4_294_967_295_u64)]
    pub attempt: Option<u32>,
    /// The error that this update gave; an update with a status and no error cleared it.
    #[schema(required, max_length = 8192)]
    pub error: Option<Cow<'a, str>>,
    /// Present only if the update gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 1024)]
    pub message: Option<Cow<'a, str>>,
    /// From 0 to 1; present only if the update gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    pub progress: Option<f64>,
    /// All labels of the job; present only if the update gave some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<words::Labels>)]
    pub labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    /// True, and present, only for an update without a status.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub heartbeat: bool,
    /// True, and present, only if the job was removed.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub deleted: bool,
    /// True, and present, only if with this as many jobs of the pipeline have finished as were
    /// expected. Said once for each expected total.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub pipeline_finished: bool,
    /// Present only if the pipeline was given an expected total, or (0) freed of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expected_total: Option<u64>,
}

/// A part of the feed, for those who ask again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Feed, examples(json!({
    "updates": [example()], "next_after": 918_273, "as_of_seq": 918_300,
})))]
pub struct FeedBody<'a> {
    pub updates: Vec<FeedEntryBody<'a>>,
    /// What to send as `after` next time: everything up to it was looked at.
    pub next_after: u64,
    /// The last durable seq.
    pub as_of_seq: u64,
}

/// An entry for the API document.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({
        "seq": 918_273, "job_id": "doc-0001", "pipeline": "pdf", "previous_pipeline": null,
        "status": "error", "kind": "failed", "previous": "processing", "applied": true,
        "at": "2025-11-24T16:00:05.000Z", "attempt": 2, "error": "ocr timed out",
    })
}

impl<'a> FeedEntryBody<'a> {
    pub fn of(operation: &'a Operation, kinds: &Kinds) -> Self {
        match operation {
            Operation::Update(change) => Self::of_change(change, kinds),
            Operation::Removal(removal) => Self::of_removal(removal),
            Operation::Expectation(expectation) => Self::of_expectation(expectation),
        }
    }

    fn of_change(it: &'a Change, kinds: &Kinds) -> Self {
        let labels = it.labels.as_ref();
        Self {
            seq: it.seq,
            job_id: Some(it.job_id.as_str().into()),
            pipeline: it.pipeline.as_str().into(),
            previous_pipeline: it.previous_pipeline.as_ref().map(|name| name.as_str().into()),
            status: Some(it.status.as_str().into()),
            kind: Some(kinds.kind(it.status).as_str().into()),
            previous: it.previous.as_ref().map(|status| status.as_str().into()),
            applied: it.applied,
            at: TimeBody(it.at),
            attempt: Some(it.attempt),
            error: it.error.as_deref().map(Cow::Borrowed),
            message: it.message.as_deref().map(Cow::Borrowed),
            progress: it.progress,
            labels: labels
                .map(|it| it.iter().map(|(name, value)| (name.into(), value.into())).collect()),
            heartbeat: it.is_heartbeat,
            deleted: false,
            pipeline_finished: it.finishes_pipeline,
            expected_total: None,
        }
    }

    fn of_removal(it: &'a Removal) -> Self {
        Self {
            job_id: Some(it.job_id.as_str().into()),
            previous: Some(it.status.as_str().into()),
            deleted: true,
            ..Self::about(it.seq, it.pipeline.as_str(), TimeBody(it.at))
        }
    }

    fn of_expectation(it: &'a Expectation) -> Self {
        Self {
            pipeline_finished: it.finishes_pipeline,
            expected_total: Some(it.total.unwrap_or(0)),
            ..Self::about(it.seq, it.pipeline.as_str(), TimeBody(it.at))
        }
    }

    fn about(seq: u64, pipeline: &'a str, at: TimeBody) -> Self {
        Self {
            seq,
            job_id: None,
            pipeline: pipeline.into(),
            previous_pipeline: None,
            status: None,
            kind: None,
            previous: None,
            applied: true,
            at,
            attempt: None,
            error: None,
            message: None,
            progress: None,
            labels: None,
            heartbeat: false,
            deleted: false,
            pipeline_finished: false,
            expected_total: None,
        }
    }
}

#[cfg(test)]
impl FeedEntryBody<'static> {
    /// An entry whose every field is present.
    pub fn with_everything() -> Self {
        Self {
            message: Some("page 12".into()),
            progress: Some(0.4),
            labels: Some(BTreeMap::new()),
            heartbeat: true,
            deleted: true,
            pipeline_finished: true,
            expected_total: Some(1),
            ..Self::about(1, "pdf", TimeBody(crate::model::TimestampMs(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobId, Kind, PipelineName, Status, TimestampMs};

    const AT: TimestampMs = TimestampMs(1_764_000_000_123);

    fn change() -> Change {
        Change {
            seq: 918_273,
            job_id: JobId::parse("doc-0001").unwrap(),
            applied: true,
            is_heartbeat: false,
            at: AT,
            status: Status::parse("error").unwrap(),
            kind: Kind::Failed,
            previous: Some(Status::parse("processing").unwrap()),
            previous_kind: Some(Kind::Running),
            pipeline: PipelineName::parse("pdf").unwrap(),
            previous_pipeline: None,
            attempt: 2,
            attempt_given: Some(2),
            error: Some("ocr timed out".into()),
            message: None,
            progress: None,
            labels: None,
            finishes_pipeline: false,
        }
    }

    fn json(operation: &Operation) -> String {
        let body = FeedEntryBody::of(operation, &Kinds::default());
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(serde_json::from_str::<FeedEntryBody<'_>>(&json).unwrap(), body);
        json
    }

    #[test]
    fn an_update_reads_as_documented() {
        let shape = concat!(
            r#"{"seq":918273,"job_id":"doc-0001","pipeline":"pdf","previous_pipeline":null,"#,
            r#""status":"error","kind":"failed","previous":"processing","applied":true,"#,
            r#""at":"2025-11-24T16:00:00.123Z","attempt":2,"error":"ocr timed out"}"#,
        );
        assert_eq!(json(&Operation::Update(change())), shape);
        let last = Operation::Update(Change { finishes_pipeline: true, ..change() });
        assert!(json(&last).ends_with(r#","pipeline_finished":true}"#));
    }

    #[test]
    fn a_removal_and_an_expectation_say_what_they_are() {
        let Change { seq, job_id, status, kind, pipeline, .. } = change();
        let removal = Removal { seq, job_id, at: AT, status, kind, pipeline: pipeline.clone() };
        let shape = concat!(
            r#"{"seq":918273,"job_id":"doc-0001","pipeline":"pdf","previous_pipeline":null,"#,
            r#""status":null,"kind":null,"previous":"error","applied":true,"#,
            r#""at":"2025-11-24T16:00:00.123Z","attempt":null,"error":null,"deleted":true}"#,
        );
        assert_eq!(json(&Operation::Removal(removal)), shape);
        let total = Some(3_957);
        let it = Expectation { seq, pipeline, at: AT, total, finishes_pipeline: false };
        assert!(json(&Operation::Expectation(it)).ends_with(r#","expected_total":3957}"#));
    }
}
