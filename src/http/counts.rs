//! `GET /v1/counts`: how many jobs there are, by status, kind and pipeline.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::fresh;
use super::gate::Gate;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::Params;
use super::reply;
use crate::api::CountsBody;

/// How many jobs there are
///
/// By status, kind and pipeline; the cost does not depend on how many there are.
#[utoipa::path(
    get,
    path = "/v1/counts",
    tag = "numbers",
    operation_id = "getCounts",
    params(params::Fresh),
    responses(
        (status = 200, description = "The numbers.", body = CountsBody<'static>),
        refusals::Read,
    ),
)]
pub(super) async fn get(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    let service = fresh::readable(&gate, Params::of(&uri)?).await?;
    let (counts, as_of_seq) = service.counts();
    Ok(reply::json(StatusCode::OK, &CountsBody::of(&counts, as_of_seq, service.kinds())))
}
