//! `/livez` and `/readyz`: is the process there, and can it do its work?

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::gate::Gate;
use super::problem::Problem;
use super::reply;
use crate::api::HealthBody;

/// Always 200: a process that answers is alive.
pub(super) async fn live() -> Response {
    reply::json(StatusCode::OK, &HealthBody { status: "alive".into() })
}

/// 200 if updates are admitted; else the problem that keeps them out.
pub(super) async fn ready(State(gate): State<Gate>) -> Result<Response, Problem> {
    gate.ready()?;
    Ok(reply::json(StatusCode::OK, &HealthBody { status: "ready".into() }))
}
