//! `POST /v1/flush`: returns when all that was accepted before is durable.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::gate::Gate;
use super::openapi::refusals;
use super::problem::Problem;
use super::query::Params;
use super::reply;
use crate::api::FlushBody;

/// Wait until all is durable
///
/// Returns when every update that was accepted before the call is on disk.
#[utoipa::path(
    post,
    path = "/v1/flush",
    tag = "updates",
    operation_id = "flush",
    responses(
        (status = 200, description = "All that was accepted is durable.", body = FlushBody),
        refusals::Flush,
    ),
)]
pub(super) async fn post(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    flush(&gate, &uri).await.map_err(Problem::not_applied)
}

async fn flush(gate: &Gate, uri: &Uri) -> Result<Response, Problem> {
    let service = gate.readable()?;
    Params::of(uri)?.end()?;
    let durable_seq = service.flush().await?;
    Ok(reply::json(StatusCode::OK, &FlushBody { durable_seq }))
}
