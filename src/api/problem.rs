//! Problems (RFC 9457): what went wrong with a whole call, and what the caller may do.
//!
//! ```json
//! {"type":"urn:jobslate:problem:queue_full","title":"Queue full","status":429,
//!  "code":"queue_full","detail":"...","outcome":"not_applied","retryable":true}
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::AnswerBody;
use super::words;
use crate::model::RejectionCode;
use crate::service::Outcome;

/// The media type of a problem.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// A problem on the wire. `code` is for programs and stays; `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem, examples(json!({
    "type": "urn:jobslate:problem:queue_full", "title": "Queue full", "status": 429,
    "code": "queue_full", "detail": "the queue holds 100000 updates; retry after 1 s",
    "outcome": "not_applied", "retryable": true,
}), json!({
    "type": "urn:jobslate:problem:gone", "title": "Gone", "status": 410, "code": "gone",
    "detail": "the updates after 17 are no longer held, the first held is 500; read the jobs \
               again, then go on after the as_of_seq of that",
    "retryable": false, "first_seq_held": 500, "last_seq_held": 918_273,
})))]
pub struct ProblemBody<'a> {
    /// `urn:jobslate:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(pattern = "^urn:jobslate:problem:[a-z_]+$")]
    pub kind: Cow<'a, str>,
    pub title: Cow<'a, str>,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    #[schema(value_type = words::ProblemName)]
    pub code: Cow<'a, str>,
    pub detail: Cow<'a, str>,
    /// What became of the updates; only on calls that write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub outcome: Option<OutcomeBody>,
    /// True if the same call may succeed later.
    pub retryable: bool,
    /// 0 to 100: how far the store is open; only with `opening`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, maximum = 100)]
    pub percent: Option<u8>,
    /// The first seq that the feed holds; only with `gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub first_seq_held: Option<u64>,
    /// The last seq that the feed holds; only with `gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_seq_held: Option<u64>,
    /// The counters and reasons, beside the other members; only if the writer refused every update.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub answer: Option<AnswerBody<'a>>,
}

/// What became of the updates of a refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Outcome, examples(json!("not_applied")))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeBody {
    /// Nothing was applied: retry freely.
    NotApplied,
    /// It may be on disk: retry with an idempotency key.
    Unknown,
}

impl From<Outcome> for OutcomeBody {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotApplied => Self::NotApplied,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

macro_rules! problem_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal $status:literal $retryable:literal
        $title:literal,)*) => {
        /// The stable names of problems, each with its HTTP status and title; API for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemCode {
            $($(#[$doc])* $variant,)*
            /// The one update of the call was refused.
            Rejected(RejectionCode),
        }

        impl ProblemCode {
            /// All but the codes of rejections.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Rejected(code) => code.as_str(),
                }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                    Self::Rejected(RejectionCode::UnknownJob) => 404,
                    Self::Rejected(RejectionCode::StatusConflict) => 409,
                    Self::Rejected(_) => 422,
                }
            }

            /// A few words for people, the same for every problem with this code.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                    Self::Rejected(RejectionCode::UnknownJob) => "Unknown job",
                    Self::Rejected(RejectionCode::StatusConflict) => "Status conflict",
                    Self::Rejected(_) => "Update rejected",
                }
            }

            /// True if the same call may succeed later.
            pub fn is_retryable(self) -> bool {
                match self {
                    $(Self::$variant => $retryable,)*
                    Self::Rejected(_) => false,
                }
            }
        }
    };
}

