//! One page of jobs: `{"jobs":[...],"next":"opaque-cursor-or-null","as_of_seq":918273}`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::JobBody;
use crate::model::{JobId, JobRecord, Kinds, Page};

/// One page of a walk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = List, examples(json!({
    "jobs": [super::job::example()], "next": null, "as_of_seq": 918_273,
})))]
pub struct ListBody<'a> {
    pub jobs: Vec<JobBody<'a>>,
    /// What to send as `cursor` for the next page; `null` at the end of the walk.
    #[schema(required)]
    pub next: Option<String>,
    /// The last update that the walk reflects.
    pub as_of_seq: u64,
}

impl<'a> ListBody<'a> {
    /// The page under its encoded cursor.
    pub fn of(page: &'a Page, next: Option<String>, kinds: &Kinds) -> Self {
        let body = |job: &'a (JobId, Arc<JobRecord>)| {
            JobBody::of(&job.0, &job.1, kinds.kind(job.1.status))
        };
        Self { jobs: page.jobs.iter().map(body).collect(), next, as_of_seq: page.as_of_seq }
    }
}
