//! Which problems each call may answer: one catalogue, from which the document gets its statuses.
//!
//! The statuses, the codes under each and their texts come from [`ProblemCode`]; what is said here
//! is only which codes a call can meet. A handler names its row: `responses(..., refusals::List)`.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use crate::api::schema::Refused;
use crate::api::{PROBLEM_MEDIA_TYPE, ProblemBody, ProblemCode};
use crate::model::RejectionCode;

use ProblemCode::{
    AckMustBeDurable, AllRejected, AnswersFull, BackupRunning, BadCursor, BodiesFull, BodyTimeout,
    BodyTooLarge, CheckRunning, CorruptRecord, Draining, ForeignOrigin, Gone, HeadTooLarge,
    IdempotencyKeyReused, Internal, InvalidBody, InvalidExpectedTotal, InvalidIdempotencyKey,
    InvalidQuery, MalformedRequest, MisdirectedRequest, NotFound, Opening, QueueFull, Rejected,
    RequestTooLarge, StorageFailed, StorageFull, TooManyConnections, TooManyWatchers,
    UnknownPipeline, UnsupportedMediaType,
};

/// What any request may meet, before anybody looks at what it asks for.
const HEAD: &[ProblemCode] = &[MalformedRequest, ForeignOrigin, MisdirectedRequest, HeadTooLarge];

/// What any call of the API may meet.
const ANY: &[ProblemCode] = &[
    MalformedRequest,
    ForeignOrigin,
    MisdirectedRequest,
    HeadTooLarge,
    InvalidQuery,
    Internal,
    CorruptRecord,
    Opening,
    Draining,
    TooManyConnections,
    StorageFailed,
    StorageFull,
];

/// What a call with a body may meet beside.
const BODY: &[ProblemCode] =
    &[InvalidBody, BodyTimeout, BodyTooLarge, UnsupportedMediaType, BodiesFull];

/// What a call that the writer decides may meet beside.
const DECIDED: &[ProblemCode] =
    &[InvalidIdempotencyKey, IdempotencyKeyReused, AllRejected, QueueFull];

/// What a call with updates may meet beside.
const UPDATES: &[ProblemCode] = &[AckMustBeDurable, RequestTooLarge];

/// A job that the path names. An empty id is another path.
const NAMED: &[ProblemCode] = &[Rejected(RejectionCode::InvalidJobId), NotFound];

/// A pipeline that the path names.
const PIPELINE: &[ProblemCode] = &[Rejected(RejectionCode::InvalidPipeline), NotFound];

const UNKNOWN: &[ProblemCode] = &[Rejected(RejectionCode::UnknownJob)];

/// The one update of a call, refused for a reason of its own.
const ONE: &[ProblemCode] = &[
    Rejected(RejectionCode::InvalidUpdate),
    Rejected(RejectionCode::UnknownField),
    Rejected(RejectionCode::InvalidStatus),
    Rejected(RejectionCode::UnknownStatus),
    Rejected(RejectionCode::InvalidPipeline),
    Rejected(RejectionCode::InvalidTime),
    Rejected(RejectionCode::InvalidAttempt),
    Rejected(RejectionCode::InvalidProgress),
    Rejected(RejectionCode::InvalidLabels),
    Rejected(RejectionCode::StatusConflict),
    Rejected(RejectionCode::TooManyPipelines),
    Rejected(RejectionCode::TooManyStatuses),
    Rejected(RejectionCode::CorruptRecord),
];

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $effect:ident = $($codes:expr),+;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let rows: &[&[ProblemCode]] = &[$($codes),+];
                responses(Effect::$effect, rows.concat())
            }
        }
    )*};
}

refusals! {
    Read: Reads = ANY, &[AnswersFull];
    Job: Reads = ANY, &[AnswersFull], NAMED, UNKNOWN;
    List: Reads = ANY, &[AnswersFull, BadCursor];
    Lookup: Reads = ANY, BODY, &[
        AnswersFull, RequestTooLarge, Rejected(RejectionCode::InvalidJobId),
    ];
    Feed: Reads = ANY, &[AnswersFull, Gone, TooManyWatchers];
    Pipeline: Reads = ANY, &[AnswersFull], PIPELINE, &[UnknownPipeline];
    Check: Reads = ANY, &[AnswersFull, CheckRunning];
    Backup: Reads = ANY, &[BackupRunning];
    Ready: Reads = HEAD, &[Opening, Draining, StorageFailed, StorageFull];
    Alive: Reads = HEAD;
    Always: Reads = HEAD, &[AnswersFull, TooManyConnections];
    Flush: Writes = ANY;
    Prune: Writes = ANY, &[UnsupportedMediaType];
    Updates: Updates = ANY, BODY, DECIDED, UPDATES;
    Put: Updates = ANY, BODY, DECIDED, UPDATES, NAMED, UNKNOWN, ONE;
    Delete: Updates = ANY, BODY, DECIDED, NAMED, UNKNOWN, &[Rejected(RejectionCode::CorruptRecord)];
    Expect: Updates = ANY, BODY, DECIDED, PIPELINE,
        &[InvalidExpectedTotal, Rejected(RejectionCode::TooManyPipelines)];
}

/// What a call would have done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    /// Its problems say what became of it.
    Writes,
    /// Its refusals may also carry the counters of an answer, and come again under a key.
    Updates,
}

fn responses(effect: Effect, codes: Vec<ProblemCode>) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<ProblemCode>>::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code);
    }
    let response = |(status, codes): (u16, Vec<_>)| {
        (status.to_string(), RefOr::T(response(effect, status, &codes)))
    };
    by_status.into_iter().map(response).collect()
}

fn response(effect: Effect, status: u16, codes: &[ProblemCode]) -> Response {
    let line = |code: &ProblemCode| format!("* `{}`: {}", code.as_str(), code.title());
    let description = codes.iter().map(line).collect::<Vec<_>>().join("\n");
    let is_judged = |code: &&ProblemCode| matches!(code, AllRejected | Rejected(_));
    let may_answer = effect == Effect::Updates && codes.iter().any(|code| is_judged(&code));
    let words = ObjectBuilder::new().schema_type(Type::String);
    let words = words.enum_values(Some(codes.iter().map(|code| code.as_str())));
    let number = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status]));
    let narrowed = ObjectBuilder::new().property("status", number).property("code", words);
    let narrowed = if effect == Effect::Reads { narrowed } else { narrowed.required("outcome") };
    let problem = Ref::from_schema_name(ProblemBody::name());
    let schema = AllOfBuilder::new();
    let schema = if may_answer {
        let refused = Ref::from_schema_name(Refused::name());
        schema.item(AnyOfBuilder::new().item(refused).item(problem))
    } else {
        schema.item(problem)
    };
    let schema = schema.item(narrowed);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response = ResponseBuilder::new().description(description);
    response = response.content(PROBLEM_MEDIA_TYPE, content);
    if codes.iter().all(|code| code.is_retryable() && code.status() != 408) {
        response = response.header("Retry-After", retry_after());
    }
    if may_answer {
        response = response.header("Idempotent-Replayed", super::params::replayed());
    }
    response.build()
}

/// Required, which the type of the library cannot say.
fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let required = Extensions::from_iter([("required", json!(true))]);
    HeaderBuilder::new()
        .schema(Some(seconds))
        .description(Some("Seconds to wait before the same call is sent again."))
        .extensions(Some(required))
        .build()
}
