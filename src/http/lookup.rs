//! `POST /v1/lookup`: many jobs by their ids, all of one moment. It reads, although it is a `POST`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::body::{self, Incoming};
use super::fresh;
use super::gate::Gate;
use super::media::Media;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::Params;
use super::reply;
use crate::api::{LookupBody, LookupRequestBody, ProblemCode};
use crate::model::limits::LOOKUP_JOBS_MAX;
use crate::model::{JobId, RejectionCode};

const LOOKUP_BODY: &str = "\
The ids. The body may be packed, as `Content-Encoding: gzip` or `zstd` says; its bound counts \
unpacked bytes.";

/// Look up many jobs
///
/// All of one moment. It only reads, and may be repeated at will.
#[utoipa::path(
    post,
    path = "/v1/lookup",
    tag = "jobs",
    operation_id = "lookUpJobs",
    params(params::Fresh),
    request_body(content = LookupRequestBody, description = LOOKUP_BODY),
    responses(
        (status = 200, description = "Those that there are, and the ids of the others.",
            body = LookupBody<'static>),
        refusals::Lookup,
    ),
)]
pub(super) async fn post(State(gate): State<Gate>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::of(&parts.headers, body);
    let answered = async {
        let params = Params::of(&parts.uri)?;
        Media::check_json(&parts.headers)?;
        let service = fresh::readable(&gate, params).await?.clone();
        let received = body::receive(&gate, &parts.headers, &mut body).await?;
        reply::blocking(move || {
            let job_ids = job_ids(&received.unpack()?.bytes)?;
            let lookup = service.lookup(&job_ids)?;
            let body = LookupBody::of(&job_ids, &lookup, service.kinds());
            Ok(reply::json(StatusCode::OK, &body))
        })
        .await
    };
    match answered.await {
        Ok(response) => response.into_response(),
        Err(problem) => body::refuse(&gate, problem, body).await,
    }
}

/// The ids of the body, each once.
fn job_ids(bytes: &[u8]) -> Result<Vec<JobId>, Problem> {
    let asked: LookupRequestBody = reply::read_json(bytes)?;
    let count = asked.job_ids.len();
    if count > LOOKUP_JOBS_MAX {
        let detail = format!("job_ids holds {count} ids, the most is {LOOKUP_JOBS_MAX}; split it");
        return Err(Problem::new(ProblemCode::RequestTooLarge, detail));
    }
    let mut seen = std::collections::HashSet::new();
    let mut job_ids = Vec::with_capacity(count);
    for (index, text) in asked.job_ids.into_iter().enumerate() {
        let job_id = JobId::parse(&text.0).map_err(|error| {
            let code = ProblemCode::Rejected(RejectionCode::InvalidJobId);
            Problem::new(code, format!("job_ids[{index}]: {error}"))
        })?;
        if seen.insert(job_id.clone()) {
            job_ids.push(job_id);
        }
    }
    Ok(job_ids)
}
