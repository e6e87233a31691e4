//! `GET /v1/jobs`: a walk over the jobs, page by page.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::cursor::Walk;
use super::fresh;
use super::gate::Gate;
use super::problem::Problem;
use super::query::{Params, invalid};
use super::reply;
use crate::api::ListBody;
use crate::model::limits::{PAGE_JOBS_DEFAULT, PAGE_JOBS_MAX};
use crate::model::{Order, PageQuery, PipelineName, Status};

pub(super) async fn get(State(gate): State<Gate>, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri)?;
    let (query, cursor) = page_query(&mut params, gate.options().page_scan_max)?;
    let service = fresh::readable(&gate, params).await?.clone();
    let walk = Walk::of(&query, service.store_id());
    let (_, last_seq) = service.counts();
    let cursor = cursor.map(|text| walk.decode(&text, last_seq)).transpose()?;
    reply::blocking(move || {
        let page = service.page(&PageQuery { cursor, ..query })?;
        let next = page.next.map(|cursor| walk.encode(cursor));
        Ok(reply::json(StatusCode::OK, &ListBody::of(&page, next, service.kinds())))
    })
    .await
}

/// The page that is asked for, still without its cursor, and the text of the cursor.
fn page_query(
    params: &mut Params,
    scan_max: usize,
) -> Result<(PageQuery, Option<String>), Problem> {
    let statuses = statuses(params)?;
    let pipeline = params.one("pipeline")?.map(|name| PipelineName::parse(&name)).transpose();
    let order = match params.one("order")?.as_deref() {
        None | Some("newest") => Order::Newest,
        Some(other) => return Err(invalid(format!("order is {other:?}; use newest"))),
    };
    let query = PageQuery {
        statuses: statuses.into_iter().collect(),
        pipeline: pipeline.map_err(|error| invalid(error.to_string()))?,
        order,
        limit: limit(params)?,
        cursor: None,
        scan_max,
    };
    Ok((query, params.one("cursor")?))
}

/// Most words in a `status` filter: as many as a store keeps unless it is told otherwise.
const STATUS_WORDS_MAX: usize = 256;

fn statuses(params: &mut Params) -> Result<BTreeSet<Status>, Problem> {
    let given = params.all("status");
    let words = || given.iter().flat_map(|words| words.split(','));
    let count = words().count();
    if count > STATUS_WORDS_MAX {
        let detail = format!("status has {count} words, the most is {STATUS_WORDS_MAX}");
        return Err(invalid(detail));
    }
    words().map(|word| Status::parse(word).map_err(|error| invalid(error.to_string()))).collect()
}

fn limit(params: &mut Params) -> Result<usize, Problem> {
    let Some(text) = params.one("limit")? else { return Ok(PAGE_JOBS_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_JOBS_MAX).contains(limit));
    limit.ok_or_else(|| invalid(format!("limit is {text:?}; use 1 to {PAGE_JOBS_MAX}")))
}
