//! Pipelines: how far they are, how fast they go, and when they will be done.
//!
//! ```json
//! {"pipeline":"pdf","total":3957,"by_status":{"completed":3900,"error":15,"processing":42},
//!  "by_kind":{"failed":15,"running":42,"succeeded":3900},"expected_total":4000,
//!  "finished":3915,"percent":97.8,"finished_seq":null,"rate_per_s":12.5,
//!  "estimated_end":"2025-11-24T16:00:06.800Z",
//!  "oldest_running":{"job_id":"doc-0007","status":"processing","updated_at":"..."},
//!  "last_error":{"job_id":"doc-0001","status":"error","error":"ocr timed out",
//!                "updated_at":"..."}}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::counts::{by_kind, by_status};
use super::scalar::Scalar;
use super::time::TimeBody;
use super::words;
use crate::model::{JobId, JobRecord, Kinds};
use crate::service::{PipelineSummary, PipelinesPage};

/// One pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pipeline, examples(json!(example())))]
pub struct PipelineBody<'a> {
    #[schema(value_type = words::PipelineName)]
    pub pipeline: Cow<'a, str>,
    /// Jobs that it has.
    pub total: u64,
    #[schema(value_type = BTreeMap<words::Status, u64>)]
    pub by_status: BTreeMap<Cow<'a, str>, u64>,
    #[schema(value_type = BTreeMap<words::Kind, u64>)]
    pub by_kind: BTreeMap<Cow<'a, str>, u64>,
    /// Jobs that are expected to finish; `null`: nobody said.
    #[schema(required)]
    pub expected_total: Option<u64>,
    /// Jobs that have finished, however they ended.
    pub finished: u64,
    /// `finished` of `expected_total`, or of `total` where nothing is expected; 0 to 100, with one
    /// decimal. `null`: there is nothing to finish.
    #[schema(required, minimum = 0, maximum = 100)]
    pub percent: Option<f64>,
    /// The update that finished it; `null`: fewer jobs have finished than are expected, or nothing
    /// is expected.
    #[schema(required)]
    pub finished_seq: Option<u64>,
    /// Jobs finished per second, over the last 100 of them and until now; `null`: none has.
    #[schema(required, minimum = 0)]
    pub rate_per_s: Option<f64>,
    /// When the rest will have finished at that rate; `null`: there is no rest, or no rate.
    #[schema(required)]
    pub estimated_end: Option<TimeBody>,
    /// The running job that was updated longest ago; `null`: none runs.
    #[schema(required)]
    pub oldest_running: Option<PipelineJobBody<'a>>,
    /// The failed job that was updated last; `null`: none has failed.
    #[schema(required)]
    pub last_error: Option<PipelineJobBody<'a>>,
}

/// A job of a pipeline that somebody should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = PipelineJob, examples(json!({
    "job_id": "doc-0001", "status": "error", "error": "ocr timed out",
    "updated_at": "2025-11-24T16:00:05.012Z",
})))]
pub struct PipelineJobBody<'a> {
    #[schema(value_type = words::JobId)]
    pub job_id: Cow<'a, str>,
    #[schema(value_type = words::Status)]
    pub status: Cow<'a, str>,
    #[schema(required, max_length = 8192)]
    pub error: Option<Cow<'a, str>>,
    pub updated_at: TimeBody,
}

/// `{"pipelines":[...],"next":"name-or-null","as_of_seq":918273}`, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pipelines, examples(json!({
    "pipelines": [example()], "next": null, "as_of_seq": 918_273,
})))]
pub struct PipelinesBody<'a> {
    #[schema(max_items = 1000)]
    pub pipelines: Vec<PipelineBody<'a>>,
    /// What to send as `after` for the next page; `null` at the end.
    #[schema(required, value_type = Option<words::PipelineName>)]
    pub next: Option<Cow<'a, str>>,
    /// The last update that the answer reflects.
    pub as_of_seq: u64,
}

/// `{"expected_total":3957}`; `null`: expect nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Expect, examples(json!({"expected_total": 3957}), json!({"expected_total": null})))]
#[serde(deny_unknown_fields)]
pub struct ExpectBody {
    /// 1 to 1,000,000,000,000 jobs.
    #[serde(deserialize_with = "total")]
    #[schema(required, minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub expected_total: Option<u64>,
}

/// A whole number, however it is written, or `null`. It must be there: an empty object would else
/// take back what is expected.
fn total<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Scalar::deserialize(deserializer)?;
    let total = match value {
        Scalar::Null => return Ok(None),
        Scalar::Integer(total) => u64::try_from(total).ok(),
        _ => None,
    };
    total.map(Some).ok_or_else(|| {
        let detail = format!("expected_total is {value}; send a whole number of jobs, or null");
        D::Error::custom(detail)
    })
}

/// A pipeline for the API document.
fn example() -> serde_json::Value {
    json!({
        "pipeline": "pdf", "total": 3957,
        "by_status": {"completed": 3900, "error": 15, "processing": 42},
        "by_kind": {"failed": 15, "running": 42, "succeeded": 3900}, "expected_total": 4000,
        "finished": 3915, "percent": 97.8, "finished_seq": null, "rate_per_s": 12.5,
        "estimated_end": "2025-11-24T16:00:06.800Z",
        "oldest_running": {
            "job_id": "doc-0007", "status": "processing", "error": null,
            "updated_at": "2025-11-24T15:58:00.000Z",
        },
        "last_error": {
            "job_id": "doc-0001", "status": "error", "error": "ocr timed out",
            "updated_at": "2025-11-24T16:00:05.012Z",
        },
    })
}

impl<'a> PipelineBody<'a> {
    pub fn of(it: &'a PipelineSummary, kinds: &Kinds) -> Self {
        Self {
            pipeline: it.name.as_str().into(),
            total: it.total(),
            by_status: by_status(&it.by_status),
            by_kind: by_kind(&it.by_status, kinds),
            expected_total: it.expected.map(|expected| expected.total),
            finished: it.finished,
            percent: it.percent(),
            finished_seq: it.expected.and_then(|expected| expected.finished_seq),
            rate_per_s: it.rate_per_s.map(rounded),
            estimated_end: it.estimated_end.map(TimeBody),
            oldest_running: it.oldest_running.as_ref().map(PipelineJobBody::of),
            last_error: it.last_error.as_ref().map(PipelineJobBody::of),
        }
    }
}

/// Four significant digits: a job in a week is a rate, too.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.3e}").parse().unwrap_or(rate)
}

impl<'a> PipelineJobBody<'a> {
    fn of((job_id, record): &'a (JobId, std::sync::Arc<JobRecord>)) -> Self {
        Self {
            job_id: job_id.as_str().into(),
            status: record.status.as_str().into(),
            error: record.error.as_deref().map(Cow::Borrowed),
            updated_at: TimeBody(record.updated_at),
        }
    }
}

impl<'a> PipelinesBody<'a> {
    pub fn of(page: &'a PipelinesPage, kinds: &Kinds) -> Self {
        Self {
            pipelines: page.pipelines.iter().map(|it| PipelineBody::of(it, kinds)).collect(),
            next: page.next.as_ref().map(|name| name.as_str().into()),
            as_of_seq: page.as_of_seq,
        }
    }
}
