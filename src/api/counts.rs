//! How many jobs there are, and where.
//!
//! ```json
//! {"total":3957,"by_status":{"completed":3900,"error":15,"processing":30,"queued":12},
//!  "by_kind":{"failed":15,"running":30,"succeeded":3900,"waiting":12},
//!  "by_pipeline":{"pdf":{"total":3957,"by_status":{"completed":3900,"...":57}}},
//!  "as_of_seq":918273}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words;
use crate::model::{Counts, Kinds, Status};

/// Numbers of jobs; words and pipelines that have none are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Counts, examples(json!({
    "total": 3957,
    "by_status": {"completed": 3900, "error": 15, "processing": 30, "queued": 12},
    "by_kind": {"failed": 15, "running": 30, "succeeded": 3900, "waiting": 12},
    "by_pipeline": {"pdf": {"total": 3957, "by_status": {
        "completed": 3900, "error": 15, "processing": 30, "queued": 12,
    }}},
    "as_of_seq": 918_273,
})))]
pub struct CountsBody<'a> {
    pub total: u64,
    #[schema(value_type = BTreeMap<words::Status, u64>)]
    pub by_status: BTreeMap<Cow<'a, str>, u64>,
    #[schema(value_type = BTreeMap<words::Kind, u64>)]
    pub by_kind: BTreeMap<Cow<'a, str>, u64>,
    #[schema(value_type = BTreeMap<words::PipelineName, PipelineCountsBody<'a>>)]
    pub by_pipeline: BTreeMap<Cow<'a, str>, PipelineCountsBody<'a>>,
    /// The last update that the numbers reflect.
    pub as_of_seq: u64,
}

/// The part of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PipelineCounts, examples(
    json!({"total": 42, "by_status": {"processing": 30, "queued": 12}}),
))]
pub struct PipelineCountsBody<'a> {
    pub total: u64,
    #[schema(value_type = BTreeMap<words::Status, u64>)]
    pub by_status: BTreeMap<Cow<'a, str>, u64>,
}

impl<'a> CountsBody<'a> {
    /// The numbers as of `as_of_seq`. Allocates for each pipeline.
    pub fn of(counts: &'a Counts, as_of_seq: u64, kinds: &Kinds) -> Self {
        let pipelines = counts.by_pipeline().iter().map(|(name, statuses)| {
            let total = statuses.values().sum();
            let body = PipelineCountsBody { total, by_status: by_status(statuses) };
            (name.as_str().into(), body)
        });
        Self {
            total: counts.total(),
            by_status: by_status(counts.by_status()),
            by_kind: by_kind(counts.by_status(), kinds),
            by_pipeline: pipelines.collect(),
            as_of_seq,
        }
    }
}

pub(super) fn by_status(statuses: &BTreeMap<Status, u64>) -> BTreeMap<Cow<'_, str>, u64> {
    statuses.iter().map(|(status, jobs)| (status.as_str().into(), *jobs)).collect()
}

/// The same numbers by what the statuses mean.
pub(super) fn by_kind(
    statuses: &BTreeMap<Status, u64>,
    kinds: &Kinds,
) -> BTreeMap<Cow<'static, str>, u64> {
    let mut by_kind = BTreeMap::<Cow<'static, str>, u64>::new();
    for (status, jobs) in statuses {
        *by_kind.entry(kinds.kind(*status).as_str().into()).or_default() += jobs;
    }
    by_kind
}
