//! Many jobs by their ids: `{"job_ids":["doc-0001",17]}` gives
//! `{"found":[...],"missing":["17"],"as_of_seq":918273}`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::JobBody;
use super::scalar::IdText;
use super::words;
use crate::model::{JobId, Kinds, Lookup};

/// What is looked for: at most 1,000 ids. A JSON integer is taken for its decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LookupRequest, examples(json!({"job_ids": ["doc-0001", 17]})))]
#[serde(deny_unknown_fields)]
pub struct LookupRequestBody {
    #[schema(value_type = Vec<words::SentJobId>, max_items = 1000)]
    pub job_ids: Vec<IdText>,
}

/// What was found, in the order of the request; an id that was given twice stands here once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Lookup, examples(json!({
    "found": [super::job::example()], "missing": ["17"], "as_of_seq": 918_273,
})))]
pub struct LookupBody<'a> {
    #[schema(max_items = 1000)]
    pub found: Vec<JobBody<'a>>,
    #[schema(value_type = Vec<words::JobId>, max_items = 1000)]
    pub missing: Vec<String>,
    /// The last update that the answer reflects.
    pub as_of_seq: u64,
}

impl<'a> LookupBody<'a> {
    /// The answer for `job_ids`, of which `lookup` has one record each.
    pub fn of(job_ids: &'a [JobId], lookup: &'a Lookup, kinds: &Kinds) -> Self {
        let mut body = Self { found: vec![], missing: vec![], as_of_seq: lookup.as_of_seq };
        for (job_id, record) in job_ids.iter().zip(&lookup.records) {
            match record {
                Some(it) => body.found.push(JobBody::of(job_id, it, kinds.kind(it.status))),
                None => body.missing.push(job_id.as_str().to_owned()),
            }
        }
        body
    }
}
