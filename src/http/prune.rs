//! `POST /v1/prune`: removes jobs by what they are.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::gate::Gate;
use super::media::Media;
use super::openapi::{params, refusals};
use super::problem::Problem;
use super::query::{Params, invalid};
use super::reply;
use crate::api::PruneBody;
use crate::model::limits::{PRUNE_JOBS_DEFAULT, PRUNE_JOBS_MAX, PRUNE_KEEP_MAX};
use crate::service::Prune;

/// Remove jobs by what they are
///
/// At least one of `kind`, `status`, `pipeline`, `updated_before`, `older_than` and `keep` must be
/// given. Waiting and running jobs go only if their kind or status is named. A job that changes
/// meanwhile stays. Each removal is an update of its own in the feed; the same call may always be
/// sent again.
#[utoipa::path(
    post,
    path = "/v1/prune",
    tag = "jobs",
    operation_id = "prune",
    params(params::Prune),
    responses(
        (status = 200, description = "What was removed is gone for good.", body = PruneBody),
        refusals::Prune,
    ),
)]
pub(super) async fn post(
    State(gate): State<Gate>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    prune(&gate, &uri, &headers).await.map_err(Problem::not_applied)
}

async fn prune(gate: &Gate, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    Media::check_bodyless(headers)?;
    let mut params = Params::of(uri)?;
    let dry_run = params.flag("dry_run")?;
    let prune = asked(params, dry_run)?;
    let pruned = if dry_run {
        gate.readable()?.count_prunable(&prune).await?
    } else {
        gate.writable()?.prune(&prune).await?
    };
    Ok(reply::json(StatusCode::OK, &PruneBody::of(&pruned, dry_run)))
}

fn asked(mut params: Params, dry_run: bool) -> Result<Prune, Problem> {
    let keep = params.optional_number("keep", 1..=PRUNE_KEEP_MAX)?;
    let limit = params.number("limit", 1..=PRUNE_JOBS_MAX, PRUNE_JOBS_DEFAULT)?;
    let prune = Prune {
        kinds: params.kinds()?,
        statuses: params.statuses()?,
        pipeline: params.pipeline("pipeline")?,
        updated_before: params.moment("updated_before")?,
        older_than: params.duration("older_than")?,
        keep_newest: keep.map(|keep| keep as u64),
        limit: (!dry_run).then_some(limit as u64),
    };
    params.end()?;
    if prune.is_bounded() {
        return Ok(prune);
    }
    let bounds = "kind, status, pipeline, updated_before, older_than or keep";
    Err(invalid(format!("this would remove every finished job; give {bounds}")))
}
