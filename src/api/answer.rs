//! What became of the updates of a call.
//!
//! ```json
//! {"accepted":998,"applied":990,"stale":6,"merged":2,"rejected":2,"durable":true,
//!  "first_seq":917278,"last_seq":918273,
//!  "errors":[{"index":17,"job_id":"..","code":"invalid_status",
//!             "detail":"status is \"a b\"; use [a-z0-9_.-]{1,32}"}]}
//! ```
//!
//! With `ack=queued` only this is known:
//! `{"accepted":998,"rejected":2,"durable":false,"errors":[...]}`.

use std::borrow::Cow;
use std::ops::Not;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words;
use crate::model::{Answer, Rejection};

/// The answer to a durable call. `accepted = applied + stale + merged`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Answer, examples(json!({
    "accepted": 998, "applied": 990, "stale": 6, "merged": 2, "rejected": 2, "durable": true,
    "first_seq": 917_278, "last_seq": 918_275, "errors": [{
        "index": 17, "job_id": "doc-0017", "code": "invalid_status",
        "detail": "status is \"a b\"; use [a-z0-9_.-]{1,32}",
    }, {
        "index": 40, "job_id": "doc-0040", "code": "unknown_job",
        "detail": "no job of this name was reported",
    }],
})))]
pub struct AnswerBody<'a> {
    pub accepted: u64,
    pub applied: u64,
    pub stale: u64,
    pub merged: u64,
    pub rejected: u64,
    pub durable: bool,
    /// `null`: no update of the call took a seq.
    #[schema(required)]
    pub first_seq: Option<u64>,
    #[schema(required)]
    pub last_seq: Option<u64>,
    /// At most 100, by index.
    #[schema(max_items = 100)]
    pub errors: Vec<RejectionBody<'a>>,
    /// True, and present, only if there were more than 100.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub errors_truncated: bool,
}

/// The answer to a queued call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Queued, examples(
    json!({"accepted": 998, "rejected": 0, "durable": false, "errors": []}),
))]
pub struct QueuedBody<'a> {
    pub accepted: u64,
    pub rejected: u64,
    /// Always false: ask `POST /v1/flush`.
    pub durable: bool,
    #[schema(max_items = 100)]
    pub errors: Vec<RejectionBody<'a>>,
    #[serde(default, skip_serializing_if = "Not::not")]
    pub errors_truncated: bool,
}

/// Why one update was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Rejection, examples(json!({
    "index": 17, "job_id": "doc-0017", "code": "invalid_status",
    "detail": "status is \"a b\"; use [a-z0-9_.-]{1,32}",
})))]
pub struct RejectionBody<'a> {
    /// Its place in the call: array elements or non-empty lines, from 0.
    pub index: u32,
    /// `null`: it could not be read.
    #[schema(required)]
    pub job_id: Option<Cow<'a, str>>,
    #[schema(value_type = words::RejectionName)]
    pub code: Cow<'a, str>,
    pub detail: Cow<'a, str>,
}

impl<'a> AnswerBody<'a> {
    /// The whole answer.
    pub fn of(answer: &'a Answer) -> Self {
        Self {
            accepted: answer.accepted,
            applied: answer.applied,
            stale: answer.stale,
            merged: answer.merged,
            rejected: answer.rejected,
            durable: answer.durable,
            first_seq: answer.seqs.map(|(first, _)| first),
            last_seq: answer.seqs.map(|(_, last)| last),
            errors: answer.errors.iter().map(RejectionBody::of).collect(),
            errors_truncated: answer.errors_truncated,
        }
    }
}

impl<'a> QueuedBody<'a> {
    /// The part of the answer that is known at admission.
    pub fn of(answer: &'a Answer) -> Self {
        Self {
            accepted: answer.accepted,
            rejected: answer.rejected,
            durable: false,
            errors: answer.errors.iter().map(RejectionBody::of).collect(),
            errors_truncated: answer.errors_truncated,
        }
    }
}

impl<'a> RejectionBody<'a> {
    fn of(rejection: &'a Rejection) -> Self {
        Self {
            index: rejection.index,
            job_id: rejection.job_id.as_deref().map(Cow::Borrowed),
            code: rejection.code.as_str().into(),
            detail: (&*rejection.detail).into(),
        }
    }
}
