//! Every refusal as `application/problem+json`: one map from errors to codes.
//!
//! `detail` says what was wrong and what would be right. A `5xx` never shows what is inside: its
//! cause goes to the log.

use std::any::Any;
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Method, Response, StatusCode, Uri};
use axum::response::IntoResponse;

use crate::api::{AnswerBody, OutcomeBody, PROBLEM_MEDIA_TYPE, ProblemCode};
use crate::model::{Answer, Clock};
use crate::service::SubmitError;
use crate::store::{StoreError, panic_text};
use crate::telemetry;
use crate::telemetry::pressure::Limiter;

/// What went wrong with one call.
#[derive(Debug)]
pub(super) struct Problem {
    pub code: ProblemCode,
    pub detail: Cow<'static, str>,
    /// Set on every call that writes, and on no other.
    pub outcome: Option<OutcomeBody>,
    pub retry_after_s: Option<u64>,
    /// How far the store is open.
    pub percent: Option<u8>,
    /// The first and last seq that the feed holds.
    pub held: Option<(u64, u64)>,
    /// The counters, if the writer has judged the updates.
    pub answer: Option<Box<Answer>>,
}

impl Problem {
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self {
            code,
            detail,
            outcome: None,
            retry_after_s: None,
            percent: None,
            held: None,
            answer: None,
        }
    }

    /// Says that nothing was applied, unless more is known already.
    pub fn not_applied(mut self) -> Self {
        self.outcome.get_or_insert(OutcomeBody::NotApplied);
        self
    }

    /// For a call that reached no handler: one that would have written has written nothing.
    pub fn of(self, method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) { self } else { self.not_applied() }
    }

    /// Refuses `HEAD`, which axum hands to `GET`, where the answer costs a read of the whole store.
    pub fn unless_get(method: &Method) -> Result<(), Self> {
        if method == Method::GET {
            return Ok(());
        }
        Err(Self::new(ProblemCode::MethodNotAllowed, "it costs as much as GET: send that"))
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn with_answer(mut self, answer: Answer) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    pub fn draining() -> Self {
        let detail = "the server is stopping; send it again, to its successor";
        Self::new(ProblemCode::Draining, detail).retry_after(1)
    }

    pub fn storage_failed() -> Self {
        let detail = "the store failed; its operator finds the cause in the log";
        Self::new(ProblemCode::StorageFailed, detail).retry_after(10)
    }

    pub fn storage_full() -> Self {
        let detail = "the disk of the store is full; it takes updates again when there is room";
        Self::new(ProblemCode::StorageFull, detail).retry_after(10)
    }

    pub fn internal() -> Self {
        Self::new(ProblemCode::Internal, "a fault of the server; the log has more")
    }
}

impl From<SubmitError> for Problem {
    /// For calls that write: the outcome is always set.
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        let problem = match error {
            SubmitError::QueueFull { retry_after, .. } => {
                let seconds = retry_after.as_secs().max(1);
                Self::new(ProblemCode::QueueFull, detail).retry_after(seconds)
            }
            SubmitError::TooLarge { .. } => Self::new(ProblemCode::RequestTooLarge, detail),
            SubmitError::Draining => Self::draining(),
            SubmitError::AckMustBeDurable => Self::new(ProblemCode::AckMustBeDurable, detail),
            // No call asks for both.
            SubmitError::Mixed => Self::new(ProblemCode::Internal, detail),
            SubmitError::KeyReused => Self::new(ProblemCode::IdempotencyKeyReused, detail),
            SubmitError::Rejected(rejection) => {
                Self::new(ProblemCode::Rejected(rejection.code), String::from(rejection.detail))
            }
            SubmitError::StoreFailed { outcome, source } => {
                let mut problem = Self::from(source);
                problem.outcome = Some(outcome.into());
                problem
            }
        };
        problem.not_applied()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        log_store_error(&error);
        match error {
            StoreError::Failed(_) | StoreError::Panicked(_) => Self::storage_failed(),
            StoreError::Full(_) => Self::storage_full(),
            StoreError::CorruptRecord { .. } => {
                let detail = "a record is not what was written; `jobslate check` names it";
                Self::new(ProblemCode::CorruptRecord, detail)
            }
        }
    }
}

