//! One job: `PUT`, `GET` and `DELETE /v1/jobs/{job_id}`, and its history.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::body::Incoming;
use super::fresh;
use super::gate::Gate;
use super::media::Media;
use super::openapi::{params, refusals};
use super::parse::Parsed;
use super::path;
use super::problem::Problem;
use super::query::Params;
use super::updates::{self, How};
use super::{reply, tag};
use crate::api::schema::UpdateOfJob;
use crate::api::{AnswerBody, HistoryBody, JobBody, ProblemCode, QueuedBody, read_update_of};
use crate::model::{Command, JobId, JobRecord, RejectionCode, Request as Submission};
use crate::service::Service;

/// The id in the path, decoded.
type JobPath = Result<Path<String>, PathRejection>;

const PUT_BODY: &str = "\
One update. A form, which is what curl names unasked, is taken for JSON. The body may be packed, \
as `Content-Encoding: gzip` or `zstd` says; its bound counts unpacked bytes.";

/// Report one update
///
/// For scripts: the path names the job. A refusal carries the code of its reason.
#[utoipa::path(
    put,
    path = "/v1/jobs/{job_id}",
    tag = "updates",
    operation_id = "putUpdate",
    params(params::JobPath, params::Ack, params::IdempotencyKey),
    request_body(content = UpdateOfJob, description = PUT_BODY),
    responses(
        (status = 200, description = "The update is durable, or stale.",
            body = AnswerBody<'static>,
            headers(("Idempotent-Replayed" = String, description = "The first answer, again."))),
        (status = 202, description = "`ack=queued`: the update was accepted.",
            body = QueuedBody<'static>,
            headers(("Idempotent-Replayed" = String, description = "The first answer, again."))),
        refusals::Put,
    ),
)]
pub(super) async fn put(State(gate): State<Gate>, path: JobPath, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::of(&parts.headers, body);
    let accepted = accept(&gate, path, parts, &mut body).await;
    updates::answer(&gate, accepted, body).await
}

async fn accept(
    gate: &Gate,
    path: JobPath,
    parts: Parts,
    body: &mut Incoming,
) -> Result<Response, Problem> {
    let service = gate.writable()?;
    let job_id = decoded(path, &parts.uri)?;
    let how = How::of(&parts.uri, false)?;
    Media::check_put(&parts.headers)?;
    let read = move |bytes: &[u8]| Parsed::one(bytes, |json| read_update_of(&job_id, json));
    let updates = updates::receive(gate, &how, parts, body, read).await?;
    let receipt = service.submit(updates).await?;
    Ok(updates::one(&how, receipt))
}

/// Remove a job
///
/// The feed keeps its past, and says that it was removed. A later update of the same name begins
/// a new job.
#[utoipa::path(
    delete,
    path = "/v1/jobs/{job_id}",
    tag = "jobs",
    operation_id = "deleteJob",
    params(params::JobPath, params::IdempotencyKey),
    responses(
        (status = 200, description = "It is removed; that counts as one applied update.",
            body = AnswerBody<'static>,
            headers(("Idempotent-Replayed" = String, description = "The first answer, again."))),
        refusals::Delete,
    ),
)]
pub(super) async fn delete(State(gate): State<Gate>, path: JobPath, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::of(&parts.headers, body);
    let accepted = async {
        gate.writable()?;
        let job_id = parsed(path, &parts.uri)?;
        Params::of(&parts.uri)?.end()?;
        let read = move |bytes: &[u8]| match bytes.trim_ascii() {
            b"" => Ok(Command::Remove(job_id)),
            _ => Err(Problem::new(ProblemCode::InvalidBody, "a removal has no body")),
        };
        updates::command(&gate, parts, &mut body, read).await
    };
    let accepted = accepted.await;
    updates::answer(&gate, accepted, body).await
}

