//! `/livez` and `/readyz`: is the process there, and can it do its work?

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::gate::Gate;
use super::openapi::refusals;
use super::problem::Problem;
use super::reply;
use crate::api::HealthBody;

/// Is the process there?
///
/// Always 200: a process that answers is alive.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "care",
    operation_id = "isAlive",
    responses(
        (status = 200, description = "It is.", body = HealthBody),
        refusals::Alive,
    ),
)]
pub(super) async fn live() -> Response {
    reply::json(StatusCode::OK, &HealthBody { status: "alive".into() })
}

/// Are updates admitted?
///
/// 200 if they are; else the problem that keeps them out.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "care",
    operation_id = "isReady",
    responses(
        (status = 200, description = "They are.", body = HealthBody),
        refusals::Ready,
    ),
)]
pub(super) async fn ready(State(gate): State<Gate>) -> Result<Response, Problem> {
    gate.ready()?;
    Ok(reply::json(StatusCode::OK, &HealthBody { status: "ready".into() }))
}
