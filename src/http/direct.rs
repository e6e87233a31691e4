//! The calls that make up nearly all of the traffic, past the router: `GET` and `PUT` of one job.
//!
//! A router allocates a dozen times for each call; these two know their handler by the path alone.
//! Any other spelling of the same call (a query, an escape in the id) takes the router's way to the
//! same handler, so both give the same answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;

use super::gate::Gate;
use super::{jobs, problem};

/// The id, if the path names a job and nothing has to be decoded.
pub(super) fn job_id(uri: &Uri) -> Option<&str> {
    let name = uri.path().strip_prefix("/v1/jobs/")?;
    let is_plain = !name.is_empty() && !name.bytes().any(|byte| byte == b'/' || byte == b'%');
    (is_plain && uri.query().is_none()).then_some(name)
}

pub(super) fn get(gate: &Gate, job_id: &str, headers: &HeaderMap) -> Response {
    let read = || jobs::read(gate, job_id, headers).into_response();
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(problem::read_panicked)
}

pub(super) async fn put(gate: Gate, job_id: String, request: Request) -> Response {
    let write = jobs::put(State(gate), Ok(Path(job_id)), request);
    AssertUnwindSafe(write).catch_unwind().await.unwrap_or_else(problem::write_panicked)
}
