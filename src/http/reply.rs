//! JSON answers, written straight to bytes, and work that may not hold up the runtime.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::api::ProblemCode;
use crate::telemetry;

/// The answer `body` under `status`.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> axum::response::Response {
    // Room for one job, so that the most frequent answer is written without growing.
    let mut bytes = Vec::with_capacity(768);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => json_bytes(status, bytes),
        Err(error) => {
            tracing::error!(event = telemetry::ANSWER_NOT_WRITTEN, %error, "An answer has no JSON");
            Problem::internal().into_response()
        }
    }
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
