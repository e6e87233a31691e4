//! JSON answers, written straight to bytes, and work that may not hold up the runtime.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::api::ProblemCode;
use crate::telemetry;

/// What every answer carries: it is of no other type than it says, is kept nowhere, tells no page
/// where its reader came from, and is given to no page of another origin.
const CARRIED: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// For what is no page: a browser that shows it loads and runs nothing, and in no frame.
const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Most headers that an answer has.
const HEADERS: usize = 12;

/// Adds what every answer carries. A page brings its own policy.
pub(super) fn carry(headers: &mut HeaderMap) {
    for (name, value) in CARRIED {
        headers.insert(name, value);
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NO_PAGE);
}

/// Headers as they stand in an answer, a line each.
pub(super) fn write_lines(headers: &HeaderMap, lines: &mut Vec<u8>) {
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
}

/// The answer `body` under `status`.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> axum::response::Response {
    // Room for one job, so that the most frequent answer is written without growing.
    let mut bytes = Vec::with_capacity(768);
    match write_json(body, &mut bytes) {
        Ok(()) => json_bytes(status, bytes),
        Err(problem) => problem.into_response(),
    }
}

/// Puts the JSON of `body` behind `bytes`.
pub(super) fn write_json(body: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    serde_json::to_writer(bytes, body).map_err(|error| {
        tracing::error!(event = telemetry::ANSWER_NOT_WRITTEN, %error, "An answer has no JSON");
        Problem::internal()
    })
}

/// Each of `bodies` as one line of JSON.
pub(super) fn lines(bodies: &[impl Serialize]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512 * bodies.len());
    for body in bodies {
        // Writing to memory does not fail, and the shapes have JSON.
        let _ = serde_json::to_writer(&mut bytes, body);
        bytes.push(b'\n');
    }
    bytes
}

/// One JSON object, all of the bytes.
pub(super) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // An array of the fields' values would be taken for the object.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(ProblemCode::InvalidBody, "the body is not one JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            ProblemCode::InvalidBody,
            format!("the body is not what it should be: {error}"),
        )
    })
}

fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> axum::response::Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    // Room for all of them at once, as a map that grows costs more than all look-ups.
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// Runs `work` on a thread that may block. It runs to its end even if the caller hangs up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is going away cancels.
            Err(_cancelled) => Err(Problem::draining()),
        },
    }
}