problem_codes! {
    /// The body cannot be parsed as a whole, or holds no update.
    InvalidBody = "invalid_body" 400 false "Invalid body",
    /// A request that could be read in two ways, or cannot be read at all.
    MalformedRequest = "malformed_request" 400 false "Malformed request",
    InvalidQuery = "invalid_query" 400 false "Invalid query",
    InvalidIdempotencyKey = "invalid_idempotency_key" 400 false "Invalid idempotency key",
    /// The cursor is broken, or belongs to another query or store.
    BadCursor = "bad_cursor" 400 false "Bad cursor",
    AckMustBeDurable = "ack_must_be_durable" 400 false "The acknowledgement must be durable",
    /// A page of another site sent it.
    ForeignOrigin = "foreign_origin" 403 false "Foreign origin",
    NotFound = "not_found" 404 false "Not found",
    /// A pipeline without a job and without an expected total.
    UnknownPipeline = "unknown_pipeline" 404 false "Unknown pipeline",
    MethodNotAllowed = "method_not_allowed" 405 false "Method not allowed",
    /// The feed no longer holds what was asked for, or never did.
    Gone = "gone" 410 false "Gone",
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout" 408 true "Body timeout",
    /// More bytes than `body_bytes_max`, after decompression.
    BodyTooLarge = "body_too_large" 413 false "Body too large",
    /// More than one batch may hold.
    RequestTooLarge = "request_too_large" 413 false "Request too large",
    UnsupportedMediaType = "unsupported_media_type" 415 false "Unsupported media type",
    /// `Host` names none of this server's names.
    MisdirectedRequest = "misdirected_request" 421 false "Misdirected request",
    /// Every update of the call was refused.
    AllRejected = "all_rejected" 422 false "All updates rejected",
    InvalidExpectedTotal = "invalid_expected_total" 422 false "Invalid expected total",
    IdempotencyKeyReused = "idempotency_key_reused" 422 false "Idempotency key reused",
    /// The head of the request is above 32 KiB, or has more than 100 headers.
    HeadTooLarge = "head_too_large" 431 false "Request head too large",
    QueueFull = "queue_full" 429 true "Queue full",
    /// The bodies that are being read hold `bodies_bytes_max` bytes together.
    BodiesFull = "bodies_full" 429 true "Too many bodies at once",
    /// The answers that wait for slow readers hold `answers_bytes_max` bytes together.
    AnswersFull = "answers_full" 429 true "Too many long answers at once",
    /// More streams of the feed than `watchers_max`.
    TooManyWatchers = "too_many_watchers" 429 true "Too many watchers",
    /// One check at a time.
    CheckRunning = "check_running" 429 true "A check is running",
    /// One backup at a time.
    BackupRunning = "backup_running" 429 true "A backup is running",
    Internal = "internal" 500 false "Internal error",
    CorruptRecord = "corrupt_record" 500 false "Corrupt record",
    /// The store is not open yet.
    Opening = "opening" 503 true "Opening",
    Draining = "draining" 503 true "Draining",
    /// More than `connections_max` connections are open.
    TooManyConnections = "too_many_connections" 503 true "Too many connections",
    StorageFailed = "storage_failed" 503 true "Storage failed",
    StorageFull = "storage_full" 507 true "Storage full",
}

impl ProblemCode {
    /// The code with this name.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::ALL.iter().copied().find(|code| code.as_str() == text);
        named.or_else(|| RejectionCode::parse(text).map(Self::Rejected))
    }

    /// The problem with this code and nothing that only some problems have.
    pub fn body<'a>(self, detail: impl Into<Cow<'a, str>>) -> ProblemBody<'a> {
        ProblemBody {
            kind: format!("urn:jobslate:problem:{}", self.as_str()).into(),
            title: self.title().into(),
            status: self.status(),
            code: self.as_str().into(),
            detail: detail.into(),
            outcome: None,
            retryable: self.is_retryable(),
            percent: None,
            first_seq_held: None,
            last_seq_held: None,
            answer: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name() {
        for code in ProblemCode::ALL {
            assert_eq!(ProblemCode::parse(code.as_str()), Some(*code));
        }
        let conflict = ProblemCode::Rejected(RejectionCode::StatusConflict);
        assert_eq!(ProblemCode::parse("status_conflict"), Some(conflict));
        assert_eq!(ProblemCode::parse("nothing"), None);
    }

    #[test]
    fn a_problem_reads_as_documented_and_comes_back() {
        let mut body = ProblemCode::QueueFull.body("wait");
        body.outcome = Some(OutcomeBody::NotApplied);
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(
            json,
            r#"{"type":"urn:jobslate:problem:queue_full","title":"Queue full","status":429,"#
                .to_owned()
                + r#""code":"queue_full","detail":"wait","outcome":"not_applied","#
                + r#""retryable":true}"#
        );
        assert_eq!(serde_json::from_str::<ProblemBody<'_>>(&json).unwrap(), body);
    }

    #[test]
    fn the_counters_stand_beside_the_members() {
        let answer = crate::model::Answer { rejected: 2, ..Default::default() };
        let mut body = ProblemCode::AllRejected.body("nothing was accepted");
        body.answer = Some(AnswerBody::of(&answer));
        let json = serde_json::to_value(&body).unwrap();
        assert_eq!((&json["rejected"], &json["accepted"]), (&2.into(), &0.into()));
        assert_eq!(serde_json::from_value::<ProblemBody<'_>>(json).unwrap(), body);
    }
}
