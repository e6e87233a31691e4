//! `GET /v1/check`: compares everything with everything, one check at a time.

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;

use super::fresh;
use super::gate::Gate;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::Params;
use super::reply;
use crate::api::{CheckBody, ProblemCode};

/// Compare everything with everything
///
/// Reads the whole store; one check runs at a time.
#[utoipa::path(
    get,
    path = "/v1/check",
    tag = "care",
    operation_id = "check",
    params(params::Fresh),
    responses(
        (status = 200, description = "What was found.", body = CheckBody),
        refusals::Check,
    ),
)]
pub(super) async fn get(
    State(gate): State<Gate>,
    method: Method,
    uri: Uri,
) -> Result<Response, Problem> {
    Problem::unless_get(&method)?;
    let service = fresh::readable(&gate, Params::of(&uri)?).await?.clone();
    let Some(checking) = gate.begin_check() else {
        let detail = "a check is running; it reads the whole store, so there is one at a time";
        return Err(Problem::new(ProblemCode::CheckRunning, detail).retry_after(1));
    };
    reply::blocking(move || {
        // Held to the end of the check, even if its caller has gone.
        let _checking = checking;
        let report = service.check()?;
        let body = CheckBody {
            clean: report.is_clean(),
            jobs: report.jobs,
            updates: report.updates,
            last_seq: report.last_seq,
            problems: report.problems,
        };
        Ok(reply::json(StatusCode::OK, &body))
    })
    .await
}