/// One job
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}",
    tag = "jobs",
    operation_id = "getJob",
    params(params::JobPath, params::IfNoneMatch, params::Fresh),
    responses(
        (status = 200, description = "Its present state.", body = JobBody<'static>,
            headers(("ETag" = String, description = "Changes with the answer."))),
        (status = 304, description = "It is still what `If-None-Match` names.",
            headers(("ETag" = String, description = "Changes with the answer."))),
        refusals::Job,
    ),
)]
pub(super) async fn get(
    State(gate): State<Gate>,
    path: JobPath,
    request: Request,
) -> Result<Response, Problem> {
    let service = fresh::readable(&gate, Params::of(request.uri())?).await?;
    let job_id = parsed(path, request.uri())?;
    let record = found(service, &job_id)?;
    let kind = service.kinds().kind(record.status);
    let tag = gate.tag(record.seq, kind);
    let mut known = request.headers().get_all(IF_NONE_MATCH).iter();
    let mut response = if known.any(|value| tag::names(value, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        reply::json(StatusCode::OK, &JobBody::of(&job_id, &record, kind))
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// A plain `PUT`, whose body is here: what it asks for, and of whom.
pub(super) fn read_put(
    gate: &Gate,
    job_id: &str,
    body: &[u8],
) -> Result<(Service, Submission), Problem> {
    let service = gate.writable()?.clone();
    let Parsed { updates, rejections, .. } =
        Parsed::one(body, |json| read_update_of(job_id, json))?;
    Ok((service, Submission { updates, rejections, ..Submission::default() }))
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Put {
    /// The JSON of its receipt.
    Accepted(Vec<u8>),
    Other(Response),
}

impl From<Problem> for Put {
    fn from(problem: Problem) -> Self {
        Self::Other(problem.into_response())
    }
}

pub(super) async fn submit_put(service: &Service, submission: Submission) -> Put {
    match service.submit(submission).await.map_err(Problem::from) {
        Ok(receipt) if receipt.answer.accepted > 0 => {
            let mut json = Vec::with_capacity(256);
            let written = reply::write_json(&AnswerBody::of(&receipt.answer), &mut json);
            written.map_or_else(Put::from, |()| Put::Accepted(json))
        }
        Ok(receipt) => Put::Other(updates::one(&How::default(), receipt)),
        Err(problem) => problem.not_applied().into(),
    }
}

/// The JSON of a job behind `json`; its tag.
pub(super) fn read_into(gate: &Gate, job_id: &str, json: &mut Vec<u8>) -> Result<String, Problem> {
    let service = gate.readable()?;
    let job_id = checked(job_id)?;
    let record = found(service, &job_id)?;
    let kind = service.kinds().kind(record.status);
    reply::write_json(&JobBody::of(&job_id, &record, kind), json)?;
    Ok(gate.tag(record.seq, kind))
}

/// The last transitions of a job
///
/// The oldest first; at most 32 are kept.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job_id}/history",
    tag = "jobs",
    operation_id = "getHistory",
    params(params::JobPath, params::Fresh),
    responses(
        (status = 200, description = "Its transitions.", body = HistoryBody<'static>),
        refusals::Job,
    ),
)]
pub(super) async fn history(
    State(gate): State<Gate>,
    path: JobPath,
    request: Request,
) -> Result<Response, Problem> {
    let service = fresh::readable(&gate, Params::of(request.uri())?).await?;
    let job_id = parsed(path, request.uri())?;
    let record = found(service, &job_id)?;
    Ok(reply::json(StatusCode::OK, &HistoryBody::of(&job_id, &record)))
}

/// The job that a read asks for.
fn found(service: &Service, job_id: &JobId) -> Result<Arc<JobRecord>, Problem> {
    service.get(job_id)?.ok_or_else(|| {
        let detail = format!("there is no job {:?}", job_id.as_str());
        Problem::new(ProblemCode::Rejected(RejectionCode::UnknownJob), detail)
    })
}

fn decoded(job_id: JobPath, uri: &Uri) -> Result<String, Problem> {
    path::decoded(job_id, uri).map_err(bad_id)
}

fn parsed(job_id: JobPath, uri: &Uri) -> Result<JobId, Problem> {
    checked(&decoded(job_id, uri)?)
}

fn checked(job_id: &str) -> Result<JobId, Problem> {
    JobId::parse(job_id).map_err(|error| bad_id(error.to_string()))
}

fn bad_id(detail: String) -> Problem {
    Problem::new(ProblemCode::Rejected(RejectionCode::InvalidJobId), detail)
}
