//! `GET /v1/pipelines` and `GET` and `PUT /v1/pipelines/{name}`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::fresh;
use super::gate::Gate;
use super::media::Media;
use super::openapi::{params, refusals};
use super::path;
use super::problem::Problem;
use super::query::Params;
use super::reply;
use super::updates;
use crate::api::{AnswerBody, ExpectBody, PipelineBody, PipelinesBody, ProblemCode};
use crate::model::limits::{EXPECTED_TOTAL_MAX, PAGE_PIPELINES_DEFAULT, PAGE_PIPELINES_MAX};
use crate::model::{Command, PipelineName, RejectionCode};

const EXPECT_BODY: &str = "\
The number. A form, which is what curl names unasked, is taken for JSON.";

/// The name in the path, decoded.
type NamePath = Result<Path<String>, PathRejection>;

/// All pipelines
///
/// By name, page by page: how far each is, how fast it goes, and when it will be done.
#[utoipa::path(
    get,
    path = "/v1/pipelines",
    tag = "pipelines",
    operation_id = "listPipelines",
    params(params::PipelinesPage, params::Fresh),
    responses(
        (status = 200, description = "One page.", body = PipelinesBody<'static>),
        refusals::Read,
    ),
)]
pub(super) async fn list(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri)?;
    let after = params.pipeline("after")?;
    let limit = params.number("limit", 1..=PAGE_PIPELINES_MAX, PAGE_PIPELINES_DEFAULT)?;
    let service = fresh::readable(&gate, params).await?.clone();
    reply::blocking(move || {
        let page = service.pipelines(after.as_ref(), limit)?;
        Ok(reply::json(StatusCode::OK, &PipelinesBody::of(&page, service.kinds())))
    })
    .await
}

/// One pipeline
#[utoipa::path(
    get,
    path = "/v1/pipelines/{name}",
    tag = "pipelines",
    operation_id = "getPipeline",
    params(params::PipelinePath, params::Fresh),
    responses(
        (status = 200, description = "How far it is.", body = PipelineBody<'static>),
        refusals::Pipeline,
    ),
)]
pub(super) async fn get(
    State(gate): State<Gate>,
    name: NamePath,
    request: Request,
) -> Result<Response, Problem> {
    let service = fresh::readable(&gate, Params::of(request.uri())?).await?.clone();
    let name = named(name, request.uri())?;
    reply::blocking(move || {
        let found = service.pipeline(&name)?.ok_or_else(|| {
            let detail = format!("no pipeline {:?} has a job or an expected total", name.as_str());
            Problem::new(ProblemCode::UnknownPipeline, detail)
        })?;
        Ok(reply::json(StatusCode::OK, &PipelineBody::of(&found, service.kinds())))
    })
    .await
}

/// Expect a number of jobs
///
/// Says how many jobs of the pipeline are to finish. The feed tells when they have; `null` takes
/// the number back. The pipeline need not have jobs yet.
#[utoipa::path(
    put,
    path = "/v1/pipelines/{name}",
    tag = "pipelines",
    operation_id = "putExpectedTotal",
    params(params::PipelinePath, params::IdempotencyKey),
    request_body(content = ExpectBody, description = EXPECT_BODY),
    responses(
        (status = 200, description = "It is durable; that counts as one applied update.",
            body = AnswerBody<'static>,
            headers(("Idempotent-Replayed" = String, description = "The first answer, again."))),
        refusals::Expect,
    ),
)]
pub(super) async fn put(State(gate): State<Gate>, name: NamePath, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::of(&parts.headers, body);
    let accepted = async {
        gate.writable()?;
        let pipeline = named(name, &parts.uri)?;
        Params::of(&parts.uri)?.end()?;
        Media::check_put(&parts.headers)?;
        let read = move |bytes: &[u8]| {
            let total = total(bytes)?;
            Ok(Command::Expect { pipeline, total })
        };
        updates::command(&gate, parts, &mut body, read).await
    };
    let accepted = accepted.await;
    updates::answer(&gate, accepted, body).await
}

fn total(bytes: &[u8]) -> Result<Option<u64>, Problem> {
    let ExpectBody { expected_total } = reply::read_json(bytes)?;
    match expected_total {
        Some(total) if !(1..=EXPECTED_TOTAL_MAX).contains(&total) => {
            let detail =
                format!("expected_total is {total}; use 1 to {EXPECTED_TOTAL_MAX}, or null");
            Err(Problem::new(ProblemCode::InvalidExpectedTotal, detail))
        }
        total => Ok(total),
    }
}

fn named(name: NamePath, uri: &Uri) -> Result<PipelineName, Problem> {
    let bad = |detail: String| {
        Problem::new(ProblemCode::Rejected(RejectionCode::InvalidPipeline), detail)
    };
    let name = path::decoded(name, uri).map_err(bad)?;
    PipelineName::parse(&name).map_err(|error| bad(error.to_string()))
}