/// Between two lines of a kind: each reader may meet the same error again and again.
const LOG_GAP: Duration = Duration::from_secs(1);

fn log_store_error(error: &StoreError) {
    static CORRUPT: Mutex<Limiter> = Mutex::new(Limiter::new(LOG_GAP));
    static OTHERS: Mutex<Limiter> = Mutex::new(Limiter::new(LOG_GAP));
    let limiter =
        if matches!(error, StoreError::CorruptRecord { .. }) { &CORRUPT } else { &OTHERS };
    if passes(limiter) {
        tracing::error!(event = telemetry::CALL_FAILED, %error, "A call met an error of the store");
    }
}

fn passes(limiter: &Mutex<Limiter>) -> bool {
    limiter.lock().unwrap_or_else(PoisonError::into_inner).pass(Clock::System.monotonic())
}

impl Problem {
    /// The problem on the wire.
    pub fn json(&self) -> String {
        let mut body = self.code.body(&*self.detail);
        body.outcome = self.outcome;
        body.percent = self.percent;
        (body.first_seq_held, body.last_seq_held) = self.held.unzip();
        body.answer = self.answer.as_deref().map(AnswerBody::of);
        // Strings and numbers alone: there is nothing that JSON cannot say.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let status = StatusCode::from_u16(self.code.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer to a read whose handler panicked.
pub(super) fn read_panicked(panic: Box<dyn Any + Send>) -> axum::response::Response {
    log_panic(panic.as_ref());
    Problem::internal().into_response()
}

/// The answer to a write whose handler panicked: the updates may be on their way.
pub(super) fn write_panicked(panic: Box<dyn Any + Send>) -> axum::response::Response {
    log_panic(panic.as_ref());
    let mut problem = Problem::internal();
    problem.outcome = Some(OutcomeBody::Unknown);
    problem.into_response()
}

/// The panic itself is in the log already.
fn log_panic(panic: &(dyn Any + Send)) {
    static LIMITER: Mutex<Limiter> = Mutex::new(Limiter::new(LOG_GAP));
    if !passes(&LIMITER) {
        return;
    }
    let text = panic_text(panic);
    tracing::error!(event = telemetry::HANDLER_PANICKED, panic = text, "A handler panicked");
}

pub(super) async fn not_found(method: Method, uri: Uri) -> Problem {
    let detail = if uri.path().starts_with("/v1/jobs/") {
        "no such path; a slash in a job id is %2F, and a job id is not empty"
    } else {
        "no such path; the API begins at /v1"
    };
    Problem::new(ProblemCode::NotFound, detail).of(&method)
}

pub(super) async fn method_not_allowed(method: Method) -> Problem {
    let detail = "this path does not take this method; the Allow header lists what it takes";
    Problem::new(ProblemCode::MethodNotAllowed, detail).of(&method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Rejection, RejectionCode};
    use crate::service::Outcome;

    #[test]
    fn a_refused_submission_is_retryable_on_the_wire_if_it_is_inside() {
        let failed = |source| SubmitError::StoreFailed { outcome: Outcome::Unknown, source };
        let (key, what) = ("k".to_owned(), "torn".to_owned());
        let rejection = Rejection::new(0, None, RejectionCode::UnknownJob, "no job".to_owned());
        for error in [
            SubmitError::QueueFull { updates: 1, bytes: 1, retry_after: Duration::ZERO },
            SubmitError::TooLarge { updates: 1, bytes: 1, updates_max: 1, bytes_max: 1 },
            SubmitError::Draining,
            SubmitError::AckMustBeDurable,
            SubmitError::KeyReused,
            SubmitError::Rejected(rejection),
            failed(StoreError::Failed("disk".to_owned())),
            failed(StoreError::CorruptRecord { table: "jobs", key, what }),
        ] {
            let is_retryable = error.is_retryable();
            let problem = Problem::from(error);
            assert_eq!(problem.code.is_retryable(), is_retryable, "{problem:?}");
            assert!(problem.outcome.is_some());
        }
    }
}
